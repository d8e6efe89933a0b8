// Plays the platform to a smart robot's address, with the encryption of @wecom/crypto: a person writes, the answer
// opens a stream, a business system feeds it, the platform asks for the rest until it is finished.
//
// Prints a line for each sealed answer, `{"reply": …, "plaintext": …}`, for another library to open as well; exits
// with 1 if anything was wrong.

import assert from "node:assert/strict";
import { readArguments } from "./arguments.js";
import { openReply, seal } from "./theirs.js";

const { values, account } = readArguments({ url: {}, api: {} });
const id = `${Date.now()}`;

/** Posts `message` sealed; its answer, opened. */
async function call(message) {
  const { encrypt, ...query } = seal(account, JSON.stringify(message));
  const answer = await fetch(`${values.url}?${new URLSearchParams(query)}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ encrypt }),
  });
  assert.equal(answer.status, 200);
  const reply = await answer.text();
  const plaintext = openReply(account, reply);
  console.log(JSON.stringify({ reply, plaintext }));
  const { msgtype, stream } = JSON.parse(plaintext);
  assert.equal(msgtype, "stream");
  return stream;
}

async function feed(stream, body) {
  const answer = await fetch(`${values.api}/api/v1/events/${stream}/stream`, {
    method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  assert.equal(answer.status, 200, await answer.text());
}

const common = { aibotid: "aibOracle", chattype: "single", from: { userid: "zhangsan" } };
const ask = (part, stream) => ({ msgid: `poll-${part}-${id}`, ...common, msgtype: "stream", stream: { id: stream } });

const opened = await call({ msgid: `text-${id}`, ...common, msgtype: "text", text: { content: "多少钱" } });
assert.deepEqual([opened.finish, opened.content], [false, "正在查询"]);
let content = "";
for (const part of ["一", "二", "三"]) {
  content += part;
  await feed(opened.id, { content });
  assert.deepEqual(await call(ask(part, opened.id)), { id: opened.id, finish: false, content });
}
await feed(opened.id, { content, finish: true });
assert.deepEqual(await call(ask("end", opened.id)), { id: opened.id, finish: true, content });
