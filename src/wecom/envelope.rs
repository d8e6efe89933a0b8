//! The body of a callback: a thin wrapper, XML or JSON, around the ciphertext.
//!
//! Nothing in it is signed but the ciphertext itself, so nothing else in it is used: not the receiver it names, not
//! the app, not the plaintext that an Official Account in compatibility mode puts beside it. Its form is told by
//! its first byte; the Content-Type is not documented and decides nothing.

use std::borrow::Cow;

use serde::Deserialize;

use crate::wecom::json;
use crate::wecom::leaf::LeafText;
use crate::wecom::limits::ReadLimits;
use crate::wecom::refusal::{Refusal, Step, quote};
use crate::wecom::xml::{Piece, XmlReader};

/// The ciphertext in `body`, as transported.
///
/// # Errors
/// [`Step::Body`]: neither an XML nor a JSON envelope, no ciphertext or two, a DTD.
pub fn sealed_text<'a>(body: &'a [u8], limits: &ReadLimits) -> Result<Cow<'a, str>, Refusal> {
    let text =
        std::str::from_utf8(body).map_err(|error| refused(format!("the body is not UTF-8: {error}")))?;
    let text = text.trim_start_matches('\u{FEFF}').trim_ascii();
    match text.as_bytes().first() {
        Some(b'<') => sealed_in_xml(text, limits),
        Some(b'{') => sealed_in_json(text, limits),
        Some(_) => Err(refused("the body begins neither with `<` nor with `{`".into())),
        None => Err(refused("the body is empty".into())),
    }
}

/// The only element that is read is the root's own `Encrypt`: user texts may fake another one deeper down.
fn sealed_in_xml<'a>(text: &'a str, limits: &ReadLimits) -> Result<Cow<'a, str>, Refusal> {
    let mut reader = XmlReader::new(text, limits);
    let mut depth = 0_usize;
    let mut open: Option<LeafText<'_>> = None;
    let mut found: Option<Cow<'_, str>> = None;
    loop {
        match reader.next().map_err(|fault| refused(format!("the XML envelope cannot be read: {fault}")))? {
            Piece::Open(name) => {
                depth += 1;
                match (depth, name.as_str()) {
                    (1, "xml") => {}
                    (1, other) => {
                        return Err(refused(format!("the root element is <{}>, not <xml>", quote(other))));
                    }
                    (2, "Encrypt") if found.is_some() => {
                        return Err(refused("the envelope holds `Encrypt` twice".into()));
                    }
                    (2, "Encrypt") => open = Some(LeafText::default()),
                    (_, _) if open.is_some() => return Err(refused("`Encrypt` holds an element".into())),
                    (_, _) => {}
                }
            }
            Piece::Text { text, cdata } => {
                if let Some(leaf) = &mut open {
                    leaf.push(text, cdata);
                }
            }
            Piece::Close => {
                depth -= 1;
                if let Some(leaf) = open.take() {
                    found = Some(leaf.trimmed());
                }
            }
            Piece::End => return found.ok_or_else(no_ciphertext),
        }
    }
}

/// The members of a JSON envelope that count. A doubled one is an error of the reader.
#[derive(Deserialize)]
struct JsonEnvelope<'a> {
    #[serde(borrow, default, alias = "Encrypt")]
    encrypt: Option<Cow<'a, str>>,
}

fn sealed_in_json<'a>(text: &'a str, limits: &ReadLimits) -> Result<Cow<'a, str>, Refusal> {
    json::quote_large_integers(text, limits)
        .map_err(|fault| refused(format!("the JSON envelope cannot be read: {fault}")))?;
    let envelope: JsonEnvelope<'_> = serde_json::from_str(text).map_err(|error| {
        refused(format!("the JSON envelope cannot be read: {}", quote(&error.to_string())))
    })?;
    envelope.encrypt.ok_or_else(no_ciphertext)
}

fn refused(detail: String) -> Refusal {
    Refusal::new(Step::Body, detail)
}

fn no_ciphertext() -> Refusal {
    refused("the envelope holds no `Encrypt`: is it a plaintext callback, or one of another system?".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed_text(body: &[u8]) -> Result<Cow<'_, str>, Refusal> {
        super::sealed_text(body, &ReadLimits::DEFAULT)
    }

    #[test]
    fn every_known_form_gives_its_ciphertext() {
        for body in [
            "<xml><ToUserName><![CDATA[ww1]]></ToUserName><Encrypt><![CDATA[AAAA]]></Encrypt><AgentID></AgentID></xml>",
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<xml>\n  <Encrypt>\n<![CDATA[AAAA]]>\n</Encrypt>\n</xml>\n",
            "\u{FEFF}<xml><AppId>wx0</AppId><Encrypt>AAAA</Encrypt></xml>",
            "<xml><Encrypt><![CDATA[AA]]><![CDATA[AA]]></Encrypt></xml>",
            "<xml><Content><![CDATA[<Encrypt>BBBB</Encrypt>]]></Content><X><Encrypt>CCCC</Encrypt></X><Encrypt>AAAA</Encrypt></xml>",
            "{\"encrypt\":\"AAAA\"}",
            " {\"tousername\":\"ww1\",\"encrypt\":\"AAAA\",\"agentid\":1000002}",
            "{\"ToUserName\":\"ww1\",\"Encrypt\":\"AA\\u0041A\",\"AgentID\":\"1\"}",
        ] {
            assert_eq!(sealed_text(body.as_bytes()).unwrap(), "AAAA", "{body}");
        }
    }

    #[test]
    fn other_bodies_are_refused() {
        for body in [
            "",
            "  ",
            "encrypt=AAAA",
            "[]",
            "<xml></xml>",
            "<xml><Encrypt>A</Encrypt><Encrypt>B</Encrypt></xml>",
            "<xml><Encrypt>A<b/></Encrypt></xml>",
            "<xml><Encrypt><Encrypt>A</Encrypt></Encrypt></xml>",
            "<html><Encrypt>A</Encrypt></html>",
            "<xml><a><Encrypt>A</Encrypt></a></xml>",
            "<!DOCTYPE xml [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><xml><Encrypt>&x;</Encrypt></xml>",
            "<xml><Encrypt a=\"1\">A</Encrypt></xml>",
            "<xml><Encrypt>A</Encrypt>",
            "{\"encrypt\":\"A\",\"encrypt\":\"B\"}",
            "{\"encrypt\":\"A\",\"Encrypt\":\"B\"}",
            "{\"encrypt\":1}",
            "{\"encrypt\":null}",
            "{}",
            "{\"encrypt\":\"A\"} x",
        ] {
            assert_eq!(sealed_text(body.as_bytes()).unwrap_err().step, Step::Body, "{body}");
        }
        assert_eq!(sealed_text(b"<xml><Encrypt>\xff</Encrypt></xml>").unwrap_err().step, Step::Body);
    }

    #[test]
    fn deep_json_is_refused_not_recursed_into() {
        let deep =
            |depth: usize| format!("{{\"x\":{}{},\"encrypt\":\"A\"}}", "[".repeat(depth), "]".repeat(depth));
        assert!(sealed_text(deep(60).as_bytes()).is_ok());
        assert_eq!(sealed_text(deep(65).as_bytes()).unwrap_err().step, Step::Body);
        assert_eq!(sealed_text(deep(100_000).as_bytes()).unwrap_err().step, Step::Body);
    }
}
