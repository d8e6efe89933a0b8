//! What a plaintext says: read lightly when it arrives, as a whole when somebody wants its body.
//!
//! [`reading`] is on the way of every callback: it goes over the document once, checks that it is well-formed and
//! within the limits, and keeps the few fields that decide kind, meaning and deduplication. [`body_json`] builds
//! the whole body, without loss, for people and deliveries. Neither can fail: what cannot be read is an event of
//! kind `unreadable`, and its bytes are kept beside it anyway.

mod fields;
mod job_result;
mod meaning;
mod tree;
mod xml_fields;

use serde_json::Value;

use crate::domain::event::{Event, EventKind, Format};
use crate::wecom::json;
use crate::wecom::limits::ReadLimits;
use fields::Fields;

/// The version of this reader, stored with each event, so that a later one can tell what it would read anew.
pub const READER_VERSION: i64 = 2;

/// An event, and the id its sender gave to the callback itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the plaintext says.
    pub event: Event,
    /// The id that every repeat of this callback carries, where the protocol promises one: a user message's `MsgId`
    /// and sender, a robot callback's msgid. An event's `MsgID` is none, it names another message.
    pub callback_id: Option<CallbackId>,
}

/// What the platform calls one callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackId {
    /// `MsgId` or `msgid`.
    pub message_id: String,
    /// Who wrote the message; empty for robots, whose ids stand for themselves.
    pub sender: String,
}

/// The event in `plaintext`; beyond `limits` it is unreadable.
pub fn read(plaintext: &[u8], limits: &ReadLimits) -> Event {
    reading(plaintext, limits).event
}

/// The event in `plaintext`, and the callback's own id.
pub fn reading(plaintext: &[u8], limits: &ReadLimits) -> Reading {
    let Ok(text) = std::str::from_utf8(plaintext) else { return unreadable() };
    match form(text) {
        Format::Xml => {
            let Ok(fields) = xml_fields::read(text, limits) else { return unreadable() };
            meaning::reading(&fields, Format::Xml)
        }
        Format::Json => {
            let Ok(value) = json::parse(text, limits) else { return unreadable() };
            meaning::reading(&Fields::of_json(&value), Format::Json)
        }
        Format::Opaque => unreadable(),
    }
}

/// Whether the platform wants the word `success` for an answer: suite and provider commands (`InfoType`).
pub fn is_command(event: &Event) -> bool {
    event.kind.as_str().starts_with("command.")
}

/// The whole body as JSON, without loss.
///
/// XML becomes the object of the root's children: every leaf a string (64-bit ids stay exact), repeated siblings an
/// array, an element without content an empty string, text beside elements the member `#text`. JSON stays as it
/// is, but integers that a double cannot hold become strings. Anything else is a string, or base64 under the
/// member `base64` if it is no UTF-8. What was readable when it came is shown whole, whatever the limits are today.
pub fn body_json(plaintext: &[u8], format: Format) -> Value {
    let Ok(text) = std::str::from_utf8(plaintext) else {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(plaintext);
        return serde_json::json!({ "base64": encoded });
    };
    let body = match format {
        Format::Xml => tree::read(text, &ReadLimits::WIDEST).ok(),
        Format::Json => json::parse(text, &ReadLimits::WIDEST).ok(),
        Format::Opaque => None,
    };
    body.unwrap_or_else(|| Value::from(text))
}

/// How `text` seems to be written, by its first character.
fn form(text: &str) -> Format {
    match text.trim_start_matches('\u{FEFF}').trim_ascii_start().as_bytes().first() {
        Some(b'<') => Format::Xml,
        Some(b'{') => Format::Json,
        _ => Format::Opaque,
    }
}

fn unreadable() -> Reading {
    let kind = EventKind::from_parts(&[EventKind::UNREADABLE]);
    Reading { event: Event::of_kind(kind, Format::Opaque), callback_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(plaintext: &[u8]) -> Event {
        super::read(plaintext, &ReadLimits::DEFAULT)
    }

    #[test]
    fn nothing_is_refused_for_what_it_says() {
        for plaintext in [
            &b""[..],
            b" ",
            b"hello",
            b"\xff\xfe",
            b"<xml>",
            b"{",
            b"{\"a\":1} x",
            b"[1]",
            b"<!DOCTYPE a><a/>",
        ] {
            let event = read(plaintext);
            assert_eq!(
                (event.kind.as_str(), event.format),
                (EventKind::UNREADABLE, Format::Opaque),
                "{plaintext:?}"
            );
        }
        for plaintext in [&b"<xml/>"[..], b"{}", b"<xml>text</xml>", b"<other><A>1</A></other>"] {
            assert_eq!(read(plaintext).kind.as_str(), "unknown", "{plaintext:?}");
        }
    }

    #[test]
    fn a_dtd_makes_a_plaintext_unreadable_and_keeps_it() {
        let plaintext =
            b"<!DOCTYPE xml [<!ENTITY a \"ha\">]><xml><MsgType>text</MsgType><Content>hi</Content></xml>";
        let event = read(plaintext);
        assert_eq!(event.kind.as_str(), EventKind::UNREADABLE);
        assert_eq!(body_json(plaintext, event.format), Value::from(std::str::from_utf8(plaintext).unwrap()));
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_too() {
        assert_eq!(body_json(b"\xff\x00", Format::Opaque), serde_json::json!({ "base64": "/wA=" }));
        assert_eq!(body_json(b"hello", Format::Opaque), Value::from("hello"));
    }
}
