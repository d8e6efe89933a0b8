//! Messages of a group robot (`webhook/send`): text and the two kinds of markdown, checked before they leave.

use serde_json::{Map, Value};

/// A field of a message that the platform would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {actual}, allowed is {limit}")]
pub struct FieldError {
    /// The field, as a dotted path in the message.
    pub field: String,
    /// What is allowed.
    pub limit: String,
    /// What was given.
    pub actual: String,
}

/// A message as `webhook/send` takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RobotMessage {
    kind: RobotMessageKind,
    body: Map<String, Value>,
}

/// The kinds that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RobotMessageKind {
    /// Plain text; may name members with `mentioned_list` and `mentioned_mobile_list`.
    Text,
    /// Markdown with colours and `<@userid>`.
    Markdown,
    /// Markdown with tables, images and code, without colours or mentions.
    MarkdownV2,
}

impl RobotMessageKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Text, Self::Markdown, Self::MarkdownV2];

    /// The platform's word, `msgtype`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::MarkdownV2 => "markdown_v2",
        }
    }

    /// Longest content, in bytes of UTF-8; beyond it the platform answers 40058.
    pub fn content_bytes_max(self) -> usize {
        match self {
            Self::Text => 2048,
            Self::Markdown | Self::MarkdownV2 => 4096,
        }
    }
}

impl RobotMessage {
    /// Checks a message in the platform's form: `{"msgtype":"text","text":{"content":"…"}}`. Members the gateway
    /// does not know are passed on.
    ///
    /// # Errors
    /// The first field that is missing, of a wrong type or over its limit.
    pub fn parse(message: &Value) -> Result<Self, FieldError> {
        let body = message.as_object().ok_or_else(|| error("", "an object", type_name(message)))?;
        let word = body.get("msgtype").and_then(Value::as_str).unwrap_or_default();
        let kind = RobotMessageKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| error("msgtype", "text, markdown or markdown_v2", format!("\"{}\"", cut(word))))?;
        let inner = body.get(word).unwrap_or(&Value::Null);
        check_content(kind, inner)?;
        for list in ["mentioned_list", "mentioned_mobile_list"] {
            check_names(&format!("{word}.{list}"), inner.get(list))?;
        }
        Ok(Self { kind, body: body.clone() })
    }

    /// A text without mentions.
    ///
    /// # Errors
    /// It is empty or too long.
    pub fn text(content: &str) -> Result<Self, FieldError> {
        Self::parse(&serde_json::json!({ "msgtype": "text", "text": { "content": content } }))
    }

    /// Its kind.
    pub fn kind(&self) -> RobotMessageKind {
        self.kind
    }

    /// The request body, the same bytes every time.
    pub fn to_body(&self) -> String {
        serde_json::to_string(&self.body).unwrap_or_default()
    }
}

fn check_content(kind: RobotMessageKind, inner: &Value) -> Result<(), FieldError> {
    let field = format!("{}.content", kind.as_str());
    let given = inner.get("content").unwrap_or(&Value::Null);
    let content = given.as_str().ok_or_else(|| error(&field, "a string", type_name(given)))?;
    let bytes_max = kind.content_bytes_max();
    if content.trim().is_empty() {
        return Err(error(&field, format!("1 to {bytes_max} bytes"), "empty"));
    }
    if content.len() > bytes_max {
        return Err(error(&field, format!("1 to {bytes_max} bytes"), format!("{} bytes", content.len())));
    }
    Ok(())
}

/// A list of names, if given, holds strings only.
fn check_names(field: &str, given: Option<&Value>) -> Result<(), FieldError> {
    match given {
        None => Ok(()),
        Some(Value::Array(names)) => match names.iter().find(|name| !name.is_string()) {
            None => Ok(()),
            Some(other) => {
                Err(error(field, "a list of strings", format!("a list with {}", type_name(other))))
            }
        },
        Some(other) => Err(error(field, "a list of strings", type_name(other))),
    }
}

fn error(field: &str, limit: impl Into<String>, actual: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), limit: limit.into(), actual: actual.into() }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The first characters of a word somebody sent.
fn cut(word: &str) -> String {
    word.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_count_bytes_and_hold_at_their_edge() {
        for kind in RobotMessageKind::ALL {
            let word = kind.as_str();
            let with = |content: String| {
                RobotMessage::parse(&json!({ "msgtype": word, word: { "content": content } }))
            };
            let max = kind.content_bytes_max();
            assert_eq!(with("a".repeat(max)).unwrap().kind(), kind);
            let over = with("a".repeat(max + 1)).unwrap_err();
            assert_eq!((over.field, over.actual), (format!("{word}.content"), format!("{} bytes", max + 1)));
            assert!(with("图".repeat(max / 3)).is_ok());
            assert_eq!(with("图".repeat(max / 3 + 1)).unwrap_err().limit, format!("1 to {max} bytes"));
            assert_eq!(with(" \n".into()).unwrap_err().actual, "empty");
        }
    }

    #[test]
    fn unknown_members_are_passed_on_and_the_body_repeats() {
        let message = json!({ "msgtype": "text", "chatid": "wr1", "text": { "content": "hi", "mentioned_list": ["a", "@all"] } });
        let parsed = RobotMessage::parse(&message).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&parsed.to_body()).unwrap(), message);
        assert_eq!(parsed.to_body(), RobotMessage::parse(&message).unwrap().to_body());
    }

    #[test]
    fn errors_name_the_field() {
        let field = |message: Value| RobotMessage::parse(&message).unwrap_err().field;
        assert_eq!(field(json!([])), "");
        assert_eq!(field(json!({})), "msgtype");
        assert_eq!(field(json!({ "msgtype": "news" })), "msgtype");
        assert_eq!(field(json!({ "msgtype": "text" })), "text.content");
        assert_eq!(field(json!({ "msgtype": "text", "text": { "content": 1 } })), "text.content");
        assert_eq!(
            field(json!({ "msgtype": "text", "text": { "content": "x", "mentioned_list": "a" } })),
            "text.mentioned_list"
        );
        let shown = RobotMessage::text(&"a".repeat(2049)).unwrap_err().to_string();
        assert_eq!(shown, "`text.content`: 2049 bytes, allowed is 1 to 2048 bytes");
    }
}
