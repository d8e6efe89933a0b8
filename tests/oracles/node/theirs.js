// WeCom sealing done by @wecom/crypto: the only file here that knows the other library.

import { randomInt } from "node:crypto";
import { decrypt, encrypt, getSignature } from "@wecom/crypto";

// An account is { token, key, receiveId }: what the console shows, and the receive id behind every plaintext.

/** Encrypts and signs `plaintext` as the platform would: the query parameters and the ciphertext. */
export function seal({ token, key, receiveId }, plaintext) {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const nonce = String(randomInt(10 ** 10));
  const sealed = encrypt(key, plaintext, receiveId);
  return { msg_signature: getSignature(token, timestamp, nonce, sealed), timestamp, nonce, encrypt: sealed };
}

/** The plaintext of a sealed passive reply, XML or JSON; throws if its signature or receive id is wrong. */
export function openReply({ token, key, receiveId }, body) {
  const reply = body.trimStart().startsWith("{") ? fromJson(body) : fromXml(body);
  if (getSignature(token, reply.timestamp, reply.nonce, reply.encrypt) !== reply.signature) {
    throw new Error("the signature differs");
  }
  const { message, id } = decrypt(key, reply.encrypt);
  if (id !== receiveId) throw new Error(`the receive id is ${JSON.stringify(id)}`);
  return message;
}

function fromJson(body) {
  const { encrypt: sealed, msgsignature, timestamp, nonce } = JSON.parse(body);
  return { encrypt: sealed, signature: msgsignature, timestamp: String(timestamp), nonce };
}

function fromXml(body) {
  const element = (name) => {
    const found = new RegExp(`<${name}>(?:<!\\[CDATA\\[(.*?)\\]\\]>|([^<]*))</${name}>`, "s").exec(body);
    if (!found) throw new Error(`no <${name}>`);
    return found[1] ?? found[2];
  };
  return {
    encrypt: element("Encrypt"),
    signature: element("MsgSignature"),
    timestamp: element("TimeStamp"),
    nonce: element("Nonce"),
  };
}
