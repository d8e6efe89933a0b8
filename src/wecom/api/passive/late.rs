//! What is said to a smart robot's callback after its answer, in the platform's form.
//!
//! Sources: documents 101031 (streams) and 101138 (`response_url`) at developer.work.weixin.qq.com.

use serde_json::{Map, Value, json};

use super::check::{STREAM_BYTES_MAX, no_control_characters};
use super::spelled_out;
use crate::wecom::api::field::{FieldError, Part, shown, type_name};
use crate::wecom::api::template_card::{self, CardFor};

/// The words of what can be said through a `response_url`.
const WORDS: &str = "markdown, template_card";

/// The body for a `response_url`: `{"msgtype": "markdown", …}`, in short `{"markdown": "hi"}`, or a card.
///
/// # Errors
/// The first field that the platform would refuse.
pub fn late_body(said: &Value) -> Result<String, FieldError> {
    let Value::Object(given) = said else { return Err(FieldError::new("", "an object", type_name(said))) };
    let body = spelled_out(given);
    let word = body.get("msgtype").unwrap_or(&Value::Null);
    let word = word.as_str().ok_or_else(|| FieldError::new("msgtype", WORDS, type_name(word)))?.to_owned();
    let root = Part::root(&body);
    match word.as_str() {
        "markdown" => root.object("markdown")?.text("content", STREAM_BYTES_MAX).map(drop)?,
        "template_card" => template_card::check(&root.object("template_card")?, CardFor::App)?,
        other => return Err(FieldError::new("msgtype", WORDS, shown(other))),
    }
    if let Some(name) = body.keys().find(|name| *name != "msgtype" && **name != word) {
        let what = format!("a field that {word} does not have");
        return Err(FieldError::new(name, format!("msgtype, {word}"), what));
    }
    let body = Value::Object(body);
    no_control_characters("", &body)?;
    Ok(body.to_string())
}

/// What of a stream is kept: not its id, nor whether it is finished, nor what only its first answer may have.
pub fn stream_body(stream: &Map<String, Value>) -> String {
    let kept = ["content", "msg_item"].into_iter();
    let kept = kept.filter_map(|name| Some((name.to_owned(), stream.get(name)?.clone())));
    Value::Object(kept.collect()).to_string()
}

/// The plaintext that says what `body` (of [`stream_body`]) holds. Pictures go with the end only.
pub fn stream_text(id: &str, is_finished: bool, body: &str) -> String {
    let mut stream: Map<String, Value> = serde_json::from_str(body).unwrap_or_default();
    if !is_finished {
        stream.remove("msg_item");
    }
    stream.insert("id".to_owned(), id.into());
    stream.insert("finish".to_owned(), is_finished.into());
    json!({"msgtype": "stream", "stream": stream}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_is_markdown_or_a_card() {
        assert_eq!(
            late_body(&json!({"markdown": "**hi**"})).unwrap(),
            r#"{"markdown":{"content":"**hi**"},"msgtype":"markdown"}"#
        );
        let said = |value: Value| late_body(&value).unwrap_err().to_string();
        assert!(said(json!([])).starts_with("``: a list"));
        assert!(said(json!({})).starts_with("`msgtype`: nothing"));
        assert!(said(json!({"text": "hi"})).starts_with("`msgtype`: \"text\""));
        assert!(said(json!({"markdown": "x", "touser": "a"})).starts_with("`touser`: a field"));
        assert!(late_body(&json!({"markdown": "x".repeat(20_480)})).is_ok());
        assert!(said(json!({"markdown": "x".repeat(20_481)})).starts_with("`markdown.content`: 20481"));
        assert!(said(json!({"msgtype": "template_card", "template_card": {}})).starts_with("`template_card"));
    }

    #[test]
    fn a_stream_is_kept_without_its_name_and_told_with_it() {
        let stream =
            json!({"id": "x", "finish": true, "content": "hi", "msg_item": [1], "feedback": {"id": "f"}});
        let body = stream_body(stream.as_object().unwrap());
        assert_eq!(body, r#"{"content":"hi","msg_item":[1]}"#);
        let told =
            |is_finished| -> Value { serde_json::from_str(&stream_text("s", is_finished, &body)).unwrap() };
        assert_eq!(
            told(false),
            json!({"msgtype": "stream", "stream": {"id": "s", "finish": false, "content": "hi"}})
        );
        assert_eq!(told(true)["stream"]["msg_item"], json!([1]));
    }
}
