//! What a business system gets: the event as JSON, `{id, type, version, timestamp, source, data}`, or the plaintext
//! word for word. `payload_v2.rs` makes the second form of the JSON.
//!
//! The bytes follow from the stored event and the endpoint alone, so every try of a delivery has the same.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::{payload_v2, wechatpadpro};
use crate::clock::rfc3339_ms;
use crate::domain::endpoint::PayloadForm;
use crate::domain::event::Format;
use crate::wecom::event::body_json;

/// What stands where something is not to be shown.
pub const MASK: &str = "***";

/// An event as it is told to others.
#[derive(Clone, Copy, Debug)]
pub struct Content<'e> {
    /// Our id.
    pub id: &'e str,
    /// What happened.
    pub kind: &'e str,
    /// The channel it came in through.
    pub source: &'e str,
    /// When it was accepted, wall ms.
    pub accepted_ms: i64,
    /// How the plaintext is written.
    pub format: Format,
    /// The corp it is about.
    pub corp_id: Option<&'e str>,
    /// The member who caused it.
    pub user_id: Option<&'e str>,
    /// The customer it is about.
    pub external_user_id: Option<&'e str>,
    /// The group chat it is about.
    pub chat_id: Option<&'e str>,
    /// The plaintext.
    pub plaintext: &'e Bytes,
}

/// A body and its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The media type.
    pub content_type: &'static str,
    /// The bytes that are signed and sent.
    pub bytes: Bytes,
}

#[derive(Serialize)]
struct Payload<'e> {
    id: &'e str,
    #[serde(rename = "type")]
    kind: &'e str,
    version: i64,
    timestamp: String,
    source: &'e str,
    data: Value,
}

#[derive(Serialize)]
struct Data<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    corp_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_user_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_id: Option<&'e str>,
    body: Value,
}

/// The media type of JSON bodies.
pub const JSON: &str = "application/json; charset=utf-8";

/// The body for an endpoint that wants `form` with the values at `mask` hidden.
pub fn body(content: &Content<'_>, form: PayloadForm, version: i64, mask: &[String]) -> Body {
    match form {
        PayloadForm::Raw => raw(content),
        PayloadForm::WeChatPadPro => wechatpadpro::body(content),
        PayloadForm::Json if version >= 2 => {
            let payload = payload_v2::payload(content, version, mask);
            Body { content_type: JSON, bytes: serde_json::to_vec(&payload).unwrap_or_default().into() }
        }
        PayloadForm::Json => {
            let data = Data {
                corp_id: content.corp_id,
                user_id: content.user_id,
                external_user_id: content.external_user_id,
                chat_id: content.chat_id,
                body: body_json(content.plaintext, content.format),
            };
            let mut data = serde_json::to_value(data).unwrap_or_default();
            for path in mask {
                hide(&mut data, &path.split('.').collect::<Vec<_>>());
            }
            let payload = Payload {
                id: content.id,
                kind: content.kind,
                version,
                timestamp: rfc3339_ms(content.accepted_ms),
                source: content.source,
                data,
            };
            Body { content_type: JSON, bytes: serde_json::to_vec(&payload).unwrap_or_default().into() }
        }
    }
}

fn raw(content: &Content<'_>) -> Body {
    let content_type = match content.format {
        Format::Xml => "application/xml; charset=utf-8",
        Format::Json => JSON,
        Format::Opaque => "application/octet-stream",
    };
    Body { content_type, bytes: content.plaintext.clone() }
}

/// Replaces what stands at `path`; a list on the way is gone through as a whole.
pub(super) fn hide(value: &mut Value, path: &[&str]) {
    let Some((step, rest)) = path.split_first() else {
        if !value.is_null() {
            *value = Value::from(MASK);
        }
        return;
    };
    match value {
        Value::Object(map) => {
            if let Some(inner) = map.get_mut(*step) {
                hide(inner, rest);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, path)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(plaintext: &str, form: PayloadForm, mask: &[&str]) -> Body {
        let plaintext = Bytes::from(plaintext.to_owned());
        let content = Content {
            id: "evt_1",
            kind: "message.text",
            source: "wechat_api",
            accepted_ms: 1_700_000_000_007,
            format: Format::Xml,
            corp_id: Some("ww1"),
            user_id: Some("zhangsan"),
            external_user_id: None,
            chat_id: None,
            plaintext: &plaintext,
        };
        let mask: Vec<String> = mask.iter().map(|&path| path.to_owned()).collect();
        body(&content, form, 1, &mask)
    }

    const XML: &str =
        "<xml><Content>hi</Content><MsgId>9007199254740993</MsgId><I><A>1</A></I><I><A>2</A></I></xml>";

    #[test]
    fn the_fields_stand_in_their_order_and_ids_are_texts() {
        let body = told(XML, PayloadForm::Json, &[]);
        assert_eq!(body.content_type, JSON);
        assert_eq!(
            std::str::from_utf8(&body.bytes).unwrap(),
            r#"{"id":"evt_1","type":"message.text","version":1,"timestamp":"2023-11-14T22:13:20.007Z","source":"wechat_api","data":{"body":{"Content":"hi","I":[{"A":"1"},{"A":"2"}],"MsgId":"9007199254740993"},"corp_id":"ww1","user_id":"zhangsan"}}"#
        );
    }

    #[test]
    fn what_is_masked_is_not_there() {
        let body = told(
            XML,
            PayloadForm::Json,
            &["user_id", "body.Content", "body.I.A", "body.Nothing", "corp_id.x"],
        );
        let value: Value = serde_json::from_slice(&body.bytes).unwrap();
        assert_eq!(value["data"]["user_id"], MASK);
        assert_eq!(value["data"]["corp_id"], "ww1");
        assert_eq!(
            value["data"]["body"],
            json!({"Content": MASK, "MsgId": "9007199254740993", "I": [{"A": MASK}, {"A": MASK}]})
        );
    }

    #[test]
    fn the_raw_form_is_the_plaintext() {
        let body = told(XML, PayloadForm::Raw, &[]);
        assert_eq!((body.content_type, &body.bytes[..]), ("application/xml; charset=utf-8", XML.as_bytes()));
    }
}
