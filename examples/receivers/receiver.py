#!/usr/bin/env python3
"""A business system that receives the gateway's events. It needs nothing but Python.

Each request is verified over its raw body, within a tolerance of 300 s, and stored before it is answered; a repeat is
answered and not handled again. What is slow happens behind the answer.
"""

import argparse
import base64
import hashlib
import hmac
import json
import queue
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_BYTES_MAX = 4 << 20


def key_of(secret: str) -> bytes:
    """The key of the standard signature: what stands behind `whsec_` decoded, or the text's own bytes."""
    prefix = "whsec_"
    return base64.b64decode(secret[len(prefix) :]) if secret.startswith(prefix) else secret.encode()


def expected(secret: str, event_id: str, timestamp: str, body: bytes) -> list[str]:
    """The signatures that are right: the standard one, and the plain one (hex over the body alone)."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    standard = base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()
    plain = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return [f"v1,{standard}", plain]


class Refused(Exception):
    """The request is not the gateway's, or not of now."""


class Verifier:
    """Says which requests are the gateway's."""

    def __init__(self, secrets: list[str], header: str, tolerance_s: int) -> None:
        self.secrets = secrets
        self.header = header
        self.tolerance_s = tolerance_s

    def event_id(self, headers, body: bytes) -> str:
        """The id of a request that is right. `body` is raw: JSON that was read and written again has other bytes."""
        event_id = headers.get("webhook-id") or headers.get("x-webhook-id")
        timestamp = headers.get("webhook-timestamp") or headers.get("x-webhook-timestamp") or ""
        given = headers.get(self.header)
        if not event_id or not given or not (timestamp.isascii() and timestamp.isdigit()):
            raise Refused("id, time or signature is missing")
        if abs(time.time() - int(timestamp)) > self.tolerance_s:
            raise Refused("the time is too far from now")
        # While a secret is exchanged there are two: separated by a blank, in the plain form by a comma.
        plain = given.split(",") if "v1" not in given else []
        for candidate in [*given.split(), *plain]:
            for secret in self.secrets:
                for right in expected(secret, event_id, timestamp, body):
                    if hmac.compare_digest(candidate.encode(), right.encode()):
                        return event_id
        raise Refused("the signature is wrong")


class Inbox:
    """Events on disk, each once."""

    def __init__(self, path: str) -> None:
        self.lock = threading.Lock()
        self.database = sqlite3.connect(path, check_same_thread=False)
        self.database.execute("CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, body BLOB NOT NULL)")

    def take(self, event_id: str, body: bytes) -> bool:
        """Whether the event is new; it is on disk then."""
        with self.lock, self.database:
            cursor = self.database.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?)", (event_id, body))
            return cursor.rowcount == 1


def handle(event: dict) -> None:
    """The work: put yours here."""
    print(event["id"], event["type"], (event.get("data") or {}).get("user_id", "-"), flush=True)


def work(jobs: queue.Queue) -> None:
    while True:
        body = jobs.get()
        try:
            handle(json.loads(body))
        except Exception as error:  # noqa: BLE001 - one bad event must not end the work
            print(f"not handled: {error!r}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9200, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--secret", action="append", required=True, help="twice while it is exchanged")
    parser.add_argument("--header", default="webhook-signature", help="where the signature stands")
    parser.add_argument("--tolerance", type=int, default=300, help="seconds that clocks may differ")
    parser.add_argument("--inbox", default=":memory:", help="SQLite file of the events that came")
    arguments = parser.parse_args()
    verifier = Verifier(arguments.secret, arguments.header, arguments.tolerance)
    inbox, jobs = Inbox(arguments.inbox), queue.Queue()
    threading.Thread(target=work, args=(jobs,), daemon=True).start()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > BODY_BYTES_MAX:
                self.close_connection = True
                return self.answer(413)
            body = self.rfile.read(length)
            try:
                event_id = verifier.event_id(self.headers, body)
            except Refused as refused:
                print(f"refused: {refused}", file=sys.stderr, flush=True)
                return self.answer(401)
            if inbox.take(event_id, body):
                jobs.put(body)
            return self.answer(200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    print(f"receiver on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
