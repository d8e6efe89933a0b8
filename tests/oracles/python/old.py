"""An old callback system, written with wechatpy: it gets copies of what the platform sends to the gateway.

Every request has to verify and decrypt. Each is answered with a sealed reply. Runs until it is killed, and keeps a JSON
summary in the file SUMMARY up to date.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import xmltodict
from theirs import Account, seal


def opened(account: Account, query: dict[str, list[str]], body: bytes) -> str:
    """The plaintext; raises what the library raises."""
    text = body.decode()
    if text.lstrip().startswith("{"):
        encrypt = json.loads(text)["encrypt"]
    else:
        encrypt = xmltodict.parse(text)["xml"]["Encrypt"]
    signature, timestamp, nonce = (query[name][0] for name in ("msg_signature", "timestamp", "nonce"))
    return account.crypto().decrypt_message({"Encrypt": encrypt}, signature, timestamp, nonce)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--receive-id", required=True)
    parser.add_argument("--summary", required=True)
    args = parser.parse_args()
    account = Account(args.token, args.key, args.receive_id)
    counts = {"opened": 0, "refused": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                opened(account, parse_qs(urlsplit(self.path).query), body)
                counts["opened"] += 1
            except Exception:  # noqa: BLE001 - whatever the library raises is the finding
                counts["refused"] += 1
            with open(args.summary, "w", encoding="utf-8") as file:
                json.dump(counts, file)
            reply = seal(account, "<xml><MsgType>text</MsgType><Content>old words</Content></xml>")
            answer = (f"<xml><Encrypt>{reply.encrypt}</Encrypt><MsgSignature>{reply.msg_signature}</MsgSignature>"
                      f"<TimeStamp>{reply.timestamp}</TimeStamp><Nonce>{reply.nonce}</Nonce></xml>").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    HTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
