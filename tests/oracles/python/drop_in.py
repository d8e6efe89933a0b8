"""wechatpy's client for WeCom, with nothing changed but its base URL, sends through a gateway.

Token, text, an image that is uploaded first, a token that is no longer taken and the client's own recovery from it.
Prints a JSON summary; the exit code is 1 if anything went wrong.
"""

import argparse
import io
import json
import sys
import urllib.request

from wechatpy.exceptions import WeChatClientException
from wechatpy.enterprise import WeChatClient


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--gateway", required=True, help="http://host:port of the gateway")
    options.add_argument("--corp-id", required=True)
    options.add_argument("--secret", required=True, help="the app's secret, or an API key")
    options.add_argument("--agent-id", required=True)
    options.add_argument("--api-key", default="", help="to read the status with")
    given = options.parse_args()

    class Client(WeChatClient):
        API_BASE_URL = given.gateway + "/cgi-bin/"

        # The library has the platform's host written into this one call.
        def fetch_access_token(self):
            pair = {"corpid": self.corp_id, "corpsecret": self.secret}
            return self._fetch_access_token(url=self.API_BASE_URL + "gettoken", params=pair)

    client = Client(given.corp_id, given.secret)
    done = {}
    token = client.access_token
    done["token_bytes"] = len(token)

    sent = client.message.send_text(given.agent_id, "ann|unknown1", content="from wechatpy")
    done["text"] = sent["msgid"]
    assert sent["errcode"] == 0 and sent["invaliduser"] == "unknown1", sent

    picture = io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(64))
    picture.name = "a.png"
    uploaded = client.media.upload("image", picture)
    sent = client.message.send_image(given.agent_id, "ann", media_id=uploaded["media_id"])
    assert sent["errcode"] == 0, sent
    done["image"] = sent["msgid"]

    # A token that is not taken: the client fetches another and sends again.
    client.session.set(client.access_token_key, "stale." + token[6:], 7000)
    sent = client.message.send_text(given.agent_id, "ann", content="after recovery")
    assert sent["errcode"] == 0 and client.access_token != "stale." + token[6:], sent
    done["recovered"] = sent["msgid"]

    try:
        client.message.send_text(given.agent_id, "unknown1", content="nobody")
        raise AssertionError("nobody was reached, and nobody said so")
    except WeChatClientException as error:
        done["nobody"] = error.errcode
        assert error.errcode == 81013, error

    headers = {"Authorization": "Bearer " + given.api_key} if given.api_key else {}
    for name in ("text", "image", "recovered"):
        request = urllib.request.Request(f"{given.gateway}/api/v1/messages/{done[name]}/history", headers=headers)
        with urllib.request.urlopen(request) as answer:
            history = [entry["status"] for entry in json.load(answer)]
        assert history[:2] == ["pending", "sent"], history
    print(json.dumps(done))


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print(f"wrong: {error}", file=sys.stderr)
        sys.exit(1)
