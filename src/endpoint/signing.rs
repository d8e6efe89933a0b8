//! How a business system knows that a request is ours.
//!
//! Standard Webhooks: `v1` signs `id.timestamp.body` with HMAC-SHA256, `v1a` with Ed25519. Plain: the HMAC-SHA256 of
//! the body in hex. GitHub's: `sha256=` and `sha1=` of the body. WeChatPadPro's: the HMAC-SHA256 of `time:body` or of
//! both without the colon. Secrets that are exchanged sign both for a while.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha1::Sha1;
use sha2::Sha256;

use crate::domain::endpoint::Dialect;
use crate::entropy::Entropy;
use crate::secret::Secret;

const SYMMETRIC: &str = "whsec_";
const ASYMMETRIC: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Bytes of a secret in the standard form.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Characters of a secret in a form of one's own.
const TEXT_CHARS: std::ops::RangeInclusive<usize> = 16..=256;

/// One secret, ready to sign.
pub struct SigningKey {
    text: Secret,
    form: Form,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.text).finish()
    }
}

enum Form {
    /// The HMAC key of the standard signature.
    Symmetric(Vec<u8>),
    Asymmetric(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// Reads `whsec_…` (base64 of 24 to 64 bytes), `whsk_…` (base64 of an Ed25519 seed and its public key), or a text
    /// of 16 to 256 characters, whose bytes are the key.
    ///
    /// # Errors
    /// What it must be, for people.
    pub fn parse(secret: &Secret) -> Result<Self, &'static str> {
        let text = secret.expose();
        let form = if let Some(encoded) = text.strip_prefix(SYMMETRIC) {
            let key = STANDARD.decode(encoded).ok().filter(|key| KEY_BYTES.contains(&key.len()));
            let key = key.ok_or("must have the base64 of 24 to 64 bytes after `whsec_`")?;
            Form::Symmetric(key)
        } else if let Some(encoded) = text.strip_prefix(ASYMMETRIC) {
            const WHAT: &str = "must have the base64 of an Ed25519 seed and its public key after `whsk_`";
            let bytes = STANDARD.decode(encoded).ok().filter(|bytes| bytes.len() == 64).ok_or(WHAT)?;
            let (seed, public) = bytes.split_at(32);
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_rejected| WHAT)?;
            Form::Asymmetric(Box::new(pair))
        } else {
            let chars = text.chars().count();
            if !TEXT_CHARS.contains(&chars) || text.chars().any(char::is_control) {
                return Err("must have 16 to 256 characters; leave it out and one is made");
            }
            Form::Symmetric(text.as_bytes().to_vec())
        };
        Ok(Self { text: secret.clone(), form })
    }

    /// A new secret in the standard form.
    pub fn generate(entropy: &Entropy) -> Secret {
        Secret::new(format!("{SYMMETRIC}{}", STANDARD.encode(entropy.bytes::<32>())))
    }

    /// Whether requests can be signed with it in `dialect`.
    pub fn fits(&self, dialect: Dialect) -> bool {
        dialect == Dialect::Standard || matches!(self.form, Form::Symmetric(..))
    }

    /// What a receiver checks with, where it is not the secret itself: `whpk_…`.
    pub fn public(&self) -> Option<String> {
        match &self.form {
            Form::Symmetric(..) => None,
            Form::Asymmetric(pair) => {
                Some(format!("{PUBLIC}{}", STANDARD.encode(pair.public_key().as_ref())))
            }
        }
    }

    fn standard(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp_s}.");
        match &self.form {
            Form::Symmetric(key) => format!("v1,{}", STANDARD.encode(sha256(key, &[head.as_bytes(), body]))),
            Form::Asymmetric(pair) => {
                let signed = [head.as_bytes(), body].concat();
                format!("v1a,{}", STANDARD.encode(pair.sign(&signed).as_ref()))
            }
        }
    }

    fn is_symmetric(&self) -> bool {
        matches!(self.form, Form::Symmetric(..))
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'r> {
    /// The event's id.
    pub id: &'r str,
    /// What happened.
    pub kind: &'r str,
    /// When the request is made, wall seconds.
    pub timestamp_s: i64,
    /// The exact bytes.
    pub body: &'r [u8],
}

/// The headers of a request signed with every key: name and value.
pub fn headers(dialect: Dialect, keys: &[&SigningKey], signed: &Signed<'_>) -> Vec<(&'static str, String)> {
    let Signed { id, kind, timestamp_s, body } = *signed;
    let hex_of = |key: &SigningKey| hex(&sha256(key.text.expose().as_bytes(), &[body]));
    let first = keys.iter().copied().find(|key| key.is_symmetric());
    let mut out = Vec::with_capacity(8);
    if dialect == Dialect::Standard {
        let all: Vec<String> = keys.iter().map(|key| key.standard(id, timestamp_s, body)).collect();
        out.push(("webhook-id", id.to_owned()));
        out.push(("webhook-timestamp", timestamp_s.to_string()));
        out.push(("webhook-signature", all.join(" ")));
    }
    match dialect {
        Dialect::Standard | Dialect::Plain => {
            out.push(("x-webhook-id", id.to_owned()));
            out.push(("x-webhook-timestamp", timestamp_s.to_string()));
            let all: Vec<String> =
                keys.iter().copied().filter(|key| key.is_symmetric()).map(hex_of).collect();
            if !all.is_empty() {
                out.push(("x-webhook-signature", all.join(",")));
            }
        }
        Dialect::GitHub => {
            out.push(("x-github-event", kind.to_owned()));
            out.push(("x-github-delivery", id.to_owned()));
            if let Some(key) = first {
                let legacy = sha1(key.text.expose().as_bytes(), body);
                out.push(("x-hub-signature-256", format!("sha256={}", hex_of(key))));
                out.push(("x-hub-signature", format!("sha1={}", hex(&legacy))));
            }
        }
        Dialect::WeChatPadPro | Dialect::WeChatPadProConcat => {
            let time = timestamp_s.to_string();
            let between = if dialect == Dialect::WeChatPadPro { ":" } else { "" };
            // Its receivers compare with one signature.
            if let Some(key) = first {
                let parts = [time.as_bytes(), between.as_bytes(), body];
                let signature = hex(&sha256(key.text.expose().as_bytes(), &parts));
                out.push(("x-webhook-signature", signature));
            }
            out.push(("x-webhook-timestamp", time));
        }
    }
    out
}

fn sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn sha1(key: &[u8], body: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else { return Vec::new() };
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_three_forms() {
        let is_fine = |text: &str| SigningKey::parse(&Secret::new(text)).is_ok();
        let encoded = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        assert!(is_fine(&encoded(24)) && is_fine(&encoded(64)));
        assert!(
            !is_fine(&encoded(23)) && !is_fine(&encoded(65)) && !is_fine("whsec_") && !is_fine("whsec_!!!!")
        );
        assert!(is_fine(&"x".repeat(16)) && is_fine(&"密".repeat(16)) && is_fine(&"x".repeat(256)));
        assert!(!is_fine(&"x".repeat(15)) && !is_fine(&"x".repeat(257)) && !is_fine("sixteen chars\n123"));
        assert!(!is_fine(&format!("whsk_{}", STANDARD.encode([1; 64]))), "the public key is not the seed's");
        let made = SigningKey::generate(&Entropy::seeded(1));
        assert!(is_fine(made.expose()));
        assert!(!format!("{:?}", SigningKey::parse(&made).unwrap()).contains(made.expose()));
    }

    #[test]
    fn while_secrets_are_exchanged_both_sign() {
        let key = |text: &str| SigningKey::parse(&Secret::new(text)).unwrap();
        let keys = [key("the new secret 0001"), key("the old secret 0001")];
        let signed = Signed { id: "evt_1", kind: "message.text", timestamp_s: 7, body: b"{}" };
        let value = |keys: &[SigningKey], name: &str| {
            let keys: Vec<&SigningKey> = keys.iter().collect();
            let all = headers(Dialect::Standard, &keys, &signed);
            all.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value).unwrap()
        };
        let both = value(&keys, "webhook-signature");
        let alone: Vec<String> = keys.chunks(1).map(|key| value(key, "webhook-signature")).collect();
        assert_eq!(both, alone.join(" "));
        assert_eq!(value(&keys, "x-webhook-signature").split(',').count(), 2);
    }
}
