// Command line of the programs in this folder.

import { parseArgs } from "node:util";

/** Reads `--token`, `--key`, `--receive-id` and the `extra` options; ends the program if one is missing. */
export function readArguments(extra = {}) {
  const options = { token: {}, key: {}, "receive-id": {}, ...extra };
  for (const option of Object.values(options)) option.type ??= "string";
  const { values } = parseArgs({ options });
  for (const name of Object.keys(options)) {
    if (values[name] === undefined) {
      console.error(`--${name} is missing`);
      process.exit(2);
    }
  }
  return { values, account: { token: values.token, key: values.key, receiveId: values["receive-id"] } };
}
