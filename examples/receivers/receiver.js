#!/usr/bin/env node
// A business system that receives the gateway's events. It needs nothing but Node.
//
// Each request is verified over its raw body, within a tolerance of 300 s, and stored before it is answered; a repeat
// is answered and not handled again. What is slow happens behind the answer.

'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const { parseArgs } = require('node:util');

const BODY_BYTES_MAX = 4 << 20;

// The key of the standard signature: what stands behind `whsec_` decoded, or the text's own bytes.
function keyOf(secret) {
  return secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);
}

// The signatures that are right: the standard one, and the plain one (hex over the body alone).
function expected(secret, id, timestamp, body) {
  const standard = crypto.createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(body);
  const plain = crypto.createHmac('sha256', secret).update(body);
  return [`v1,${standard.digest('base64')}`, plain.digest('hex')];
}

function same(a, b) {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && crypto.timingSafeEqual(left, right);
}

// Why a request is refused; undefined: it is the gateway's. `body` is raw: JSON that was read and written again has
// other bytes.
function refusal(settings, headers, body) {
  const id = headers['webhook-id'] ?? headers['x-webhook-id'];
  const timestamp = headers['webhook-timestamp'] ?? headers['x-webhook-timestamp'] ?? '';
  const given = headers[settings.header.toLowerCase()];
  if (!id || !given || !/^\d+$/.test(timestamp)) return 'id, time or signature is missing';
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > settings.toleranceS) return 'the time is too far from now';
  // While a secret is exchanged there are two: separated by a blank, in the plain form by a comma.
  const candidates = given.includes('v1') ? given.split(' ') : given.split(/[ ,]+/);
  const right = settings.secrets.flatMap((secret) => expected(secret, id, timestamp, body));
  const fits = candidates.some((candidate) => right.some((one) => same(candidate, one)));
  return fits ? undefined : 'the signature is wrong';
}

// Events on disk, each once: a line of JSON for each.
class Inbox {
  constructor(path) {
    this.seen = new Set();
    this.file = undefined;
    if (!path) return;
    const lines = fs.existsSync(path) ? fs.readFileSync(path, 'utf8').split('\n') : [];
    // The last line may be half written: its event was not answered, and comes again.
    for (const line of lines.slice(0, -1)) this.seen.add(JSON.parse(line).id);
    this.file = fs.openSync(path, 'a');
  }

  // Whether the event is new; it is on disk then.
  take(id, body) {
    if (this.seen.has(id)) return false;
    if (this.file !== undefined) {
      fs.writeSync(this.file, `${JSON.stringify({ id, body: body.toString('base64') })}\n`);
      fs.fsyncSync(this.file);
    }
    this.seen.add(id);
    return true;
  }
}

// The work: put yours here.
function handle(event) {
  console.log(event.id, event.type, event.data?.user_id ?? '-');
}

function work(body) {
  try {
    handle(JSON.parse(body));
  } catch (error) {
    console.error(`not handled: ${error}`);
  }
}

function main() {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '9200' },
      secret: { type: 'string', multiple: true },
      header: { type: 'string', default: 'webhook-signature' },
      tolerance: { type: 'string', default: '300' },
      inbox: { type: 'string' },
    },
  });
  if (!values.secret) throw new Error('--secret is missing');
  const settings = { secrets: values.secret, header: values.header, toleranceS: Number(values.tolerance) };
  const inbox = new Inbox(values.inbox);

  const server = http.createServer((request, response) => {
    const answer = (status) => response.writeHead(status, { 'Content-Length': 0 }).end();
    const parts = [];
    let length = 0;
    request.on('data', (part) => {
      length += part.length;
      if (length <= BODY_BYTES_MAX) parts.push(part);
    });
    request.on('end', () => {
      if (length > BODY_BYTES_MAX) return answer(413);
      const body = Buffer.concat(parts);
      const why = refusal(settings, request.headers, body);
      if (why) {
        console.error(`refused: ${why}`);
        return answer(401);
      }
      const id = request.headers['webhook-id'] ?? request.headers['x-webhook-id'];
      if (inbox.take(id, body)) setImmediate(work, body);
      return answer(200);
    });
  });
  server.listen(Number(values.port), '127.0.0.1', () => {
    console.log(`receiver on http://127.0.0.1:${server.address().port}/`);
  });
}

main();
