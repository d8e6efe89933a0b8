//! With what the answer to a callback is sealed, and answers of others to it are opened.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::domain::event::Format;
use crate::entropy::Entropy;
use crate::source::Answer;
use crate::wecom::keys::{EncodingAesKey, Token};
use crate::wecom::limits::ReadLimits;
use crate::wecom::reply::{ReplySeal, seal_json, seal_xml};
use crate::wecom::{cipher, envelope};

/// The keys of one callback.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyKeys {
    /// What opened the callback.
    pub(super) pair: Arc<(Token, EncodingAesKey)>,
    /// What the callback carried.
    pub(super) receive_id: String,
    /// The callback's nonce.
    pub(super) nonce: String,
    /// How much of an answer is read.
    pub(super) limits: ReadLimits,
}

impl ReplyKeys {
    /// Whether a robot called: its callbacks carry no receive id.
    pub fn is_robot(&self) -> bool {
        self.receive_id.is_empty()
    }

    /// The answer that says `plaintext`, in the form of the callback. `now_s` is wall time.
    pub fn seal(&self, plaintext: &str, format: Format, now_s: i64, entropy: &Entropy) -> Answer {
        let (token, key) = (&self.pair.0, &self.pair.1);
        let seal =
            ReplySeal { token, key, receive_id: &self.receive_id, timestamp_s: now_s, nonce: &self.nonce };
        let (content_type, body) = if format == Format::Json {
            ("text/plain; charset=utf-8", seal_json(&seal, plaintext.as_bytes(), entropy))
        } else {
            ("text/xml; charset=utf-8", seal_xml(&seal, plaintext.as_bytes(), entropy))
        };
        Answer::Body { content_type, body: body.into() }
    }

    /// What a sealed answer says, if these keys open it.
    pub fn open(&self, body: &[u8]) -> Option<Bytes> {
        let sealed = envelope::sealed_text(body, &self.limits).ok()?;
        let ciphertext = STANDARD.decode(sealed.as_bytes()).ok()?;
        Some(cipher::open(&self.pair.1, &ciphertext).ok()?.message)
    }
}

impl fmt::Debug for ReplyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyKeys").field("receive_id", &self.receive_id).finish_non_exhaustive()
    }
}
