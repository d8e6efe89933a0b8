// Opens a sealed passive reply (XML or JSON) from standard input with @wecom/crypto and prints the plaintext.
//
// With --expected, standard input has one JSON object a line, `{"reply": …, "plaintext": …}`: each reply has to open
// to its plaintext.

import { readFileSync } from "node:fs";
import { readArguments } from "./arguments.js";
import { openReply } from "./theirs.js";

const { values, account } = readArguments({ expected: { type: "boolean", default: false } });
const input = readFileSync(0, "utf8");

if (values.expected) {
  const lines = input.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  const wrong = lines.filter(({ reply, plaintext }) => openReply(account, reply) !== plaintext);
  console.log(JSON.stringify({ library: "@wecom/crypto", opened: lines.length, wrong }));
  process.exitCode = wrong.length > 0 || lines.length === 0 ? 1 : 0;
} else {
  process.stdout.write(openReply(account, input));
}
