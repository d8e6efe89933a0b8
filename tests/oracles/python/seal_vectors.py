"""Seals plaintexts with wechatpy, one JSON object a line, for another implementation to open.

The plaintexts grow byte by byte, so 32 of them meet every padding length; some hold characters of two, three
and four bytes.
"""

import argparse
import json

from theirs import Account, seal

ALPHABET = "wecom-企业微信-ß-🙂-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--token", required=True)
    parser.add_argument("--key", required=True, help="EncodingAESKey, 43 characters")
    parser.add_argument("--receive-id", required=True, help="corp id; empty for robots")
    parser.add_argument("--count", type=int, default=64)
    args = parser.parse_args()
    account = Account(args.token, args.key, args.receive_id)
    for length in range(1, args.count + 1):
        plaintext = "".join(ALPHABET[at % len(ALPHABET)] for at in range(length))
        sealed = seal(account, plaintext)
        print(json.dumps({**vars(sealed), "plaintext": plaintext}, ensure_ascii=False))


if __name__ == "__main__":
    main()
