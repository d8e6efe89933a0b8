//! The request to send a message, taken apart: what is the gateway's, and what is the platform's.

use serde_json::{Map, Value};

use crate::clock::parse_time_ms;
use crate::domain::long_text::LongText;
use crate::domain::message::SendPolicy;
use crate::messages::SendLimits;
use crate::wecom::api::field::FieldError;

/// Highest and, negated, lowest `priority`.
pub const PRIORITY_MAX: i64 = 9;

/// A request taken apart.
pub(super) struct Request {
    pub(super) channel: String,
    pub(super) options: Options,
    /// The message in the platform's form.
    pub(super) content: Map<String, Value>,
}

/// What the gateway does with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// `None`: what is usual for the channel.
    pub(super) policy: Option<SendPolicy>,
    pub(super) priority: i64,
    /// Wall ms.
    pub(super) send_ms: Option<i64>,
    /// Wall ms.
    pub(super) expires_ms: Option<i64>,
    pub(super) long_text: LongText,
    /// Whether the opening of links is noticed.
    pub(super) track_links: bool,
}

impl Request {
    pub(super) fn parse(request: Value, now_ms: i64, limits: &SendLimits) -> Result<Self, FieldError> {
        let Value::Object(mut content) = request else {
            return Err(wrong("", "an object", "something else"));
        };
        let channel = match content.remove("channel") {
            Some(Value::String(name)) if !name.is_empty() => name,
            other => return Err(wrong("channel", "a channel's name", shown(other.as_ref()))),
        };
        let options = Options::take(&mut content, now_ms, limits)?;
        Ok(Self { channel, options, content })
    }
}

impl Options {
    fn take(content: &mut Map<String, Value>, now_ms: i64, limits: &SendLimits) -> Result<Self, FieldError> {
        let policy = match content.remove("policy") {
            None => None,
            Some(given) => Some(
                given
                    .as_str()
                    .and_then(SendPolicy::parse)
                    .ok_or_else(|| wrong("policy", "at_most_once or at_least_once", shown(Some(&given))))?,
            ),
        };
        let track_links = match content.remove("track_links") {
            None => false,
            Some(Value::Bool(given)) => given,
            Some(given) => return Err(wrong("track_links", "true or false", shown(Some(&given)))),
        };
        let long_text = match content.remove("long_text") {
            None => LongText::default(),
            Some(given) => given
                .as_str()
                .and_then(LongText::parse)
                .ok_or_else(|| wrong("long_text", "refuse, split or truncate", shown(Some(&given))))?,
        };
        let priority = match content.remove("priority") {
            None => 0,
            Some(given) => given
                .as_i64()
                .filter(|priority| (-PRIORITY_MAX..=PRIORITY_MAX).contains(priority))
                .ok_or_else(|| {
                    wrong("priority", format!("-{PRIORITY_MAX} to {PRIORITY_MAX}"), shown(Some(&given)))
                })?,
        };
        let send_ms = take_time(content, "send_at")?;
        let ahead_ms_max = limits.send_ahead_ms_max;
        if send_ms.is_some_and(|at_ms| at_ms > now_ms.saturating_add(ahead_ms_max)) {
            let allowed = format!("at most {} s ahead", ahead_ms_max / 1_000);
            return Err(wrong("send_at", allowed, "later"));
        }
        let expires_ms = take_time(content, "expires_at")?;
        let leaves_ms = send_ms.unwrap_or(now_ms).max(now_ms);
        if expires_ms.is_some_and(|at_ms| at_ms <= leaves_ms) {
            return Err(wrong("expires_at", "after now and after `send_at`", "earlier"));
        }
        Ok(Self { policy, priority, send_ms, expires_ms, long_text, track_links })
    }
}

/// RFC 3339, or seconds or milliseconds since 1970.
fn take_time(content: &mut Map<String, Value>, field: &str) -> Result<Option<i64>, FieldError> {
    let Some(given) = content.remove(field) else { return Ok(None) };
    let ms = match &given {
        Value::String(text) => parse_time_ms(text),
        Value::Number(number) => parse_time_ms(&number.to_string()),
        _ => None,
    };
    ms.map(Some).ok_or_else(|| wrong(field, "a time such as 2026-01-31T08:00:00Z", shown(Some(&given))))
}

pub(super) fn wrong(field: &str, limit: impl Into<String>, actual: impl Into<String>) -> FieldError {
    FieldError { field: field.to_owned(), limit: limit.into(), actual: actual.into() }
}

/// What was given, short enough for an error.
fn shown(given: Option<&Value>) -> String {
    given.map_or_else(|| "nothing".to_owned(), |given| given.to_string().chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn field(request: Value) -> String {
        Request::parse(request, NOW_MS, &SendLimits::default())
            .map_or_else(|error| error.field, |_| String::new())
    }

    #[test]
    fn the_gateways_fields_are_taken_out_and_the_rest_is_the_platforms() {
        let request = json!({
            "channel": "wechat_bot", "msgtype": "text", "text": {"content": "hi"}, "chatid": "wr1",
            "priority": 9, "policy": "at_least_once", "send_at": "2023-11-14T22:13:25Z", "expires_at": 1_700_000_010,
            "long_text": "split", "track_links": true,
        });
        let Request { channel, options, content } =
            Request::parse(request, NOW_MS, &SendLimits::default()).unwrap();
        assert_eq!(channel, "wechat_bot");
        assert_eq!(
            options,
            Options {
                policy: Some(SendPolicy::AtLeastOnce),
                priority: 9,
                send_ms: Some(NOW_MS + 5_000),
                expires_ms: Some(NOW_MS + 10_000),
                long_text: LongText::Split,
                track_links: true,
            }
        );
        assert_eq!(
            Value::Object(content),
            json!({"msgtype": "text", "text": {"content": "hi"}, "chatid": "wr1"})
        );
    }

    #[test]
    fn every_wrong_field_is_named() {
        let with = |field: &str, value: Value| json!({"channel": "a", field: value});
        assert_eq!(field(json!([])), "");
        assert_eq!(field(json!({})), "channel");
        assert_eq!(field(json!({"channel": ""})), "channel");
        assert_eq!(field(json!({"channel": 1})), "channel");
        assert_eq!(field(with("policy", json!("exactly_once"))), "policy");
        assert_eq!(field(with("long_text", json!("shorten"))), "long_text");
        assert_eq!(field(with("track_links", json!("yes"))), "track_links");
        for (priority, named) in [(9, ""), (10, "priority"), (-9, ""), (-10, "priority")] {
            assert_eq!(field(with("priority", json!(priority))), named);
        }
        assert_eq!(field(with("priority", json!(1.5))), "priority");
        assert_eq!(field(with("send_at", json!("soon"))), "send_at");
        assert_eq!(field(with("send_at", json!(NOW_MS + SendLimits::default().send_ahead_ms_max))), "");
        assert_eq!(
            field(with("send_at", json!(NOW_MS + SendLimits::default().send_ahead_ms_max + 1))),
            "send_at"
        );
        assert_eq!(field(with("expires_at", json!(NOW_MS))), "expires_at");
        assert_eq!(field(with("expires_at", json!(NOW_MS + 1))), "");
        let before_it_leaves = json!({"channel": "a", "send_at": NOW_MS + 10, "expires_at": NOW_MS + 10});
        assert_eq!(field(before_it_leaves), "expires_at");
    }
}
