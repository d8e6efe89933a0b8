//! Checking signatures as a receiver does, apart from the code that makes them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::request::Received;

/// Whether one of the signatures is right, in whichever form it came.
pub(super) fn is_right(received: &Received, secret: &str) -> bool {
    let header = |name: &str| received.header(name).unwrap_or_default();
    if received.header("webhook-signature").is_some() {
        let key = secret.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
        let key = key.unwrap_or_else(|| secret.as_bytes().to_vec());
        let signed = [
            header("webhook-id").as_bytes(),
            b".",
            header("webhook-timestamp").as_bytes(),
            b".",
            received.body.as_slice(),
        ];
        let expected = format!("v1,{}", STANDARD.encode(hmac(&key, &signed.concat())));
        return header("webhook-signature").split(' ').any(|one| one == expected);
    }
    let hex = hmac(secret.as_bytes(), &received.body).iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    });
    let plain = header("x-webhook-signature").split(',').any(|one| one == hex);
    plain || header("x-hub-signature-256") == format!("sha256={hex}")
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}
