"""What one would write with FastAPI and wechatpy: verify, decrypt, parse, store one flushed row, answer."""

import os
import sqlite3

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from wechatpy.enterprise import parse_message
from wechatpy.enterprise.crypto import WeChatCrypto
from wechatpy.enterprise.exceptions import InvalidCorpIdException
from wechatpy.exceptions import InvalidSignatureException

crypto = WeChatCrypto(os.environ["TOKEN"], os.environ["KEY"], os.environ["CORP"])
db = sqlite3.connect(os.environ["DATABASE"], timeout=10, isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = FULL")
db.execute(
    "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, message_id TEXT NOT NULL UNIQUE,"
    " kind TEXT NOT NULL, user_id TEXT, created INTEGER, payload TEXT NOT NULL)"
)

app = FastAPI(openapi_url=None)


@app.get("/api/v1/webhooks/wechat/api")
async def verify(msg_signature: str, timestamp: str, nonce: str, echostr: str) -> PlainTextResponse:
    try:
        return PlainTextResponse(crypto.check_signature(msg_signature, timestamp, nonce, echostr))
    except (InvalidSignatureException, InvalidCorpIdException):
        return PlainTextResponse("forbidden", 403)


@app.post("/api/v1/webhooks/wechat/api")
async def receive(msg_signature: str, timestamp: str, nonce: str, request: Request) -> PlainTextResponse:
    try:
        plaintext = crypto.decrypt_message(await request.body(), msg_signature, timestamp, nonce)
    except (InvalidSignatureException, InvalidCorpIdException):
        return PlainTextResponse("forbidden", 403)
    message = parse_message(plaintext)
    # A statement outside BEGIN … COMMIT is its own transaction: it is flushed when this returns.
    db.execute(
        "INSERT OR IGNORE INTO events (message_id, kind, user_id, created, payload) VALUES (?, ?, ?, ?, ?)",
        (str(message.id), message.type, message.source, int(message.create_time.timestamp()), plaintext),
    )
    return PlainTextResponse("success")
