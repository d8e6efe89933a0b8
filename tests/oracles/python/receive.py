"""A business system that verifies our webhooks with PyPI standardwebhooks and svix.

Answers 200 where both are content and 400 where one is not, so that a wrong signature shows as a failed delivery.
Ends with a JSON summary once COUNT requests came; the exit code is 1 if any was refused.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook as StandardWebhook
from svix import Webhook as SvixWebhook


def verify(secret: str, body: bytes, headers: dict[str, str]) -> None:
    """Raises what the libraries raise."""
    told = StandardWebhook(secret).verify(body, headers)
    SvixWebhook(secret).verify(body, headers)
    if json.loads(body) != told or told["id"] != headers["webhook-id"]:
        raise ValueError("the verified body is not the one that was sent")
    try:
        StandardWebhook(secret).verify(body + b" ", headers)
    except Exception:
        return
    raise ValueError("a changed body was verified too")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    counts = {"verified": 0, "refused": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                verify(arguments.secret, body, headers)
                counts["verified"] += 1
                self.send_response(200)
            except Exception as error:
                print(f"refused: {error!r}", file=sys.stderr)
                counts["refused"] += 1
                self.send_response(400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", arguments.port), Handler)
    while sum(counts.values()) < arguments.count:
        server.handle_request()
    print(json.dumps({"standardwebhooks and svix": counts}))
    return 1 if counts["refused"] else 0


if __name__ == "__main__":
    sys.exit(main())
