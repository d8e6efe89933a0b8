//! What a JSON payload of a kind looks like, as JSON Schema.
//!
//! The frame is exact. The body is the platform's own, which adds fields without notice: what makes it an event of
//! its kind is required, everything else allowed.

use serde_json::{Value, json};

use crate::domain::endpoint::PAYLOAD_VERSION;
use crate::domain::event::EventKind;
use crate::domain::filter::KindPattern;

/// The schema of payloads of `kind`; `None`: there is no such kind.
pub fn schema(kind: &str) -> Option<Value> {
    let is_test = kind == "test.ping";
    if !is_test && !matches!(KindPattern::parse(kind), Ok(KindPattern::Exact(_))) {
        return None;
    }
    let text = json!({"type": "string"});
    Some(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind,
        "type": "object",
        "required": ["id", "type", "version", "timestamp", "source", "data"],
        "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "pattern": "^evt_[0-9a-z]{26}$"},
            "type": {"const": kind},
            "version": {"const": PAYLOAD_VERSION},
            "timestamp": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"},
            "source": text,
            "data": {
                "type": "object",
                "required": ["body"],
                "additionalProperties": false,
                "properties": {
                    "corp_id": text,
                    "user_id": text,
                    "external_user_id": text,
                    "chat_id": text,
                    "body": body(kind),
                }
            }
        }
    }))
}

/// The platform's own part.
fn body(kind: &str) -> Value {
    let root = kind.split('.').next().unwrap_or_default();
    let object = |required: &[&str]| json!({"type": "object", "required": required});
    match root {
        // XML of an app, or JSON of a robot.
        "message" => json!({"anyOf": [object(&["MsgType"]), object(&["msgtype"])]}),
        "event" => {
            json!({"anyOf": [object(&["MsgType", "Event"]), object(&["msgtype", "event"]), object(&["Event"])]})
        }
        "command" => object(&["InfoType"]),
        EventKind::UNREADABLE => {
            json!({"anyOf": [{"type": "string"}, object(&["base64"])]})
        }
        _ => json!({"type": ["object", "string"]}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_schemas_and_others_have_none() {
        for kind in ["message.text", "event.change_contact.create_user", "unreadable", "unknown", "test.ping"]
        {
            assert_eq!(schema(kind).unwrap()["properties"]["type"]["const"], kind);
        }
        for kind in ["", "*", "message.*", "order.created", "test.pong", "message.<x>"] {
            assert_eq!(schema(kind), None, "{kind}");
        }
    }
}
