"""Plays the WeCom platform against a running gateway, with wechatpy's encryption and signatures.

Does the URL verification, posts sealed callbacks in both envelopes, repeats some, forges some, and demands the
answers the protocol wants. Prints one line of JSON; exits with 1 if any answer was wrong.
"""

import argparse
import http.client
import json
import sys
import time
from urllib.parse import quote, urlsplit

from theirs import Account, Sealed, open_reply, seal

ANSWER_LIMIT_S = 5.0
HANDSHAKE_LIMIT_S = 1.0
FAILURES_SHOWN = 20


class Gateway:
    """One keep-alive connection to the callback URL under test."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.path = parts.path
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=2 * ANSWER_LIMIT_S)

    def call(self, method: str, path: str, query: dict[str, str], body: str | None = None):
        """Sends one request; gives status, content type, body and the seconds it took."""
        # The platform escapes `+`, `/` and `=` of base64.
        target = path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        headers = {"User-Agent": "Mozilla/4.0"}
        if body is not None:
            headers["Content-Type"] = "text/xml"
        start = time.monotonic()
        self.connection.request(method, target, None if body is None else body.encode(), headers)
        answer = self.connection.getresponse()
        content = answer.read()
        return answer.status, answer.getheader("Content-Type") or "", content, time.monotonic() - start


class Play:
    """The script of one run and its tally."""

    def __init__(self, gateway: Gateway, account: Account, count: int) -> None:
        self.gateway = gateway
        self.account = account
        self.count = count
        self.stamp = time.time_ns()
        self.done: dict[str, int] = {}
        self.failures: list[str] = []
        self.refusals: set[bytes] = set()

    def check(self, what: str, problems: list[str]) -> None:
        self.done[what] = self.done.get(what, 0) + 1
        self.failures.extend(f"{what}: {problem}" for problem in problems)

    def handshake(self) -> None:
        """The answer is the plaintext and nothing else, for every padding length."""
        for path in (self.gateway.path, self.gateway.path + "/verify"):
            for length in range(1, 33):
                plaintext = "7094563218450967312845093671284509"[:length]
                status, kind, body, seconds = self.gateway.call("GET", path, verification(seal(self.account, plaintext)))
                problems = []
                if status != 200 or body != plaintext.encode():
                    problems.append(f"{path} gave {status} {body!r}, not {plaintext!r}")
                if not kind.startswith("text/plain"):
                    problems.append(f"{path} answered as {kind!r}")
                if seconds > HANDSHAKE_LIMIT_S:
                    problems.append(f"took {seconds:.3f} s")
                self.check("handshake", problems)

    def callbacks(self) -> None:
        """Distinct callbacks in both envelopes; every fourth is repeated, half of those sealed afresh."""
        for number in range(self.count):
            plaintext = message(self.account, self.stamp + number, number)
            sealed = seal(self.account, plaintext)
            name, body = envelope(self.account, sealed, number)
            self.accepted(name, sealed, body)
            if number % 4 == 0:
                again = sealed if number % 8 == 0 else seal(self.account, plaintext)
                self.accepted("repeat", again, envelope(self.account, again, number)[1])

    def accepted(self, what: str, sealed: Sealed, body: str) -> None:
        status, _, content, seconds = self.gateway.call("POST", self.gateway.path, signature(sealed), body)
        problems = []
        if status != 200:
            problems.append(f"gave {status} {content[:200]!r}")
        elif content not in (b"", b"success"):
            try:
                open_reply(self.account, content.decode())
                self.done["reply"] = self.done.get("reply", 0) + 1
            except Exception as error:  # noqa: BLE001 - whatever the library raises is the finding
                problems.append(f"answered {content[:200]!r}, which does not open: {error!r}")
        if seconds > ANSWER_LIMIT_S:
            problems.append(f"took {seconds:.3f} s")
        self.check(what, problems)

    def forgeries(self) -> None:
        """Each is refused with 403 and one and the same body."""
        good = seal(self.account, message(self.account, self.stamp - 1, 0))
        flipped = ("1" if good.msg_signature[0] == "0" else "0") + good.msg_signature[1:]
        other_text = seal(self.account, message(self.account, self.stamp - 2, 0)).encrypt
        stranger = Account(self.account.token, self.account.encoding_aes_key, self.account.receive_id + "x")
        # The last character of the key has unused bits, so the first is changed.
        first = "b" if self.account.encoding_aes_key.startswith("a") else "a"
        other_key = Account(self.account.token, first + self.account.encoding_aes_key[1:], self.account.receive_id)
        other_token = Account(self.account.token + "x", self.account.encoding_aes_key, self.account.receive_id)
        forged = {
            "one digit of the signature": Sealed(flipped, good.timestamp, good.nonce, good.encrypt),
            "another text under the signature": Sealed(good.msg_signature, good.timestamp, good.nonce, other_text),
            "another timestamp": Sealed(good.msg_signature, str(int(good.timestamp) + 1), good.nonce, good.encrypt),
            "another receive id": seal(stranger, "forged"),
            "another key": seal(other_key, "forged"),
            "another token": seal(other_token, "forged"),
        }
        for what, sealed in forged.items():
            self.refused(f"POST with {what}", "POST", signature(sealed), envelope(self.account, sealed, 0)[1])
            self.refused(f"GET with {what}", "GET", verification(sealed), None)

    def refused(self, what: str, method: str, query: dict[str, str], body: str | None) -> None:
        status, _, content, _ = self.gateway.call(method, self.gateway.path, query, body)
        self.refusals.add(content)
        self.check("forgery", [] if status == 403 else [f"{what} gave {status}"])

    def run(self) -> bool:
        self.handshake()
        self.callbacks()
        self.forgeries()
        self.check("uniform refusal", [] if len(self.refusals) == 1 else [f"bodies differ: {self.refusals!r}"])
        return not self.failures


def signature(sealed: Sealed) -> dict[str, str]:
    return {"msg_signature": sealed.msg_signature, "timestamp": sealed.timestamp, "nonce": sealed.nonce}


def verification(sealed: Sealed) -> dict[str, str]:
    return {**signature(sealed), "echostr": sealed.encrypt}


def message(account: Account, message_id: int, number: int) -> str:
    """A plaintext no other call of this run has; robots (no receive id) speak JSON."""
    now = int(time.time())
    if not account.receive_id:
        return json.dumps(
            {"msgid": f"m{message_id}", "aibotid": "AIBOT", "chattype": "single", "from": {"userid": "li.ming"},
             "msgtype": "text", "text": {"content": f"第 {number} 条 <b>]]> \U0001f642"}},
            ensure_ascii=False,
        )
    head = (f"<xml><ToUserName><![CDATA[{account.receive_id}]]></ToUserName>"
            f"<FromUserName><![CDATA[li.ming]]></FromUserName><CreateTime>{now}</CreateTime>")
    if number % 3 == 1:
        return (f"{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[click]]></Event>"
                f"<EventKey><![CDATA[key-{message_id}]]></EventKey><AgentID>1000002</AgentID></xml>")
    if number % 3 == 2:
        return (f"{head}<MsgType><![CDATA[image]]></MsgType><PicUrl><![CDATA[https://example.com/{number}.png]]></PicUrl>"
                f"<MediaId><![CDATA[media{number}]]></MediaId><MsgId>{message_id}</MsgId><AgentID>1000002</AgentID></xml>")
    return (f"{head}<MsgType><![CDATA[text]]></MsgType>"
            f"<Content><![CDATA[第 {number} 条 <b>]]]]><![CDATA[> \U0001f642]]></Content>"
            f"<MsgId>{message_id}</MsgId><AgentID>1000002</AgentID></xml>")


def envelope(account: Account, sealed: Sealed, number: int) -> tuple[str, str]:
    """The request body: the forms that documents and senders show, in turn."""
    if not account.receive_id or number % 5 == 3:
        return "json", json.dumps({"encrypt": sealed.encrypt})
    to, encrypt = account.receive_id, sealed.encrypt
    if number % 5 == 4:
        return "json", json.dumps({"tousername": to, "encrypt": encrypt, "agentid": "1000002"})
    if number % 5 == 1:
        return "xml", (f"<xml>\n<Encrypt><![CDATA[{encrypt}]]></Encrypt>\n<AgentID><![CDATA[]]></AgentID>\n"
                       f"<ToUserName><![CDATA[{to}]]></ToUserName>\n</xml>\n")
    return "xml", (f"<xml><ToUserName><![CDATA[{to}]]></ToUserName><AgentID><![CDATA[1000002]]></AgentID>"
                   f"<Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="callback URL, for example …/api/v1/webhooks/wechat/api")
    parser.add_argument("--token", required=True)
    parser.add_argument("--key", required=True, help="EncodingAESKey, 43 characters")
    parser.add_argument("--receive-id", required=True, help="corp id; empty for robots")
    parser.add_argument("--count", type=int, default=60, help="distinct callbacks")
    args = parser.parse_args()
    play = Play(Gateway(args.url), Account(args.token, args.key, args.receive_id), args.count)
    good = play.run()
    print(json.dumps({"platform": "wechatpy", "ok": good, "distinct": args.count, "done": play.done,
                      "failed": len(play.failures), "failures": play.failures[:FAILURES_SHOWN]},
                     ensure_ascii=False))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
