// Upload a file of statements as one bundle: node uploader.mjs FILE SECTION CATEGORY.
//
// Node 18 or later, no packages. XAPI_ETL_MODE is s3 (put an object, with S3_XAPI_BUCKET_NAME) or
// lambda (invoke the function, with XAPI_LAMBDA_FUNCTION_NAME); credentials are in AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the region in AWS_REGION.
//
// The first line of the output is the key. To repeat an upload that failed: uploader.mjs FILE KEY. With
// a new key, its lines would be loaded once more.
import { createHash, createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';

const ATTEMPTS = 5;
const PATIENCE = 900_000; // milliseconds; a function may take minutes to answer
// Errors of S3 that go away although their status says otherwise, and errors of the function that do not.
const TEMPORARY = /<Code>(RequestTimeout|OperationAborted)<\/Code>/;
const PERMANENT = /"errorType": *"(PermanentError|UnknownEventError|SettingsError)"/;
const env = process.env;

const hash = (text) => createHash('sha256').update(text).digest('hex');
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
const encode = (part) =>
  encodeURIComponent(part).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());

// The first of these variables that is set.
function setting(...names) {
  const name = names.find((one) => env[one]);
  if (!name) throw new Error(`${names[0]} is not set`);
  return env[name];
}

const region = () => setting('AWS_REGION', 'AWS_DEFAULT_REGION');

// A new key in the layout of the pipeline; make it once, and keep it for retries.
function keyOf(body, section, category) {
  if (!/^[0-9]{1,19}$/.test(section) || !/^[A-Za-z0-9_-]+$/.test(category)) {
    throw new Error('SECTION must be a number, and CATEGORY a name of letters, digits, - and _');
  }
  const time = new Date().toISOString().replaceAll(':', '-');
  const digest = createHash('md5').update(body).digest('hex').toUpperCase();
  const suffix = body[0] === 0x1f && body[1] === 0x8b ? '.jsonl.gz' : '.jsonl';
  return `section/${section}/${category}/${time}_${digest}${suffix}`;
}

// The headers of a request with AWS Signature Version 4.
function signed(method, url, service, body) {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const headers = { host: url.host, 'x-amz-content-sha256': hash(body), 'x-amz-date': time };
  if (env.AWS_SESSION_TOKEN) headers['x-amz-security-token'] = env.AWS_SESSION_TOKEN;
  const names = Object.keys(headers).sort();
  const listed = names.map((name) => `${name}:${headers[name]}\n`).join('');
  const request = [method, url.pathname, '', listed, names.join(';'), hash(body)].join('\n');
  const scope = [time.slice(0, 8), region(), service, 'aws4_request'];
  const text = ['AWS4-HMAC-SHA256', time, scope.join('/'), hash(request)].join('\n');
  const key = scope.reduce(hmac, `AWS4${setting('AWS_SECRET_ACCESS_KEY')}`);
  const signature = createHmac('sha256', key).update(text).digest('hex');
  const credential = `${setting('AWS_ACCESS_KEY_ID')}/${scope.join('/')}`;
  headers.authorization =
    `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return headers;
}

// One request. (fetch ends after five minutes without an answer, which cannot be changed.)
function exchange(method, url, headers, body) {
  return new Promise((resolve, reject) => {
    const { request } = url.protocol === 'http:' ? http : https;
    const sent = request(url, { method, headers, timeout: PATIENCE }, async (answer) => {
      try {
        const parts = [];
        for await (const part of answer) parts.push(part);
        resolve({ status: answer.statusCode, headers: answer.headers, text: Buffer.concat(parts).toString() });
      } catch (error) {
        reject(error);
      }
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
    sent.on('error', reject);
    sent.end(body);
  });
}

// Send the same bytes until they are accepted; an error that does not go away ends it.
async function send(method, url, service, body) {
  for (let attempt = 1; ; attempt++) {
    const headers = signed(method, url, service, body);
    let problem;
    let goesAway = true;
    try {
      const { status, headers: about, text } = await exchange(method, url, headers, body);
      const failed = 'x-amz-function-error' in about;
      if (status >= 200 && status < 300 && !failed) return text;
      problem = `${status} ${text}`;
      goesAway = failed
        ? !PERMANENT.test(text)
        : status >= 500 || status === 408 || status === 429 || TEMPORARY.test(text);
    } catch (error) {
      problem = error.message || error.code;
    }
    if (!goesAway || attempt >= ATTEMPTS) throw new Error(`not sent: ${problem}`);
    await new Promise((done) => setTimeout(done, 200 * 2 ** attempt * Math.random()));
  }
}

function put(key, body) {
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || `https://s3.${region()}.amazonaws.com`;
  const path = [setting('S3_XAPI_BUCKET_NAME'), ...key.split('/')].map(encode).join('/');
  return send('PUT', new URL(`${endpoint}/${path}`), 's3', body);
}

function invoke(key, body) {
  const endpoint = env.AWS_ENDPOINT_URL || `https://lambda.${region()}.amazonaws.com`;
  const name = encode(setting('XAPI_LAMBDA_FUNCTION_NAME'));
  const url = new URL(`${endpoint}/2015-03-31/functions/${name}/invocations`);
  return send('POST', url, 'lambda', JSON.stringify({ key, body: textOf(body) }));
}

// The same bytes as text, a byte order mark included.
function textOf(body) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw new Error('an event must be UTF-8 text; use XAPI_ETL_MODE=s3 for gzip');
  }
}

async function main(file, ...rest) {
  if (rest.length < 1 || rest.length > 2) {
    throw new Error('usage: uploader.mjs FILE SECTION CATEGORY, or uploader.mjs FILE KEY');
  }
  const body = await readFile(file);
  const key = rest.length === 1 ? rest[0] : keyOf(body, ...rest);
  console.log(key);
  try {
    const answer = await (env.XAPI_ETL_MODE === 'lambda' ? invoke : put)(key, body);
    if (answer) console.log(answer);
  } catch (error) {
    throw new Error(`${error.message}\nTo repeat it: uploader.mjs FILE ${key}`);
  }
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
