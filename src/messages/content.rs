//! What is sent: the caller's words, expanded, checked against the channel's limits, and made the bytes of requests.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::request::{Options, wrong};
use super::{SendChannel, SendLimits};
use crate::channel::wecom_app::App;
use crate::domain::long_text::{LongText, split, truncate};
use crate::domain::message::SendPolicy;
use crate::wecom::api::app::{AppMessage, AppMessageKind, DUPLICATE_CHECK_S_MAX, duplicate_check_s};
use crate::wecom::api::field::FieldError;
use crate::wecom::api::recipients::Recipients;
use crate::wecom::api::robot::{RobotMessage, RobotMessageKind};

/// The shortest interval in which the platform is asked to know a repetition, in seconds: longer than all tries.
const DUPLICATE_CHECK_S_MIN: u64 = 7_200;

/// A message that can be kept.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) message_type: &'static str,
    /// One line for each request.
    pub(super) body: String,
    pub(super) recipients: Vec<String>,
    pub(super) policy: SendPolicy,
    /// Ids under which people's clicks will come.
    pub(super) references: Vec<String>,
}

/// Makes `content`, already expanded, a message for `channel`. `unique` tells this message from all others, and is the same when the
/// caller repeats the request under its idempotency key.
pub(super) fn prepare(
    channel: &SendChannel,
    content: Map<String, Value>,
    (options, limits): (&Options, &SendLimits),
    unique: &str,
) -> Result<Prepared, FieldError> {
    match channel {
        SendChannel::App(app) => for_app(app, content, (options, limits), unique),
        _ => for_robot(content, options, limits),
    }
}

/// The short form: `"text": "hello"` without a `msgtype`.
pub(super) fn expand(content: &mut Map<String, Value>) {
    if !content.contains_key("msgtype") {
        let words = ["text", "markdown", "markdown_v2"];
        let mut given = words.into_iter().filter(|word| content.contains_key(*word));
        if let (Some(word), None) = (given.next(), given.next()) {
            content.insert("msgtype".to_owned(), word.into());
        }
    }
    let word = content.get("msgtype").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(inner @ Value::String(_)) = content.get_mut(&word) {
        *inner = json!({ "content": inner.take() });
    }
}

fn for_robot(
    content: Map<String, Value>,
    options: &Options,
    limits: &SendLimits,
) -> Result<Prepared, FieldError> {
    let word = content.get("msgtype").and_then(Value::as_str).unwrap_or_default();
    let bytes_max = RobotMessageKind::parse(word).and_then(RobotMessageKind::content_bytes_max);
    let mut bodies = Vec::new();
    let mut message_type = "";
    for part in parts(content, bytes_max, options.long_text, limits)? {
        let message = RobotMessage::parse(&Value::Object(part))?;
        message_type = message.kind().as_str();
        bodies.push(message.to_body());
    }
    Ok(Prepared {
        message_type,
        body: bodies.join("\n"),
        recipients: Vec::new(),
        policy: options.policy.unwrap_or_default(),
        references: Vec::new(),
    })
}

fn for_app(
    app: &App,
    mut content: Map<String, Value>,
    (options, limits): (&Options, &SendLimits),
    unique: &str,
) -> Result<Prepared, FieldError> {
    let recipients = Recipients::take(&mut content)?;
    check_agent(app, content.remove("agentid"))?;
    let references: Vec<String> = task_id(&mut content, unique).into_iter().collect();
    let word = content.get("msgtype").and_then(Value::as_str).unwrap_or_default();
    let bytes_max = AppMessageKind::parse(word).and_then(AppMessageKind::content_bytes_max);
    let mut bodies = Vec::new();
    let mut message_type = "";
    let parts = parts(content, bytes_max, options.long_text, limits)?;
    for (at, mut part) in parts.into_iter().enumerate() {
        if recipients.chat.is_none() {
            ask_for_duplicate_check(&mut part, unique, at);
        }
        let message = AppMessage::parse(part)?;
        message_type = message.kind().as_str();
        bodies.push(message.to_body(&recipients, app.agent_id())?);
    }
    let is_checked = bodies.iter().all(|body| duplicate_check_s(body).is_some());
    // A repetition that the platform knows for one is shown once.
    let usual = if is_checked { SendPolicy::AtLeastOnce } else { SendPolicy::AtMostOnce };
    Ok(Prepared {
        message_type,
        body: bodies.join("\n"),
        recipients: recipients.named(),
        policy: options.policy.unwrap_or(usual),
        references,
    })
}

/// The number may be given, as in the platform's own form, if it is this app's.
fn check_agent(app: &App, given: Option<Value>) -> Result<(), FieldError> {
    let number = match &given {
        None => return Ok(()),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    if number == Some(app.agent_id()) {
        return Ok(());
    }
    let allowed = format!("{}, the app of this channel, or nothing", app.agent_id());
    Err(wrong("agentid", allowed, given.map_or_else(String::new, |given| given.to_string())))
}

/// The id under which clicks on a card come back; one is made for a card that has none.
fn task_id(content: &mut Map<String, Value>, unique: &str) -> Option<String> {
    let word = content.get("msgtype")?.as_str()?.to_owned();
    if word != "template_card" && word != "taskcard" {
        return None;
    }
    let card = content.get_mut(&word)?.as_object_mut()?;
    let given = card.entry("task_id").or_insert_with(|| Value::from(unique));
    given.as_str().map(str::to_owned)
}

/// Asks the platform to know a repetition of this very request.
///
/// It compares whole requests. Two alerts with the same words to the same person are two messages, so each asks for
/// an interval of its own: that is a field the platform knows, and makes the requests differ.
fn ask_for_duplicate_check(part: &mut Map<String, Value>, unique: &str, at: usize) {
    if part.contains_key("enable_duplicate_check") || part.contains_key("duplicate_check_interval") {
        return;
    }
    let digest = Sha256::digest(format!("{unique} {at}").as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let span = u64::try_from(DUPLICATE_CHECK_S_MAX).unwrap_or(0) - DUPLICATE_CHECK_S_MIN + 1;
    part.insert("enable_duplicate_check".to_owned(), 1.into());
    part.insert("duplicate_check_interval".to_owned(), (DUPLICATE_CHECK_S_MIN + number % span).into());
}

/// One content, or several if it is too long and may be split. Mentions go with the first part only.
fn parts(
    mut content: Map<String, Value>,
    bytes_max: Option<usize>,
    policy: LongText,
    limits: &SendLimits,
) -> Result<Vec<Map<String, Value>>, FieldError> {
    let word = content.get("msgtype").and_then(Value::as_str).unwrap_or_default().to_owned();
    let text = content.get(&word).and_then(|inner| inner.get("content")).and_then(Value::as_str);
    let (Some(bytes_max), Some(text)) = (bytes_max, text.map(str::to_owned)) else {
        return Ok(vec![content]);
    };
    if text.len() <= bytes_max || policy == LongText::Refuse {
        return Ok(vec![content]);
    }
    let put = |content: &mut Map<String, Value>, text: &str| {
        if let Some(inner) = content.get_mut(&word).and_then(Value::as_object_mut) {
            inner.insert("content".to_owned(), text.into());
        }
    };
    if policy == LongText::Truncate {
        put(&mut content, &truncate(&text, bytes_max));
        return Ok(vec![content]);
    }
    let texts = split(&text, bytes_max);
    let parts_max = limits.text_parts_max;
    if texts.len() > parts_max {
        let allowed = format!("at most {parts_max} parts of {bytes_max} bytes");
        return Err(wrong(&format!("{word}.content"), allowed, format!("{} parts", texts.len())));
    }
    let mut parts = Vec::with_capacity(texts.len());
    for text in texts {
        let mut part = content.clone();
        put(&mut part, text);
        if !parts.is_empty()
            && let Some(inner) = part.get_mut(&word).and_then(Value::as_object_mut)
        {
            inner.remove("mentioned_list");
            inner.remove("mentioned_mobile_list");
        }
        parts.push(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(long_text: LongText) -> Options {
        Options { policy: None, priority: 0, send_ms: None, expires_ms: None, long_text, track_links: false }
    }

    fn robot(content: &Value, long_text: LongText) -> Result<Prepared, FieldError> {
        let mut content = content.as_object().unwrap().clone();
        expand(&mut content);
        for_robot(content, &options(long_text), &SendLimits::default())
    }

    #[test]
    fn the_short_form_is_the_platforms_form() {
        let long = robot(&json!({"msgtype": "text", "text": {"content": "hi"}}), LongText::Refuse).unwrap();
        for short in [json!({"text": "hi"}), json!({"msgtype": "text", "text": "hi"})] {
            assert_eq!(robot(&short, LongText::Refuse).unwrap().body, long.body);
        }
        let error = robot(&json!({"text": "a", "markdown": "b"}), LongText::Refuse).unwrap_err();
        assert_eq!(error.field, "msgtype");
    }

    #[test]
    fn long_texts_are_refused_split_or_cut_as_asked() {
        let long = json!({"text": {"content": "图".repeat(5_000), "mentioned_list": ["ann"]}});
        let error = robot(&long, LongText::Refuse).unwrap_err();
        assert_eq!((error.field.as_str(), error.actual.as_str()), ("text.content", "15000 bytes"));
        let split = robot(&long, LongText::Split).unwrap();
        let parts: Vec<Value> = split.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parts.len(), 8);
        let whole: String = parts.iter().filter_map(|part| part["text"]["content"].as_str()).collect();
        assert_eq!(whole, "图".repeat(5_000));
        assert!(
            parts[0]["text"]["mentioned_list"].is_array() && parts[1]["text"]["mentioned_list"].is_null()
        );
        assert_eq!(robot(&long, LongText::Truncate).unwrap().body.lines().count(), 1);
        assert!(robot(&json!({"text": "x".repeat(2_048 * 50)}), LongText::Split).is_ok());
        let endless = json!({"text": "x".repeat(2_048 * 50 + 1)});
        assert_eq!(robot(&endless, LongText::Split).unwrap_err().actual, "51 parts");
    }

    #[test]
    fn equal_words_are_different_requests_and_a_repetition_is_the_same() {
        let interval = |unique: &str, at: usize| {
            let mut part = Map::new();
            ask_for_duplicate_check(&mut part, unique, at);
            assert_eq!(part["enable_duplicate_check"], 1);
            part["duplicate_check_interval"].as_i64().unwrap()
        };
        assert_eq!(interval("msg_1", 0), interval("msg_1", 0));
        assert_ne!(interval("msg_1", 0), interval("msg_2", 0));
        assert_ne!(interval("msg_1", 0), interval("msg_1", 1));
        for at in 0..500 {
            assert!((7_200..=14_400).contains(&interval("msg_3", at)));
        }
        let mut given = json!({"enable_duplicate_check": 0}).as_object().unwrap().clone();
        ask_for_duplicate_check(&mut given, "u", 0);
        assert_eq!(given.len(), 1, "what the caller says stays");
    }
}
