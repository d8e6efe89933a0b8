//! A sealed callback on its way in: syntax, then signature, then decryption, then receive id.
//!
//! Each step is a type, so a ciphertext cannot be decrypted before its signature was found right, nor a message
//! used before its receive id was. The URL check (GET with `echostr`) takes the same way as a delivery (POST).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::sabotage::{self, Protection};
use crate::wecom::cipher::{self, BLOCK_BYTES, CipherFault};
use crate::wecom::envelope;
use crate::wecom::keys::{EncodingAesKey, ReceiveIds, Token};
use crate::wecom::limits::ReadLimits;
use crate::wecom::params::Params;
use crate::wecom::refusal::{Refusal, Step};
use crate::wecom::signature::Signature;

/// A request whose parts all have their one allowed form. Nothing about it is proved yet.
#[derive(Debug)]
pub struct SealedCallback<'a> {
    params: Params<'a>,
    sealed: Cow<'a, str>,
    ciphertext: Vec<u8>,
}

impl<'a> SealedCallback<'a> {
    /// Reads a delivery: the raw query string and the body.
    ///
    /// # Errors
    /// [`Step::Parameter`], [`Step::Timestamp`], [`Step::Nonce`], [`Step::Body`], [`Step::Base64`], [`Step::Length`].
    pub fn read(raw_query: &'a str, body: &'a [u8], limits: &ReadLimits) -> Result<Self, Refusal> {
        let params = Params::read(raw_query, limits)?;
        let sealed = envelope::sealed_text(body, limits)?;
        Self::from_parts(params, sealed)
    }

    /// Reads a URL check, whose ciphertext is the parameter `echostr`.
    ///
    /// # Errors
    /// As [`SealedCallback::read`].
    pub fn read_url_check(raw_query: &'a str, limits: &ReadLimits) -> Result<Self, Refusal> {
        let mut params = Params::read(raw_query, limits)?;
        let sealed = params.echostr.take().ok_or_else(|| {
            Refusal::new(Step::Parameter, "the query has no `echostr`: this is no URL check of the platform")
        })?;
        Self::from_parts(params, sealed)
    }

    /// Base64 must be canonical: then the signed text and the ciphertext say the same, and nothing can be appended.
    fn from_parts(params: Params<'a>, sealed: Cow<'a, str>) -> Result<Self, Refusal> {
        let ciphertext = STANDARD
            .decode(sealed.as_bytes())
            .map_err(|error| Refusal::new(Step::Base64, format!("{error}{}", base64_hint(&sealed))))?;
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK_BYTES) {
            return Err(Refusal::new(Step::Length, CipherFault::Blocks(ciphertext.len()).to_string()));
        }
        Ok(Self { params, sealed, ciphertext })
    }

    /// When the sender signed, in seconds since 1970. Only to be believed after [`SealedCallback::verify`].
    pub fn timestamp_s(&self) -> i64 {
        self.params.timestamp_s()
    }

    /// The sender's nonce, which a JSON reply repeats.
    pub fn nonce(&self) -> &str {
        &self.params.nonce
    }

    /// Compares the signature.
    ///
    /// # Errors
    /// [`Step::Signature`].
    pub fn verify(&self, token: &Token) -> Result<Verified<'_>, Refusal> {
        let computed = Signature::over(token, &self.params.timestamp, &self.params.nonce, &self.sealed);
        let Some(claimed) = Signature::parse(&self.params.signature) else {
            return Err(Refusal::new(Step::Signature, "`msg_signature` is not 40 lower-case hex digits"));
        };
        if computed.matches(&claimed) {
            return Ok(Verified { ciphertext: &self.ciphertext });
        }
        Err(Refusal::new(
            Step::Signature,
            "the signature does not fit: the Token differs from the platform's, or something on the way changed the request",
        ))
    }
}

/// A ciphertext whose signature is right.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    ciphertext: &'a [u8],
}

impl Verified<'_> {
    /// Decrypts, and compares the receive id.
    ///
    /// # Errors
    /// [`Step::Padding`], [`Step::Length`], [`Step::ReceiveId`].
    pub fn decrypt(&self, key: &EncodingAesKey, accepted: &ReceiveIds) -> Result<Opened, Refusal> {
        let frame = cipher::open(key, self.ciphertext).map_err(|fault| {
            let step = match fault {
                CipherFault::Padding => Step::Padding,
                CipherFault::Blocks(_) | CipherFault::Length => Step::Length,
            };
            Refusal::new(step, fault.to_string())
        })?;
        let receive_id = String::from_utf8_lossy(&frame.receive_id);
        if accepted.accepts(&receive_id) || sabotage::off(Protection::ReceiveId) {
            return Ok(Opened { message: frame.message, receive_id: receive_id.into_owned() });
        }
        Err(Refusal::receive_id(accepted, &receive_id))
    }
}

/// A message that was signed, decrypted and meant for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The plaintext, byte for byte.
    pub message: Bytes,
    /// The receive id behind it.
    pub receive_id: String,
}

/// What usually lies behind base64 that cannot be decoded.
fn base64_hint(sealed: &str) -> &'static str {
    if sealed.contains('%') {
        "; it still holds `%`: a proxy encoded it a second time"
    } else if sealed.contains(['-', '_']) {
        "; it is in the URL alphabet, the platform uses the standard one"
    } else if !sealed.len().is_multiple_of(4) {
        "; its length is not a multiple of 4: something cut it"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780&echostr=P9nAzCzyDtyTWESHep1vC5X9xho%2FqYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp%2B4RPcs8TgAE7OaBO%2BFZXvnaqQ%3D%3D";

    fn keys() -> (Token, EncodingAesKey) {
        let key = EncodingAesKey::parse("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C").unwrap();
        (Token::parse("QDG6eK").unwrap(), key)
    }

    #[test]
    fn the_published_url_check_is_answered() {
        let (token, key) = keys();
        let accepted = ReceiveIds::new(vec!["wx5823bf96d3bd56c7".into()]);
        let check = SealedCallback::read_url_check(QUERY, &ReadLimits::DEFAULT).unwrap();
        let opened = check.verify(&token).unwrap().decrypt(&key, &accepted).unwrap();
        assert_eq!(
            (opened.message.as_ref(), opened.receive_id.as_str()),
            (&b"1616140317555161061"[..], "wx5823bf96d3bd56c7")
        );
        assert_eq!((check.timestamp_s(), check.nonce()), (1_409_659_589, "263014780"));
    }

    #[test]
    fn each_wrong_part_is_named() {
        let (token, key) = keys();
        let corp = ReceiveIds::new(vec!["wx5823bf96d3bd56c7".into()]);
        let outcome = |query: &str, token: &Token, key: &EncodingAesKey, accepted: &ReceiveIds| {
            SealedCallback::read_url_check(query, &ReadLimits::DEFAULT)
                .and_then(|check| check.verify(token)?.decrypt(key, accepted))
                .map_err(|refusal| refusal.step)
                .unwrap_err()
        };
        let other_key = EncodingAesKey::parse(&"a".repeat(43)).unwrap();
        assert_eq!(outcome(&QUERY.replace("nonce=2", "nonce=3"), &token, &key, &corp), Step::Signature);
        assert_eq!(outcome(QUERY, &Token::parse("QDG6eL").unwrap(), &key, &corp), Step::Signature);
        assert_eq!(outcome(&QUERY.replace("=5c45", "=5C45"), &token, &key, &corp), Step::Signature);
        assert_eq!(outcome(QUERY, &token, &other_key, &corp), Step::Padding);
        assert_eq!(outcome(&QUERY.replace("%3D%3D", ""), &token, &key, &corp), Step::Base64);
        assert_eq!(outcome(&QUERY.replace("%2F", "%252F"), &token, &key, &corp), Step::Base64);
        assert_eq!(outcome(&QUERY.replace("echostr=P9nA", "echostr="), &token, &key, &corp), Step::Length);
        assert_eq!(outcome(&QUERY.replace("echostr", "echo"), &token, &key, &corp), Step::Parameter);
        assert_eq!(outcome(QUERY, &token, &key, &ReceiveIds::empty()), Step::ReceiveId);

        let refusal = SealedCallback::read_url_check(QUERY, &ReadLimits::DEFAULT)
            .unwrap()
            .verify(&token)
            .unwrap()
            .decrypt(&key, &ReceiveIds::new(vec!["wwOther".into()]))
            .unwrap_err();
        assert_eq!(refusal.expected_receive_id.as_deref(), Some("wwOther"));
        assert_eq!(refusal.found_receive_id.as_deref(), Some("wx5823bf96d3bd56c7"));
    }
}
