"""Opens a sealed passive reply (XML or JSON) from standard input with wechatpy and prints the plaintext.

With --expected, standard input has one JSON object a line, `{"reply": …, "plaintext": …}`: each reply has to open
to its plaintext.
"""

import argparse
import json
import sys

from theirs import Account, open_reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--token", required=True)
    parser.add_argument("--key", required=True, help="EncodingAESKey, 43 characters")
    parser.add_argument("--receive-id", required=True, help="corp id; empty for robots")
    parser.add_argument("--expected", action="store_true")
    args = parser.parse_args()
    if args.expected:
        compare(Account(args.token, args.key, args.receive_id))
        return
    plaintext = open_reply(Account(args.token, args.key, args.receive_id), sys.stdin.read())
    sys.stdout.buffer.write(plaintext.encode())


def compare(account: Account) -> None:
    lines = [json.loads(line) for line in sys.stdin]
    wrong = [line for line in lines if open_reply(account, line["reply"]) != line["plaintext"]]
    print(json.dumps({"library": "wechatpy", "opened": len(lines), "wrong": wrong}, ensure_ascii=False))
    sys.exit(1 if wrong or not lines else 0)


if __name__ == "__main__":
    main()
