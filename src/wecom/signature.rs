//! The signature of callbacks and replies: SHA-1 over four sorted strings without anything between them.
//!
//! It is no HMAC: without separators characters can move from one field to its neighbour. [`super::params`] and
//! [`super::callback`] close that by giving every field a strict form before a signature counts.

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::sabotage::{self, Protection};
use crate::wecom::keys::Token;

/// A signature: the 20 bytes of the hash.
#[derive(Clone, Copy)]
pub struct Signature([u8; 20]);

impl Signature {
    /// Characters of the transported form.
    pub const CHARACTERS: usize = 40;

    /// Signs: `sha1(concat(sort(token, timestamp, nonce, sealed)))`, sorted as bytes, equal ones kept.
    ///
    /// `sealed` is the base64 text as transported.
    pub fn over(token: &Token, timestamp: &str, nonce: &str, sealed: &str) -> Self {
        let mut parts = [token.as_bytes(), timestamp.as_bytes(), nonce.as_bytes(), sealed.as_bytes()];
        parts.sort_unstable();
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// A hash computed elsewhere.
    pub(crate) fn from_hash(hash: [u8; 20]) -> Self {
        Self(hash)
    }

    /// Reads 40 lower-case hex digits, the only form the platform sends.
    pub fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut out = [0; 20];
        if !rest.is_empty() || pairs.len() != out.len() {
            return None;
        }
        for (byte, [high, low]) in out.iter_mut().zip(pairs) {
            *byte = (hex_digit(*high)? << 4) | hex_digit(*low)?;
        }
        Some(Self(out))
    }

    /// The transported form.
    pub fn to_hex(self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::with_capacity(Self::CHARACTERS), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0)) || sabotage::off(Protection::Signature)
    }
}

/// The value of a lower-case hex digit.
fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_are_kept_and_order_is_that_of_bytes() {
        let published = [
            ("test", "123456", "test", "rust", "d6056f2bb3ad3e30f4afa5ef90cc9ddcdc7b7b27"),
            (
                "RMNlACHlV5ThzfRlVS4D4",
                "timestamp",
                "nonce",
                "encrypt",
                "8edac0945683c119ee71c9f6256d76c48aa08a96",
            ),
        ];
        for (token, timestamp, nonce, sealed, expected) in published {
            let signature = Signature::over(&Token::parse(token).unwrap(), timestamp, nonce, sealed);
            assert_eq!(signature.to_hex(), expected);
            assert!(signature.matches(&Signature::parse(expected).unwrap()));
        }
    }

    #[test]
    fn only_forty_lower_case_hex_digits_are_a_signature() {
        let hex = "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3";
        assert_eq!(Signature::parse(hex).unwrap().to_hex(), hex);
        for wrong in [
            "",
            "5c",
            &hex[1..],
            &format!("{hex}0"),
            &format!("{hex}00"),
            &hex.to_uppercase(),
            &hex.replace('f', "g"),
        ] {
            assert!(Signature::parse(wrong).is_none(), "{wrong}");
        }
    }
}
