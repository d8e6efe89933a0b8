// Seals plaintexts with @wecom/crypto, one JSON object a line, for another implementation to open.
//
// The plaintexts grow byte by byte, so 32 of them meet every padding length; some hold characters of two, three
// and four bytes.

import { readArguments } from "./arguments.js";
import { seal } from "./theirs.js";

const ALPHABET = [..."wecom-企业微信-ß-🙂-"];

const { values, account } = readArguments({ count: { default: "64" } });
for (let length = 1; length <= Number(values.count); length += 1) {
  const plaintext = Array.from({ length }, (_, at) => ALPHABET[at % ALPHABET.length]).join("");
  console.log(JSON.stringify({ ...seal(account, plaintext), plaintext }));
}
