// What one would write with fastify and @wecom/crypto: verify, decrypt, parse, store one flushed row, answer.

import cluster from "node:cluster";
import Database from "better-sqlite3";
import Fastify from "fastify";
import { XMLParser } from "fast-xml-parser";
import { decrypt, getSignature } from "@wecom/crypto";

const { TOKEN, KEY, CORP, DATABASE, PORT, WORKERS = "1" } = process.env;

function open() {
  const db = new Database(DATABASE, { timeout: 10_000 });
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.exec(`CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, message_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL, user_id TEXT, created INTEGER, payload TEXT NOT NULL)`);
  return db;
}

async function serve() {
  // A statement outside a transaction is its own: it is flushed when run() returns.
  const insert = open().prepare(
    "INSERT OR IGNORE INTO events (message_id, kind, user_id, created, payload) VALUES (?, ?, ?, ?, ?)",
  );
  const xml = new XMLParser({ parseTagValue: false });
  const app = Fastify({ logger: false });
  app.addContentTypeParser(["text/xml", "application/xml"], { parseAs: "string" }, (_, body, done) => done(null, body));

  const opened = (query, sealed) => {
    if (getSignature(TOKEN, query.timestamp, query.nonce, sealed) !== query.msg_signature) return undefined;
    const { message, id } = decrypt(KEY, sealed);
    return id === CORP ? message : undefined;
  };

  app.get("/api/v1/webhooks/wechat/api", (request, reply) => {
    const plaintext = opened(request.query, request.query.echostr);
    return plaintext === undefined ? reply.code(403).send("forbidden") : reply.type("text/plain").send(plaintext);
  });

  app.post("/api/v1/webhooks/wechat/api", (request, reply) => {
    const plaintext = opened(request.query, xml.parse(request.body).xml.Encrypt);
    if (plaintext === undefined) return reply.code(403).send("forbidden");
    const event = xml.parse(plaintext).xml;
    insert.run(event.MsgId, event.MsgType, event.FromUserName, Number(event.CreateTime), plaintext);
    return reply.type("text/plain").send("success");
  });

  await app.listen({ host: "127.0.0.1", port: Number(PORT) });
}

if (Number(WORKERS) > 1 && cluster.isPrimary) {
  open().close();
  for (let worker = 0; worker < Number(WORKERS); worker += 1) cluster.fork();
} else {
  await serve();
}
