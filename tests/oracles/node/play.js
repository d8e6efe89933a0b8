// Plays the WeCom platform against a running gateway, with the encryption and signatures of @wecom/crypto.
//
// Does the URL verification, posts sealed callbacks in both envelopes, repeats some, forges some, and demands the
// answers the protocol wants. Prints one line of JSON; exits with 1 if any answer was wrong.

import http from "node:http";
import { readArguments } from "./arguments.js";
import { openReply, seal } from "./theirs.js";

const ANSWER_LIMIT_MS = 5000;
const HANDSHAKE_LIMIT_MS = 1000;
const FAILURES_SHOWN = 20;

const { values, account } = readArguments({ url: {}, count: { default: "60" } });
const url = new URL(values.url);
const count = Number(values.count);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const firstId = BigInt(Date.now()) * 1_000_000n;

const done = {};
const failures = [];
const refusals = new Set();

function check(what, problems) {
  done[what] = (done[what] ?? 0) + 1;
  failures.push(...problems.map((problem) => `${what}: ${problem}`));
}

/** Sends one request; gives status, content type, body (a Buffer) and the milliseconds it took. */
function call(method, path, query, body) {
  // The platform escapes `+`, `/` and `=` of base64, as encodeURIComponent does.
  const parameters = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const options = {
      agent, method, host: url.hostname, port: url.port, path: `${path}?${parameters.join("&")}`,
      headers: { "User-Agent": "Mozilla/4.0" }, timeout: 2 * ANSWER_LIMIT_MS,
    };
    if (body !== undefined) {
      options.headers["Content-Type"] = "text/xml";
      options.headers["Content-Length"] = Buffer.byteLength(body);
    }
    const request = http.request(options, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("error", reject);
      answer.on("end", () => resolve({
        status: answer.statusCode, kind: answer.headers["content-type"] ?? "", content: Buffer.concat(parts),
        ms: performance.now() - start,
      }));
    });
    request.on("timeout", () => request.destroy(new Error(`no answer to ${method} ${path}`)));
    request.on("error", reject);
    request.end(body);
  });
}

const signature = ({ msg_signature, timestamp, nonce }) => ({ msg_signature, timestamp, nonce });
const verification = (sealed) => ({ ...signature(sealed), echostr: sealed.encrypt });

/** The answer is the plaintext and nothing else, for every padding length. */
async function handshake() {
  for (const path of [url.pathname, `${url.pathname}/verify`]) {
    for (let length = 1; length <= 32; length += 1) {
      const plaintext = "7094563218450967312845093671284509".slice(0, length);
      const { status, kind, content, ms } = await call("GET", path, verification(seal(account, plaintext)));
      const problems = [];
      if (status !== 200 || !content.equals(Buffer.from(plaintext))) {
        problems.push(`${path} gave ${status} ${JSON.stringify(content.toString())}, not "${plaintext}"`);
      }
      if (!kind.startsWith("text/plain")) problems.push(`${path} answered as "${kind}"`);
      if (ms > HANDSHAKE_LIMIT_MS) problems.push(`took ${ms.toFixed(0)} ms`);
      check("handshake", problems);
    }
  }
}

/** Distinct callbacks in both envelopes; every fourth is repeated, half of those sealed afresh. */
async function callbacks() {
  for (let number = 0; number < count; number += 1) {
    const plaintext = message(firstId + BigInt(number), number);
    const sealed = seal(account, plaintext);
    const [name, body] = envelope(sealed, number);
    await accepted(name, sealed, body);
    if (number % 4 === 0) {
      const again = number % 8 === 0 ? sealed : seal(account, plaintext);
      await accepted("repeat", again, envelope(again, number)[1]);
    }
  }
}

async function accepted(what, sealed, body) {
  const { status, content, ms } = await call("POST", url.pathname, signature(sealed), body);
  const text = content.toString();
  const problems = [];
  if (status !== 200) {
    problems.push(`gave ${status} ${JSON.stringify(text.slice(0, 200))}`);
  } else if (text !== "" && text !== "success") {
    try {
      openReply(account, text);
      done.reply = (done.reply ?? 0) + 1;
    } catch (error) {
      problems.push(`answered ${JSON.stringify(text.slice(0, 200))}, which does not open: ${error.message}`);
    }
  }
  if (ms > ANSWER_LIMIT_MS) problems.push(`took ${ms.toFixed(0)} ms`);
  check(what, problems);
}

/** Each is refused with 403 and one and the same body. */
async function forgeries() {
  const good = seal(account, message(firstId - 1n, 0));
  const digit = good.msg_signature.startsWith("0") ? "1" : "0";
  // The last character of the key has unused bits, so the first is changed.
  const otherKey = (account.key.startsWith("a") ? "b" : "a") + account.key.slice(1);
  const forged = {
    "one digit of the signature": { ...good, msg_signature: digit + good.msg_signature.slice(1) },
    "another text under the signature": { ...good, encrypt: seal(account, message(firstId - 2n, 0)).encrypt },
    "another timestamp": { ...good, timestamp: String(Number(good.timestamp) + 1) },
    "another receive id": seal({ ...account, receiveId: `${account.receiveId}x` }, "forged"),
    "another key": seal({ ...account, key: otherKey }, "forged"),
    "another token": seal({ ...account, token: `${account.token}x` }, "forged"),
  };
  for (const [what, sealed] of Object.entries(forged)) {
    await refused(`POST with ${what}`, "POST", signature(sealed), envelope(sealed, 0)[1]);
    await refused(`GET with ${what}`, "GET", verification(sealed));
  }
}

async function refused(what, method, query, body) {
  const { status, content } = await call(method, url.pathname, query, body);
  refusals.add(content.toString());
  check("forgery", status === 403 ? [] : [`${what} gave ${status}`]);
}

/** A plaintext no other call of this run has; robots (no receive id) speak JSON. */
function message(id, number) {
  if (account.receiveId === "") {
    return JSON.stringify({
      msgid: `m${id}`, aibotid: "AIBOT", chattype: "single", from: { userid: "li.ming" },
      msgtype: "text", text: { content: `第 ${number} 条 <b>]]> 🙂` },
    });
  }
  const head = `<xml><ToUserName><![CDATA[${account.receiveId}]]></ToUserName>`
    + `<FromUserName><![CDATA[li.ming]]></FromUserName><CreateTime>${Math.floor(Date.now() / 1000)}</CreateTime>`;
  if (number % 3 === 1) {
    return `${head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[click]]></Event>`
      + `<EventKey><![CDATA[key-${id}]]></EventKey><AgentID>1000002</AgentID></xml>`;
  }
  if (number % 3 === 2) {
    return `${head}<MsgType><![CDATA[image]]></MsgType><PicUrl><![CDATA[https://example.com/${number}.png]]></PicUrl>`
      + `<MediaId><![CDATA[media${number}]]></MediaId><MsgId>${id}</MsgId><AgentID>1000002</AgentID></xml>`;
  }
  return `${head}<MsgType><![CDATA[text]]></MsgType>`
    + `<Content><![CDATA[第 ${number} 条 <b>]]]]><![CDATA[> 🙂]]></Content>`
    + `<MsgId>${id}</MsgId><AgentID>1000002</AgentID></xml>`;
}

/** The request body: the forms that documents and senders show, in turn. */
function envelope({ encrypt }, number) {
  const to = account.receiveId;
  if (to === "" || number % 5 === 3) return ["json", JSON.stringify({ encrypt })];
  if (number % 5 === 4) return ["json", JSON.stringify({ tousername: to, encrypt, agentid: "1000002" })];
  if (number % 5 === 1) {
    return ["xml", `<xml>\n<Encrypt><![CDATA[${encrypt}]]></Encrypt>\n<AgentID><![CDATA[]]></AgentID>\n`
      + `<ToUserName><![CDATA[${to}]]></ToUserName>\n</xml>\n`];
  }
  return ["xml", `<xml><ToUserName><![CDATA[${to}]]></ToUserName><AgentID><![CDATA[1000002]]></AgentID>`
    + `<Encrypt><![CDATA[${encrypt}]]></Encrypt></xml>`];
}

await handshake();
await callbacks();
await forgeries();
check("uniform refusal", refusals.size === 1 ? [] : [`bodies differ: ${[...refusals].join(" | ")}`]);
agent.destroy();

const summary = {
  platform: "@wecom/crypto", ok: failures.length === 0, distinct: count, done, failed: failures.length,
  failures: failures.slice(0, FAILURES_SHOWN),
};
console.log(JSON.stringify(summary));
process.exitCode = failures.length === 0 ? 0 : 1;
