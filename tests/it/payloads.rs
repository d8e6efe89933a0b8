//! Every payload is as the schema of its version says.

use bytes::Bytes;
use serde_json::Value;
use wecom_gateway::domain::endpoint::PayloadForm;
use wecom_gateway::endpoint::payload::{Content, body};
use wecom_gateway::endpoint::schema::schema;
use wecom_gateway::wecom::event;
use wecom_gateway::wecom::limits::ReadLimits;

use crate::vectors::{folder, read_json};

/// What is wrong with a delivered `payload`, which says its version itself.
pub(crate) fn wrong_payload(payload: &Value) -> Option<String> {
    let (kind, version) = (payload["type"].as_str().expect("a kind"), payload["version"].as_i64());
    let schema = schema(kind, version.expect("a version")).expect("a schema");
    wrong(&schema, payload, kind)
}

/// What is wrong with `value`. Knows the keywords that our schemas use, and no other.
fn wrong(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let complain = |what: &str| Some(format!("{path}: {what}: {value}"));
    let schema = schema.as_object().expect("a schema");
    for (keyword, rule) in schema {
        let found = match keyword.as_str() {
            "$schema" | "title" => None,
            "const" => (rule != value).then(|| format!("{path}: not {rule}")),
            "type" => {
                let is = |word: &Value| match word.as_str() {
                    Some("object") => value.is_object(),
                    Some("string") => value.is_string(),
                    other => panic!("unknown type {other:?}"),
                };
                let fits = rule.as_array().map_or_else(|| is(rule), |all| all.iter().any(is));
                if fits { None } else { complain("of another type") }
            }
            "required" => rule.as_array().expect("a list").iter().find_map(|name| {
                let is_there = value.get(name.as_str().expect("a name")).is_some();
                if is_there { None } else { complain(&format!("without {name}")) }
            }),
            "additionalProperties" => {
                assert_eq!(rule, false);
                let known = schema["properties"].as_object().expect("properties");
                let others =
                    value.as_object().into_iter().flatten().find(|(name, _)| !known.contains_key(*name));
                others.and_then(|(name, _)| complain(&format!("with {name}")))
            }
            "properties" => rule.as_object().expect("properties").iter().find_map(|(name, rule)| {
                value.get(name).and_then(|value| wrong(rule, value, &format!("{path}.{name}")))
            }),
            "pattern" => {
                let text = value.as_str().unwrap_or_default();
                let is_id = text.starts_with("evt_") && text.len() == 30;
                let is_time = text.ends_with('Z') && text.contains('T') && text.len() == 24;
                if is_id || is_time { None } else { complain("of another form") }
            }
            "anyOf" => {
                let fits =
                    rule.as_array().expect("a list").iter().any(|one| wrong(one, value, path).is_none());
                if fits { None } else { complain("of no form") }
            }
            other => panic!("unknown keyword {other}"),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[test]
fn every_documented_callback_becomes_a_payload_as_its_schema_says() {
    let table = read_json("expected-events.json");
    let names = table.as_object().expect("a table");
    assert_eq!(names.len(), 315);
    for name in names.keys() {
        let plaintext = std::fs::read(format!("{}/callback-samples/{name}", folder())).expect("a sample");
        let read = event::read(&plaintext, &ReadLimits::DEFAULT);
        let plaintext = Bytes::from(plaintext);
        let content = Content {
            id: "evt_01m82cxy1ee00b5v6bhhye8nf8",
            kind: read.kind.as_str(),
            source: "wechat_api",
            accepted_ms: 1_800_000_000_000,
            format: read.format,
            corp_id: read.corp_id.as_deref(),
            user_id: read.user_id.as_deref(),
            external_user_id: read.external_user_id.as_deref(),
            chat_id: read.chat_id.as_deref(),
            plaintext: &plaintext,
        };
        for version in [1, 2] {
            let told: Value =
                serde_json::from_slice(&body(&content, PayloadForm::Json, version, &[]).bytes).expect("JSON");
            let schema = |version| {
                schema(read.kind.as_str(), version).unwrap_or_else(|| panic!("{} has no schema", read.kind))
            };
            assert_eq!(wrong(&schema(version), &told, name), None);
            assert!(wrong(&schema(3 - version), &told, name).is_some(), "the other version is seen");
            let mut changed = told.clone();
            changed["more"] = Value::from(1);
            assert!(wrong(&schema(version), &changed, name).is_some(), "a field too many is seen");
            changed = told;
            changed["data"]["body"] = Value::Null;
            assert!(wrong(&schema(version), &changed, name).is_some(), "a missing body is seen");
        }
    }
}
