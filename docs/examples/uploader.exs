# Upload a file of statements as one bundle: elixir uploader.exs FILE SECTION CATEGORY.
#
# Elixir 1.14 and OTP 25 or later, no packages. XAPI_ETL_MODE is s3 (put an object, with
# S3_XAPI_BUCKET_NAME) or lambda (invoke the function, with XAPI_LAMBDA_FUNCTION_NAME); credentials are
# in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the region in AWS_REGION.
#
# The first line of the output is the key. To repeat an upload that failed: uploader.exs FILE KEY. With a
# new key, its lines would be loaded once more.
defmodule Uploader do
  @attempts 5
  # Errors of S3 that go away although their status says otherwise, and errors of the function that do
  # not.
  @temporary ~r{<Code>(RequestTimeout|OperationAborted)</Code>}
  @permanent ~r/"errorType": *"(PermanentError|UnknownEventError|SettingsError)"/

  def main([file, section, category]) do
    body = File.read!(file)
    upload(body, key_of(body, section, category))
  end

  def main([file, key]), do: upload(File.read!(file), key)
  def main(_), do: raise("usage: uploader.exs FILE SECTION CATEGORY, or uploader.exs FILE KEY")

  defp upload(body, key) do
    IO.puts(key)
    answer = if System.get_env("XAPI_ETL_MODE") == "lambda", do: invoke(key, body), else: put(key, body)
    if answer != "", do: IO.puts(answer)
  rescue
    error -> raise "#{Exception.message(error)}\nTo repeat it: uploader.exs FILE #{key}"
  end

  # A new key in the layout of the pipeline; make it once, and keep it for retries.
  defp key_of(body, section, category) do
    unless section =~ ~r/\A[0-9]{1,19}\z/ and category =~ ~r/\A[A-Za-z0-9_-]+\z/ do
      raise "SECTION must be a number, and CATEGORY a name of letters, digits, - and _"
    end

    time = DateTime.utc_now() |> DateTime.to_iso8601() |> String.replace(":", "-")
    digest = :crypto.hash(:md5, body) |> Base.encode16()
    suffix = if String.starts_with?(body, <<0x1F, 0x8B>>), do: ".jsonl.gz", else: ".jsonl"
    "section/#{section}/#{category}/#{time}_#{digest}#{suffix}"
  end

  defp put(key, body) do
    endpoint =
      System.get_env("AWS_ENDPOINT_URL_S3") || System.get_env("AWS_ENDPOINT_URL") ||
        "https://s3.#{region()}.amazonaws.com"

    path = [setting(["S3_XAPI_BUCKET_NAME"]) | String.split(key, "/")]
    path = Enum.map_join(path, "/", &URI.encode(&1, fn mark -> URI.char_unreserved?(mark) end))
    send_until_accepted(:put, endpoint, "/" <> path, "s3", body)
  end

  defp invoke(key, body) do
    String.valid?(body) || raise "an event must be UTF-8 text; use XAPI_ETL_MODE=s3 for gzip"
    endpoint = System.get_env("AWS_ENDPOINT_URL") || "https://lambda.#{region()}.amazonaws.com"
    path = "/2015-03-31/functions/#{setting(["XAPI_LAMBDA_FUNCTION_NAME"])}/invocations"
    event = ~s({"key": #{json(key)}, "body": #{json(body)}})
    send_until_accepted(:post, endpoint, path, "lambda", event)
  end

  # A text as JSON. (With Jason: Jason.encode!(%{key: key, body: body}).)
  defp json(text) do
    escaped =
      Regex.replace(~r/["\\\x00-\x1f]/, text, fn
        "\n" -> "\\n"
        <<mark>> when mark < 0x20 -> "\\u" <> String.pad_leading(Integer.to_string(mark, 16), 4, "0")
        mark -> "\\" <> mark
      end)

    ~s("#{escaped}")
  end

  # Send the same bytes until they are accepted; an error that does not go away ends it.
  defp send_until_accepted(method, endpoint, path, service, body, attempt \\ 1) do
    uri = URI.parse(endpoint)
    host = if uri.port == URI.default_port(uri.scheme), do: uri.host, else: "#{uri.host}:#{uri.port}"
    headers = signed(method, host, path, service, body)
    request = {String.to_charlist(endpoint <> path), headers, ~c"application/json", body}
    tls = [verify: :verify_peer, cacerts: cacerts(uri.scheme), depth: 9, customize_hostname_check: hostnames()]
    options = [timeout: 900_000, connect_timeout: 5_000] ++ if(uri.scheme == "https", do: [ssl: tls], else: [])

    case :httpc.request(method, request, options, body_format: :binary) do
      {:ok, {{_, status, _}, headers, answer}} ->
        failed = List.keymember?(headers, ~c"x-amz-function-error", 0)

        goes_away =
          if failed,
            do: not Regex.match?(@permanent, answer),
            else: status >= 500 or status in [408, 429] or Regex.match?(@temporary, answer)

        cond do
          status in 200..299 and not failed -> answer
          goes_away -> again(method, endpoint, path, service, body, attempt, "#{status} #{answer}")
          true -> raise "not sent: #{status} #{answer}"
        end

      {:error, reason} ->
        again(method, endpoint, path, service, body, attempt, inspect(reason))
    end
  end

  defp again(_, _, _, _, _, attempt, problem) when attempt >= @attempts, do: raise("not sent: #{problem}")

  defp again(method, endpoint, path, service, body, attempt, _) do
    Process.sleep(round(200 * :math.pow(2, attempt) * :rand.uniform()))
    send_until_accepted(method, endpoint, path, service, body, attempt + 1)
  end

  # The headers of a request with AWS Signature Version 4.
  defp signed(method, host, path, service, body) do
    time = DateTime.utc_now() |> Calendar.strftime("%Y%m%dT%H%M%SZ")
    token = System.get_env("AWS_SESSION_TOKEN")

    headers =
      [{"host", host}, {"x-amz-content-sha256", sha256(body)}, {"x-amz-date", time}] ++
        if(token, do: [{"x-amz-security-token", token}], else: [])

    names = Enum.map_join(headers, ";", &elem(&1, 0))
    listed = Enum.map_join(headers, fn {name, value} -> "#{name}:#{value}\n" end)
    verb = method |> to_string() |> String.upcase()
    request = Enum.join([verb, path, "", listed, names, sha256(body)], "\n")
    scope = [String.slice(time, 0, 8), region(), service, "aws4_request"]
    text = Enum.join(["AWS4-HMAC-SHA256", time, Enum.join(scope, "/"), sha256(request)], "\n")
    secret = "AWS4" <> setting(["AWS_SECRET_ACCESS_KEY"])
    signature = Enum.reduce(scope ++ [text], secret, &:crypto.mac(:hmac, :sha256, &2, &1))
    credential = Enum.join([setting(["AWS_ACCESS_KEY_ID"]) | scope], "/")

    authorization =
      "AWS4-HMAC-SHA256 Credential=#{credential}, SignedHeaders=#{names}, " <>
        "Signature=#{Base.encode16(signature, case: :lower)}"

    for {name, value} <- headers ++ [{"authorization", authorization}] do
      {String.to_charlist(name), String.to_charlist(value)}
    end
  end

  defp sha256(text), do: :crypto.hash(:sha256, text) |> Base.encode16(case: :lower)

  defp region, do: setting(["AWS_REGION", "AWS_DEFAULT_REGION"])

  # The first of these variables that is set.
  defp setting([name | _] = names) do
    Enum.find_value(names, &(System.get_env(&1, "") |> then(fn value -> value != "" && value end))) ||
      raise "#{name} is not set"
  end

  defp cacerts("https"), do: :public_key.cacerts_get()
  defp cacerts(_), do: []

  defp hostnames, do: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
end

{:ok, _} = Application.ensure_all_started(:inets)
{:ok, _} = Application.ensure_all_started(:ssl)

try do
  Uploader.main(System.argv())
rescue
  error ->
    IO.puts(:stderr, Exception.message(error))
    System.halt(1)
end
