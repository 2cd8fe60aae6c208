// Upload a file of statements as one bundle: node uploader.mjs FILE SECTION CATEGORY.
//
// Node 18 or later, no packages. XAPI_ETL_MODE is s3 (put an object, with S3_XAPI_BUCKET_NAME) or
// lambda (invoke the function, with XAPI_LAMBDA_FUNCTION_NAME); credentials are in AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the region in AWS_REGION.
import { createHash, createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';

const ATTEMPTS = 5;
const env = process.env;
const region = env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? 'us-east-1';

const hash = (text) => createHash('sha256').update(text).digest('hex');
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
const encode = (part) =>
  encodeURIComponent(part).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());

// A new key in the layout of the pipeline; make it once, and keep it for retries.
function keyOf(body, section, category) {
  const time = new Date().toISOString().replaceAll(':', '-');
  const digest = createHash('md5').update(body).digest('hex').toUpperCase();
  return `section/${section}/${category}/${time}_${digest}.jsonl`;
}

// The headers of a request with AWS Signature Version 4.
function signed(method, url, service, body) {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const headers = { host: url.host, 'x-amz-content-sha256': hash(body), 'x-amz-date': time };
  if (env.AWS_SESSION_TOKEN) headers['x-amz-security-token'] = env.AWS_SESSION_TOKEN;
  const names = Object.keys(headers).sort();
  const listed = names.map((name) => `${name}:${headers[name]}\n`).join('');
  const request = [method, url.pathname, '', listed, names.join(';'), hash(body)].join('\n');
  const scope = [time.slice(0, 8), region, service, 'aws4_request'];
  const text = ['AWS4-HMAC-SHA256', time, scope.join('/'), hash(request)].join('\n');
  const key = scope.reduce(hmac, `AWS4${env.AWS_SECRET_ACCESS_KEY}`);
  const signature = createHmac('sha256', key).update(text).digest('hex');
  const credential = `${env.AWS_ACCESS_KEY_ID}/${scope.join('/')}`;
  headers.authorization =
    `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  delete headers.host; // fetch sets it
  return headers;
}

// Send the same bytes until they are accepted; a request that is wrong is not repeated.
async function send(method, url, service, body) {
  for (let attempt = 1; ; attempt++) {
    let problem;
    try {
      const answer = await fetch(url, { method, headers: signed(method, url, service, body), body });
      const text = await answer.text();
      const failed = answer.headers.get('x-amz-function-error');
      if (answer.ok && !failed) return text;
      problem = `${answer.status} ${text}`;
      if (answer.status < 500 && answer.status !== 429 && !failed) attempt = ATTEMPTS;
    } catch (error) {
      problem = error.cause?.message ?? error.message;
    }
    if (attempt >= ATTEMPTS) throw new Error(`not sent: ${problem}`);
    await new Promise((done) => setTimeout(done, 200 * 2 ** attempt * Math.random()));
  }
}

function put(key, body) {
  const endpoint = env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL ?? `https://s3.${region}.amazonaws.com`;
  const path = [env.S3_XAPI_BUCKET_NAME, ...key.split('/')].map(encode).join('/');
  return send('PUT', new URL(`${endpoint}/${path}`), 's3', body);
}

function invoke(key, body) {
  const endpoint = env.AWS_ENDPOINT_URL ?? `https://lambda.${region}.amazonaws.com`;
  const url = new URL(`${endpoint}/2015-03-31/functions/${env.XAPI_LAMBDA_FUNCTION_NAME}/invocations`);
  return send('POST', url, 'lambda', JSON.stringify({ key, body: body.toString('utf8') }));
}

const [file, section, category] = process.argv.slice(2);
const body = await readFile(file);
const key = keyOf(body, section, category);
console.log(env.XAPI_ETL_MODE === 'lambda' ? await invoke(key, body) : await put(key, body));
console.log(key);
