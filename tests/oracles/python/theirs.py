"""WeCom sealing done by wechatpy: the only file here that knows the other library."""

import json
import secrets
import time
from dataclasses import dataclass

import xmltodict
from wechatpy.enterprise.crypto import WeChatCrypto


@dataclass(frozen=True)
class Account:
    """What an administrator types into the console, and the receive id behind every plaintext."""

    token: str
    encoding_aes_key: str
    receive_id: str

    def crypto(self) -> WeChatCrypto:
        return WeChatCrypto(self.token, self.encoding_aes_key, self.receive_id)


@dataclass(frozen=True)
class Sealed:
    """A plaintext after encryption and signing: the query parameters and the ciphertext."""

    msg_signature: str
    timestamp: str
    nonce: str
    encrypt: str


def seal(account: Account, plaintext: str, timestamp: int | None = None) -> Sealed:
    """Encrypts and signs `plaintext` as the platform would, now unless a time (seconds) is given."""
    nonce = str(secrets.randbelow(10**10))
    stamp = str(int(time.time()) if timestamp is None else timestamp)
    parts = xmltodict.parse(account.crypto().encrypt_message(plaintext, nonce, stamp))["xml"]
    return Sealed(parts["MsgSignature"], stamp, nonce, parts["Encrypt"])


def open_reply(account: Account, body: str) -> str:
    """The plaintext of a sealed passive reply, XML or JSON; raises if its signature or receive id is wrong."""
    if body.lstrip().startswith("{"):
        reply = json.loads(body)
        signature, timestamp = reply["msgsignature"], str(reply["timestamp"])
        nonce, encrypt = reply["nonce"], reply["encrypt"]
    else:
        reply = xmltodict.parse(body)["xml"]
        signature, timestamp = reply["MsgSignature"], reply["TimeStamp"]
        nonce, encrypt = reply["Nonce"], reply["Encrypt"]
    return account.crypto().decrypt_message({"Encrypt": encrypt}, signature, timestamp, nonce)
