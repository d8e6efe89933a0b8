//! The second form of the JSON payload: what receivers of the first had to dig out of the platform's own body, under
//! names that differ between apps and robots, stands in fields of its own.
//!
//! `source` says channel, corp and app; `occurred_at` is the platform's time; `data` has the platform's id of a
//! message, its text, and what a person did as `action`. `data.body` stays the platform's own, whole.

use serde_json::{Map, Value, json};

use super::payload::{Content, MASK, hide};
use crate::clock::rfc3339_ms;
use crate::domain::event::{Event, Meaning};
use crate::wecom::event::{body_json, read};
use crate::wecom::limits::ReadLimits;

/// The end of the year 9999, s: what lies behind it is no time.
const LATEST_S: i64 = 253_402_300_799;

/// The payload with the values at `mask` hidden; a typed field that says the same is hidden with them.
pub(super) fn payload(content: &Content<'_>, version: i64, mask: &[String]) -> Value {
    let event = read(content.plaintext, &ReadLimits::WIDEST);
    let mut data = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        data.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    };
    put("corp_id", content.corp_id);
    put("agent_id", event.agent_id.as_deref());
    put("user_id", content.user_id);
    put("external_user_id", content.external_user_id);
    put("chat_id", content.chat_id);
    let body = body_json(content.plaintext, content.format);
    data.extend(typed(&event, &body));
    data.insert("body".to_owned(), body);
    let mut data = Value::Object(data);
    let paths: Vec<Vec<&str>> = mask.iter().map(|path| path.split('.').collect()).collect();
    let mut hidden = Vec::new();
    for path in &paths {
        texts_at(&data, path, &mut hidden);
    }
    for path in &paths {
        hide(&mut data, path);
    }
    for name in ["message_id", "text", "action"] {
        if let Some(value) = data.get_mut(name) {
            cover(value, &hidden);
        }
    }
    let mut source = Map::from_iter([("channel".to_owned(), Value::from(content.source))]);
    for name in ["corp_id", "agent_id"] {
        source.extend(
            data.as_object_mut().and_then(|data| data.remove(name)).map(|value| (name.to_owned(), value)),
        );
    }
    let mut payload = json!({
        "id": content.id,
        "type": content.kind,
        "version": version,
        "timestamp": rfc3339_ms(content.accepted_ms),
        "source": source,
        "data": data,
    });
    let occurred_s = event.created_s.filter(|at_s| (1..=LATEST_S).contains(at_s));
    if let (Some(at_s), Some(fields)) = (occurred_s, payload.as_object_mut()) {
        fields.insert("occurred_at".to_owned(), Value::from(rfc3339_ms(at_s.saturating_mul(1_000))));
    }
    payload
}

/// What the event means, in fields of its own.
fn typed(event: &Event, body: &Value) -> Vec<(String, Value)> {
    let mut fields = Vec::new();
    if let Meaning::UserMessage { message_type } = &event.meaning {
        fields.extend(event.message_ref.as_deref().map(|id| ("message_id".to_owned(), Value::from(id))));
        let text = body.get("Content").or_else(|| body.pointer("/text/content"));
        if message_type == "text"
            && let Some(text) = text.and_then(Value::as_str)
        {
            fields.push(("text".to_owned(), Value::from(text)));
        }
    }
    fields.extend(action(&event.meaning).map(|action| ("action".to_owned(), action)));
    fields
}

/// What somebody did, or another system reports.
fn action(meaning: &Meaning) -> Option<Value> {
    let mut action = match meaning {
        Meaning::UserMessage { .. } | Meaning::Other => return None,
        Meaning::Menu { action, key } => json!({"kind": "menu", "action": action, "key": key}),
        Meaning::Enter => json!({"kind": "enter"}),
        Meaning::Subscription { joined } => {
            json!({"kind": if *joined { "subscribe" } else { "unsubscribe" }})
        }
        Meaning::Card { task_id, key, card_type, selected, .. } => {
            let selected: Map<String, Value> =
                selected.iter().map(|(question, options)| (question.clone(), json!(options))).collect();
            json!({"kind": "card", "task_id": task_id, "key": key, "card_type": card_type, "selected": selected})
        }
        Meaning::Contact { change } => json!({"kind": "contact", "change": change}),
        Meaning::StatusReport { reference, status, code, text } => json!({
            "kind": "status", "message_id": reference, "status": status.as_str(), "code": code, "text": text,
        }),
        Meaning::JobResult { results, .. } => {
            let of = |one: &crate::domain::event::JobResult| json!({"message_id": one.reference, "status": one.status.as_str(), "code": one.code, "text": one.text});
            json!({"kind": "result", "results": results.iter().map(of).collect::<Vec<_>>()})
        }
        Meaning::Interaction { reference, kind, value } => {
            json!({"kind": kind.as_str(), "message_id": reference, "value": value})
        }
        Meaning::Feedback { reference, verdict, text } => {
            json!({"kind": "feedback", "message_id": reference, "verdict": verdict, "text": text})
        }
    };
    if let Some(fields) = action.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && value != "");
    }
    Some(action)
}

/// The texts that stand at `path`, or below it.
fn texts_at(value: &Value, path: &[&str], found: &mut Vec<String>) {
    match (value, path.split_first()) {
        (Value::Array(items), _) => items.iter().for_each(|item| texts_at(item, path, found)),
        (Value::Object(map), Some((step, rest))) => {
            if let Some(inner) = map.get(*step) {
                texts_at(inner, rest, found);
            }
        }
        (Value::Object(map), None) => map.values().for_each(|inner| texts_at(inner, path, found)),
        (Value::String(text), None) if !text.trim().is_empty() => found.push(text.trim().to_owned()),
        (Value::Number(number), None) => found.push(number.to_string()),
        _ => {}
    }
}

/// Hides each text that is one of `hidden`.
fn cover(value: &mut Value, hidden: &[String]) {
    match value {
        Value::String(text) if hidden.iter().any(|one| one == text.trim()) => *value = Value::from(MASK),
        Value::Number(number) if hidden.contains(&number.to_string()) => *value = Value::from(MASK),
        Value::Array(items) => items.iter_mut().for_each(|item| cover(item, hidden)),
        Value::Object(map) => map.iter_mut().for_each(|(name, inner)| {
            // The word for what was done says nothing of anybody.
            if name != "kind" {
                cover(inner, hidden);
            }
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::event::Format;

    fn told(plaintext: &str, format: Format, mask: &[&str]) -> Value {
        let plaintext = Bytes::from(plaintext.to_owned());
        let content = Content {
            id: "evt_1",
            kind: "message.text",
            source: "wechat_api",
            accepted_ms: 1_700_000_000_007,
            format,
            corp_id: Some("ww1"),
            user_id: Some("zhangsan"),
            external_user_id: None,
            chat_id: None,
            plaintext: &plaintext,
        };
        let mask: Vec<String> = mask.iter().map(|&path| path.to_owned()).collect();
        payload(&content, 2, &mask)
    }

    const APP: &str = "<xml><FromUserName>zhangsan</FromUserName><CreateTime>1700000000</CreateTime><MsgType>text</MsgType>\
                       <Content>hi</Content><MsgId>9007199254740993</MsgId><AgentID>1000002</AgentID></xml>";

    #[test]
    fn an_app_and_a_robot_say_the_same_in_the_same_fields() {
        let app = told(APP, Format::Xml, &[]);
        assert_eq!(app["source"], json!({"channel": "wechat_api", "corp_id": "ww1", "agent_id": "1000002"}));
        assert_eq!((&app["version"], &app["occurred_at"]), (&json!(2), &json!("2023-11-14T22:13:20.000Z")));
        assert_eq!(
            (&app["data"]["text"], &app["data"]["message_id"]),
            (&json!("hi"), &json!("9007199254740993"))
        );
        assert_eq!(app["data"]["body"]["Content"], "hi");
        let robot = r#"{"msgid":"m1","aibotid":"a","from":{"userid":"zhangsan"},"msgtype":"text","text":{"content":"hi"}}"#;
        let robot = told(robot, Format::Json, &[]);
        assert_eq!((&robot["data"]["text"], &robot["data"]["message_id"]), (&json!("hi"), &json!("m1")));
        assert_eq!(robot.get("occurred_at"), None);
    }

    #[test]
    fn what_is_hidden_in_the_body_is_hidden_in_its_own_field_too() {
        let masked = told(APP, Format::Xml, &["body.Content", "body.MsgId", "user_id", "corp_id"]);
        let data = &masked["data"];
        assert_eq!([&data["text"], &data["message_id"], &data["user_id"]], [MASK; 3]);
        assert_eq!(
            (&masked["source"]["corp_id"], &masked["source"]["agent_id"]),
            (&json!(MASK), &json!("1000002"))
        );
        assert!(!masked.to_string().contains("hi\"") && !masked.to_string().contains("9007199254740993"));
        let whole = told(APP, Format::Xml, &["body"]);
        assert_eq!((&whole["data"]["body"], &whole["data"]["text"]), (&json!(MASK), &json!(MASK)));
    }

    #[test]
    fn what_a_person_did_is_an_action() {
        let click = "<xml><FromUserName>z</FromUserName><CreateTime>1</CreateTime><MsgType>event</MsgType>\
                     <Event>click</Event><EventKey>card</EventKey></xml>";
        assert_eq!(
            told(click, Format::Xml, &[])["data"]["action"],
            json!({"kind": "menu", "action": "click", "key": "card"})
        );
        let hidden = told(click, Format::Xml, &["body.EventKey"]);
        assert_eq!(hidden["data"]["action"], json!({"kind": "menu", "action": "click", "key": MASK}));
    }
}
