//! Comparing two answers to one callback: what they say, not how they are sealed.

use serde_json::Value;

use super::Asked;
use crate::domain::event::Format;
use crate::endpoint::http::WebFault;
use crate::source::{Answer, ReplyKeys};
use crate::wecom::event::body_json;

/// Longest excerpt of an answer, in characters.
const EXCERPT_CHARS: usize = 500;

/// What a comparison came to.
pub(super) struct Verdict {
    /// `same`, `reply`, `status`, `late`, `failed`.
    pub(super) outcome: &'static str,
    pub(super) ours: String,
    pub(super) theirs: String,
    pub(super) http_status: Option<u16>,
}

/// What an answer says.
#[derive(PartialEq)]
enum Said {
    /// Empty, or `success`.
    Nothing,
    /// A sealed reply.
    Reply(Value),
    /// Something that is neither.
    Other(String),
}

/// Compares.
pub(super) fn compare(asked: &Asked, ours: &Answer, keys: Option<&ReplyKeys>) -> Verdict {
    let ours = match ours {
        Answer::Body { body, .. } => said(body, keys),
        Answer::Empty | Answer::Success | Answer::Passive(_) => Said::Nothing,
    };
    let shown = ours.shown();
    let (outcome, theirs, http_status) = match asked {
        Err(WebFault::Late(ms)) => ("late", format!("no answer in {ms} ms"), None),
        Err(fault) => ("failed", fault.to_string(), None),
        Ok(answer) if answer.http_status != 200 => {
            let body = excerpt(&String::from_utf8_lossy(&answer.body));
            ("status", body, Some(answer.http_status))
        }
        Ok(answer) => {
            let theirs = said(&answer.body, keys);
            (if theirs == ours { "same" } else { "reply" }, theirs.shown(), Some(200))
        }
    };
    Verdict { outcome, ours: shown, theirs, http_status }
}

fn said(body: &[u8], keys: Option<&ReplyKeys>) -> Said {
    let text = body.trim_ascii();
    if text.is_empty() || text == b"success" {
        return Said::Nothing;
    }
    match keys.and_then(|keys| keys.open(body)) {
        Some(plaintext) => {
            let format = if plaintext.first() == Some(&b'{') { Format::Json } else { Format::Xml };
            let mut body = body_json(&plaintext, format);
            if let Some(fields) = body.as_object_mut() {
                // Two clocks are never the same.
                fields.remove("CreateTime");
            }
            Said::Reply(body)
        }
        None => Said::Other(excerpt(&String::from_utf8_lossy(body))),
    }
}

impl Said {
    fn shown(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Reply(body) => excerpt(&body.to_string()),
            Self::Other(text) => text.clone(),
        }
    }
}

fn excerpt(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c });
    clean.take(EXCERPT_CHARS).collect()
}
