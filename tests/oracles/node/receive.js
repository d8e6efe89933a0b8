// A business system that verifies our webhooks with npm standardwebhooks (--dialect standard) or
// @octokit/webhooks-methods (--dialect github).
//
// Answers 200 where the library is content, else 400. Ends with a JSON summary once --count requests came; the exit
// code is 1 if any was refused.

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { verify as verifyGitHub } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";

const { values } = parseArgs({
  options: {
    port: { type: "string" },
    secret: { type: "string" },
    count: { type: "string" },
    dialect: { type: "string" },
  },
});

/** Throws unless `body` is what was signed, and something else is not. */
async function verify(body, headers) {
  if (values.dialect === "github") {
    const signature = headers["x-hub-signature-256"];
    if (!(await verifyGitHub(values.secret, body, signature))) throw new Error("the signature differs");
    if (await verifyGitHub(values.secret, body + " ", signature)) throw new Error("a changed body was verified too");
    if (headers["x-github-event"] !== JSON.parse(body).type) throw new Error("the event differs");
    return;
  }
  const webhook = new Webhook(values.secret);
  webhook.verify(body, headers);
  let changed = true;
  try {
    webhook.verify(body + " ", headers);
  } catch {
    changed = false;
  }
  if (changed) throw new Error("a changed body was verified too");
}

const counts = { verified: 0, refused: 0 };
const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", async () => {
    const body = Buffer.concat(parts).toString("utf8");
    try {
      await verify(body, request.headers);
      counts.verified += 1;
      response.writeHead(200);
    } catch (error) {
      console.error(`refused: ${error}`);
      counts.refused += 1;
      response.writeHead(400);
    }
    response.end();
    if (counts.verified + counts.refused >= Number(values.count)) {
      console.log(JSON.stringify({ [values.dialect]: counts }));
      process.exit(counts.refused === 0 ? 0 : 1);
    }
  });
});
server.listen(Number(values.port), "127.0.0.1");
