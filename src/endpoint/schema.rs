//! What a JSON payload of a kind looks like, as JSON Schema.
//!
//! The frame is exact. The body is the platform's own, which adds fields without notice: what makes it an event of
//! its kind is required, everything else allowed.

use serde_json::{Value, json};

use crate::domain::event::EventKind;
use crate::domain::filter::KindPattern;

/// The schema of payloads of `kind` in the form `version`; `None`: there is no such kind, or no such form.
pub fn schema(kind: &str, version: i64) -> Option<Value> {
    let is_test = kind == "test.ping";
    if !is_test && !matches!(KindPattern::parse(kind), Ok(KindPattern::Exact(_))) {
        return None;
    }
    match version {
        1 => Some(first(kind)),
        2 => Some(second(kind)),
        _ => None,
    }
}

/// What stands in front of every schema.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

const ID: &str = "^evt_[0-9a-z]{26}$";

const TIME: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$";

fn first(kind: &str) -> Value {
    let text = json!({"type": "string"});
    json!({
        "$schema": DIALECT,
        "title": kind,
        "type": "object",
        "required": ["id", "type", "version", "timestamp", "source", "data"],
        "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "pattern": ID},
            "type": {"const": kind},
            "version": {"const": 1},
            "timestamp": {"type": "string", "pattern": TIME},
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
    })
}

fn second(kind: &str) -> Value {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "pattern": TIME});
    json!({
        "$schema": DIALECT,
        "title": kind,
        "type": "object",
        "required": ["id", "type", "version", "timestamp", "source", "data"],
        "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "pattern": ID},
            "type": {"const": kind},
            "version": {"const": 2},
            "timestamp": time,
            "occurred_at": time,
            "source": {
                "type": "object",
                "required": ["channel"],
                "additionalProperties": false,
                "properties": {"channel": text, "corp_id": text, "agent_id": text}
            },
            "data": {
                "type": "object",
                "required": ["body"],
                "additionalProperties": false,
                "properties": {
                    "user_id": text,
                    "external_user_id": text,
                    "chat_id": text,
                    "message_id": text,
                    "text": text,
                    "action": {
                        "type": "object",
                        "required": ["kind"],
                        "properties": {"kind": text, "message_id": text}
                    },
                    "body": body(kind),
                }
            }
        }
    })
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
            for version in [1, 2] {
                let schema = schema(kind, version).unwrap();
                assert_eq!(schema["properties"]["type"]["const"], kind);
                assert_eq!(schema["properties"]["version"]["const"], version);
            }
            assert_eq!((schema(kind, 0), schema(kind, 3)), (None, None));
        }
        for kind in ["", "*", "message.*", "order.created", "test.pong", "message.<x>"] {
            assert_eq!(schema(kind, 1), None, "{kind}");
        }
    }
}
