//! WeChatPadPro's fields of a webhook, read into those of an endpoint.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::wechatpadpro::PadAnswer;
use crate::domain::endpoint::wechatpadpro::{ALL_TYPES, kinds_of};
use crate::secret::Secret;

/// Longest time for one push that can be kept, seconds: a lease has to outlive it.
const TIMEOUT_S_MAX: i64 = 15;

/// Most repetitions.
const RETRIES_MAX: i64 = 20;

/// The first wait; each further one is twice as long, up to the last.
const FIRST_WAIT_MS: i64 = 1_000;
const LAST_WAIT_MS: i64 = 3_600_000;

/// How many types a list may have.
const TYPES_MAX: usize = 100;

/// Fields that change nothing here: how that system gets at its own messages.
const WITHOUT_MEANING: [&str; 3] = ["usedirectstream", "useredissync", "independentmode"];

/// What was asked for.
pub(super) struct Asked {
    /// Fields of an endpoint.
    pub(super) fields: Map<String, Value>,
    /// The secret, which is kept apart.
    pub(super) secret: Option<Secret>,
}

/// What is so when nothing is said of it: 10 s, three repetitions, all types, no messages of one's own.
pub(super) fn defaults() -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("active", true.into());
    put("timeout_ms", 10_000.into());
    put("delays_ms", waits(3));
    put("schedule", "standard".into());
    put("events", kinds_of(&[ALL_TYPES.to_owned()]).unwrap_or_default().into());
    put("match", without_own());
    put("sources", json!([]));
    put("dialect", "wechatpadpro".into());
    put("payload", "wechatpadpro".into());
    fields
}

/// Reads a body.
pub(super) fn read(body: BTreeMap<String, Value>) -> Result<Asked, PadAnswer> {
    let mut asked = Asked { fields: Map::new(), secret: None };
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in body {
        let lower = name.to_ascii_lowercase();
        if seen.contains(&lower) {
            return Err(wrong(&name, "stands there twice"));
        }
        if !value.is_null() && !WITHOUT_MEANING.contains(&lower.as_str()) {
            take(&mut asked, &lower, &name, &value)?;
        }
        seen.push(lower);
    }
    Ok(asked)
}

fn take(asked: &mut Asked, lower: &str, name: &str, value: &Value) -> Result<(), PadAnswer> {
    let fields = &mut asked.fields;
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    match lower {
        "url" => {
            put("url", text(name, value)?.into());
        }
        // An empty one: receivers that have none check nothing.
        "secret" => asked.secret = Some(text(name, value)?).filter(|it| !it.is_empty()).map(Secret::new),
        "enabled" => {
            put("active", flag(name, value)?.into());
        }
        "timeout" => {
            put("timeout_ms", number(name, value, 1, TIMEOUT_S_MAX)?.saturating_mul(1_000).into());
        }
        "retrycount" => {
            let retries = number(name, value, 0, RETRIES_MAX)?;
            put("delays_ms", waits(retries));
            put("schedule", if retries == 0 { "once" } else { "standard" }.into());
        }
        "messagetypes" => {
            put("events", kinds(name, value)?.into());
        }
        "includeselfmessage" => {
            put("match", if flag(name, value)? { Value::Null } else { without_own() });
        }
        "wxid" => {
            let source = text(name, value)?;
            put("sources", if source.is_empty() { json!([]) } else { json!([source]) });
        }
        "signaturestyle" => {
            let dialect = match text(name, value)?.as_str() {
                "colon" => "wechatpadpro",
                "concat" => "wechatpadpro_concat",
                _ => return Err(wrong(name, "must be one of colon, concat")),
            };
            put("dialect", dialect.into());
        }
        _ => return Err(wrong(name, "is not a field that is known here")),
    }
    Ok(())
}

/// Their name of one of our fields.
pub(super) fn name_of(field: &str) -> &str {
    match field {
        "url" => "URL",
        "secret" => "Secret",
        "timeout_ms" => "Timeout",
        "sources[0]" => "wxId",
        other => other,
    }
}

/// Everything but what the account itself has sent.
fn without_own() -> Value {
    json!({"not": {"field": "body.isSelfMsg", "equals": "true"}})
}

/// The waits before so many repetitions.
fn waits(retries: i64) -> Value {
    let wait = |number: i64| {
        let shift = u32::try_from(number).unwrap_or(u32::MAX);
        1_i64
            .checked_shl(shift)
            .map_or(LAST_WAIT_MS, |times| FIRST_WAIT_MS.saturating_mul(times))
            .min(LAST_WAIT_MS)
    };
    (0..retries).map(wait).collect()
}

fn kinds(name: &str, value: &Value) -> Result<Vec<String>, PadAnswer> {
    const FORM: &str = "must be a list of types such as [\"1\", \"3\"], or [\"*\"]";
    let items = value.as_array().filter(|items| (1..=TYPES_MAX).contains(&items.len()));
    // Numbers are taken as well: some clients send them.
    let one = |item: &Value| match item {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let types: Option<Vec<String>> = items.and_then(|items| items.iter().map(one).collect());
    types.and_then(|types| kinds_of(&types).ok()).ok_or_else(|| wrong(name, FORM))
}

fn text(name: &str, value: &Value) -> Result<String, PadAnswer> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "must be a text"))
}

fn flag(name: &str, value: &Value) -> Result<bool, PadAnswer> {
    value.as_bool().ok_or_else(|| wrong(name, "must be true or false"))
}

fn number(name: &str, value: &Value, least: i64, most: i64) -> Result<i64, PadAnswer> {
    let number = value.as_i64().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| wrong(name, &format!("must be a whole number from {least} to {most}")))
}

fn wrong(name: &str, reason: &str) -> PadAnswer {
    PadAnswer::bad(400, format!("{name} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        assert_eq!(waits(4), json!([1_000, 2_000, 4_000, 8_000]));
        let long = waits(20);
        assert_eq!((long.as_array().map(Vec::len), &long[19]), (Some(20), &json!(3_600_000)));
        assert_eq!(waits(0), json!([]));
    }
}
