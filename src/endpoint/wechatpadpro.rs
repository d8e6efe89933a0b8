//! A message as WeChatPadPro pushes it: ten fields, flat.
//!
//! Ids that WeCom gives as text stay text. A message of a group has the group as its sender and the member in front of
//! its content, as that system's clients expect. What came in this form goes out with its own values.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::payload::{Body, Content, JSON};
use crate::domain::endpoint::wechatpadpro::number_of;
use crate::wecom::event::body_json;

/// The type of a plain text.
const TEXT: u32 = 1;

/// The ten fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Push {
    key: Value,
    msg_id: Value,
    timestamp: Value,
    from_user: Value,
    to_user: Value,
    msg_type: Value,
    content: Value,
    is_self_msg: Value,
    create_time: Value,
    is_history: Value,
}

/// The body of an event.
pub(super) fn body(content: &Content<'_>) -> Body {
    let read = body_json(content.plaintext, content.format);
    let own = match &read {
        Value::Object(map) if map.contains_key("msgType") && map.contains_key("fromUser") => map.clone(),
        _ => told(content, &read),
    };
    let accepted_s = content.accepted_ms.div_euclid(1_000);
    let field = |name: &str, absent: Value| own.get(name).cloned().unwrap_or(absent);
    let push = Push {
        key: field("key", content.source.into()),
        msg_id: field("msgId", stable_number(content.id).into()),
        timestamp: field("timestamp", accepted_s.into()),
        from_user: field("fromUser", "".into()),
        to_user: field("toUser", "".into()),
        msg_type: field("msgType", TEXT.into()),
        content: field("content", "".into()),
        is_self_msg: field("isSelfMsg", false.into()),
        create_time: field("createTime", accepted_s.into()),
        is_history: field("isHistory", false.into()),
    };
    let bytes = Bytes::from(serde_json::to_vec(&push).unwrap_or_default());
    Body { content_type: JSON, bytes }
}

/// What WeCom says, in those fields.
fn told(content: &Content<'_>, read: &Value) -> Map<String, Value> {
    let number = number_of(content.kind).unwrap_or(TEXT);
    let sender = content.external_user_id.or(content.user_id).unwrap_or_default();
    let mut said = said(number, read);
    let from = match content.chat_id {
        Some(chat) => {
            if let Value::String(text) = &said {
                said = Value::from(format!("{sender}:\n{text}"));
            }
            format!("{chat}@chatroom")
        }
        None => sender.to_owned(),
    };
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("fromUser", from.into());
    put("toUser", content.corp_id.unwrap_or(content.source).into());
    put("msgType", number.into());
    put("content", said);
    if let Some(id) = digits(read, &["MsgId", "msgid"]) {
        put("msgId", id.into());
    }
    let created_s = digits(read, &["CreateTime", "create_time"]).and_then(|text| text.parse::<i64>().ok());
    if let Some(seconds) = created_s {
        put("createTime", seconds.into());
    }
    map
}

/// The content: a text, an address or id of a file, or an object.
fn said(number: u32, read: &Value) -> Value {
    // Fields of an app's message, and of a robot's.
    let first = |names: &[&str]| -> Value {
        let found = names.iter().find_map(|name| {
            let value = name.split('.').try_fold(read, |value, step| value.get(step))?;
            value.as_str().filter(|text| !text.is_empty())
        });
        Value::from(found.unwrap_or_default())
    };
    match number {
        TEXT => first(&["Content", "text.content", "message"]),
        3 => first(&["PicUrl", "image.url", "MediaId"]),
        34 => first(&["MediaId", "voice.content", "voice.url"]),
        43 => first(&["MediaId", "video.url"]),
        48 => json!({
            "x": first(&["Location_X"]), "y": first(&["Location_Y"]), "scale": first(&["Scale"]),
            "label": first(&["Label"]),
        }),
        49 => json!({
            "title": first(&["Title", "FileName", "file.name"]), "description": first(&["Description"]),
            "url": first(&["Url", "file.url", "MediaId"]),
        }),
        _ => read.clone(),
    }
}

/// The first of `names` that holds digits and nothing else.
fn digits(read: &Value, names: &[&str]) -> Option<String> {
    let text = |name: &&str| match read.get(*name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    names
        .iter()
        .filter_map(text)
        .find(|text| (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Nineteen digits for an event whose message has none, always the same.
fn stable_number(id: &str) -> String {
    const LEAST: u64 = 1_000_000_000_000_000_000;
    let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (LEAST + number % (LEAST * 8)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Format;

    fn pushed(kind: &str, chat_id: Option<&str>, plaintext: &str) -> Value {
        let format = if plaintext.starts_with('<') { Format::Xml } else { Format::Json };
        let content = Content {
            id: "evt_1",
            kind,
            source: "wechat_api",
            accepted_ms: 1_785_398_401_234,
            format,
            corp_id: Some("ww1"),
            user_id: Some("zhangsan"),
            external_user_id: None,
            chat_id,
            plaintext: &Bytes::from(plaintext.to_owned()),
        };
        let body = body(&content);
        let text = std::str::from_utf8(&body.bytes).unwrap();
        assert!(text.starts_with(r#"{"key":"#), "the fields stand in their order: {text}");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_text_has_the_ten_fields() {
        let xml = "<xml><CreateTime>1785398395</CreateTime><Content>你好</Content><MsgId>7654321098765432101</MsgId></xml>";
        assert_eq!(
            pushed("message.text", None, xml),
            json!({
                "key": "wechat_api", "msgId": "7654321098765432101", "timestamp": 1_785_398_401,
                "fromUser": "zhangsan", "toUser": "ww1", "msgType": 1, "content": "你好", "isSelfMsg": false,
                "createTime": 1_785_398_395, "isHistory": false
            })
        );
    }

    #[test]
    fn a_group_is_the_sender_and_its_member_stands_in_front() {
        let push = pushed("message.text", Some("wrkChat"), r#"{"msgid":"CAIQ","text":{"content":"hi"}}"#);
        assert_eq!(
            (push["fromUser"].as_str(), push["content"].as_str()),
            (Some("wrkChat@chatroom"), Some("zhangsan:\nhi"))
        );
        let id = push["msgId"].as_str().unwrap();
        assert!(id.len() == 19 && id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    }

    #[test]
    fn contents_follow_their_type() {
        let image =
            pushed("message.image", None, "<xml><PicUrl>https://a/b</PicUrl><MediaId>m</MediaId></xml>");
        assert_eq!((&image["msgType"], &image["content"]), (&json!(3), &json!("https://a/b")));
        let link = pushed(
            "message.link",
            None,
            "<xml><Title>t</Title><Description>d</Description><Url>u</Url></xml>",
        );
        assert_eq!(link["content"], json!({"title": "t", "description": "d", "url": "u"}));
        assert_eq!(link["msgType"], 49);
    }

    #[test]
    fn what_came_in_this_form_goes_out_as_it_was() {
        let flat = json!({
            "key": "k", "msgId": "7", "timestamp": 1, "fromUser": "a", "toUser": "b", "msgType": 37,
            "content": {"str": "x"}, "isSelfMsg": true, "createTime": 2, "isHistory": true
        });
        assert_eq!(pushed("message.type_37", None, &flat.to_string()), flat);
    }
}
