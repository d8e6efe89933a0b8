//! What is configured for one callback URL: Token, `EncodingAESKey` and the receive ids it accepts.

use std::fmt;

use aes::Aes256;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use cbc::cipher::{Array, KeyInit};

use crate::secret::Secret;

/// Why a Token or an `EncodingAESKey` cannot be used. Names positions and lengths, never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The Token is not 1 to 64 characters long.
    #[error("the Token must have 1 to 64 characters, this one has {0}")]
    TokenLength(usize),
    /// The Token holds something other than letters, digits, `_` and `-`.
    #[error("the Token may hold letters, digits, `_` and `-` only; character {0} is another")]
    TokenCharacter(usize),
    /// The `EncodingAESKey` is not 43 characters long.
    #[error("the EncodingAESKey must have exactly 43 characters, this one has {0}")]
    KeyLength(usize),
    /// The `EncodingAESKey` holds something other than letters and digits.
    #[error("the EncodingAESKey may hold letters and digits only; character {0} is another")]
    KeyCharacter(usize),
}

/// The Token of a callback URL: the shared secret of its signatures.
///
/// The platform's console allows 32 letters and digits; relays in the wild also use `_` and `-`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Secret);

impl Token {
    /// Longest Token, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// Another length or another character.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let length = text.chars().count();
        if length == 0 || length > Self::BYTES_MAX {
            return Err(KeyError::TokenLength(length));
        }
        match text.chars().position(|c| !c.is_ascii_alphanumeric() && c != '_' && c != '-') {
            Some(at) => Err(KeyError::TokenCharacter(at + 1)),
            None => Ok(Self(Secret::new(text))),
        }
    }

    /// The bytes that are hashed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The `EncodingAESKey` of a callback URL, with the expanded AES-256 keys of both directions.
#[derive(Clone)]
pub struct EncodingAesKey {
    bytes: [u8; 32],
    cipher: Aes256,
}

/// 43 characters carry 258 bits, the key needs 256; issued keys do not keep the two spare bits zero.
const LENIENT_LAST_CHARACTER: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

impl EncodingAesKey {
    /// Characters of the configured form.
    pub const CHARACTERS: usize = 43;

    /// Reads the 43 characters of the console.
    ///
    /// # Errors
    /// Another length, or a character that is neither letter nor digit.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let length = text.chars().count();
        if length != Self::CHARACTERS {
            return Err(KeyError::KeyLength(length));
        }
        if let Some(at) = text.chars().position(|c| !c.is_ascii_alphanumeric()) {
            return Err(KeyError::KeyCharacter(at + 1));
        }
        let mut bytes = [0; 32];
        // 43 letters and digits always give 32 bytes, so neither error can be met.
        match LENIENT_LAST_CHARACTER.decode_slice(text, &mut bytes) {
            Ok(32) => Ok(Self { bytes, cipher: Aes256::new(&Array::from(bytes)) }),
            _ => Err(KeyError::KeyLength(length)),
        }
    }

    /// The block cipher under this key.
    pub(crate) fn cipher(&self) -> &Aes256 {
        &self.cipher
    }

    /// The initial vector, which the protocol takes from the key itself.
    pub(crate) fn initial_vector(&self) -> [u8; 16] {
        let mut iv = [0; 16];
        for (to, from) in iv.iter_mut().zip(self.bytes) {
            *to = from;
        }
        iv
    }
}

impl PartialEq for EncodingAesKey {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.bytes.as_slice(), other.bytes.as_slice()).into()
    }
}

impl Eq for EncodingAesKey {}

impl fmt::Debug for EncodingAesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncodingAesKey(***)")
    }
}

/// The receive ids a source accepts behind the message: corp ids, suite ids, or the empty string of robots.
///
/// An empty string in the set means "must be empty", never "is not checked".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveIds {
    accepted: Option<Vec<String>>,
}

impl ReceiveIds {
    /// Exactly these.
    pub fn new(accepted: Vec<String>) -> Self {
        Self { accepted: Some(accepted) }
    }

    /// Every receive id: for a suite's data URL, whose corp ids are not known beforehand.
    pub fn any() -> Self {
        Self { accepted: None }
    }

    /// None but the empty one: robots.
    pub fn empty() -> Self {
        Self::new(vec![String::new()])
    }

    /// Whether `found` is in the set, byte for byte.
    pub fn accepts(&self, found: &str) -> bool {
        self.accepted.as_ref().is_none_or(|accepted| accepted.iter().any(|id| id == found))
    }

    /// Whether some receive id is accepted by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.accepted, &other.accepted) {
            (Some(mine), Some(theirs)) => mine.iter().any(|id| theirs.contains(id)),
            _ => true,
        }
    }
}

impl fmt::Display for ReceiveIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.accepted {
            None => f.write_str("any"),
            Some(accepted) => f.write_str(&accepted.join(" | ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_bits_of_the_last_character_do_not_count() {
        let keys: Vec<_> = ["I", "J", "K", "L"]
            .iter()
            .map(|last| {
                EncodingAesKey::parse(&format!("E7yoKM0kNYhJEgPPlrIWAfJWiq62msJKdF0c1jOiyz{last}")).unwrap()
            })
            .collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_ne!(keys[0], EncodingAesKey::parse("E7yoKM0kNYhJEgPPlrIWAfJWiq62msJKdF0c1jOiyzM").unwrap());
    }

    #[test]
    fn unusable_keys_say_what_is_wrong_without_showing_themselves() {
        let key = |text: &str| EncodingAesKey::parse(text).unwrap_err();
        assert_eq!(key(""), KeyError::KeyLength(0));
        assert_eq!(key(&"a".repeat(42)), KeyError::KeyLength(42));
        assert_eq!(key(&"a".repeat(44)), KeyError::KeyLength(44));
        assert_eq!(key(&format!("{}=", "a".repeat(42))), KeyError::KeyCharacter(43));
        assert_eq!(key(&format!("+{}", "a".repeat(42))), KeyError::KeyCharacter(1));
        assert_eq!(key(&"é".repeat(43)), KeyError::KeyCharacter(1));

        let token = |text: &str| Token::parse(text).unwrap_err();
        assert_eq!(token(""), KeyError::TokenLength(0));
        assert!(Token::parse(&"a".repeat(Token::BYTES_MAX)).is_ok());
        assert_eq!(token(&"a".repeat(Token::BYTES_MAX + 1)), KeyError::TokenLength(65));
        assert_eq!(token("abc "), KeyError::TokenCharacter(4));
        let shown = format!("{:?} {:?}", Token::parse("hunter2"), EncodingAesKey::parse(&"a".repeat(43)));
        assert_eq!(shown, "Ok(Token(***)) Ok(EncodingAesKey(***))");
    }

    #[test]
    fn an_empty_receive_id_must_be_empty() {
        assert!(ReceiveIds::empty().accepts("") && !ReceiveIds::empty().accepts("ww1"));
        let corp = ReceiveIds::new(vec!["ww1".into(), "ww2".into()]);
        assert!(corp.accepts("ww2") && !corp.accepts("") && !corp.accepts("WW2") && !corp.accepts("ww2 "));
        assert!(ReceiveIds::any().accepts("") && ReceiveIds::any().accepts("ww9"));
        assert!(corp.overlaps(&ReceiveIds::any()) && !corp.overlaps(&ReceiveIds::empty()));
        assert_eq!(corp.to_string(), "ww1 | ww2");
    }
}
