//! Passive replies: what may be said in the answer to a callback, and how it is written.
//!
//! A reply is asked for in one form, the JSON in which messages are sent: `{"msgtype": "text", "text": {"content":
//! "hi"}}`, in short `{"text": "hi"}`. What an event can be answered with depends on who was called: an app takes
//! messages and changes of the card that was clicked, both in XML; a group robot text and markdown in XML; a smart
//! robot streams and cards in JSON (documents 90241 and 101031 of the platform).

mod check;
mod form;
mod late;
mod xml;

use serde_json::{Map, Value, json};

pub use form::Form;
pub use late::{late_body, stream_body, stream_text};

use super::field::{FieldError, Part, type_name};
use crate::domain::event::{Event, Format};

/// What is to be said, within the platform's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct PassiveReply {
    form: Form,
    body: Map<String, Value>,
}

/// What is answered: who was called, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'e> {
    /// The callback's event.
    pub event: &'e Event,
    /// Whether a robot was called: its callbacks carry no receive id.
    pub is_robot: bool,
}

/// What a reply needs besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'f> {
    /// Now, in seconds since 1970.
    pub now_s: i64,
    /// Names a stream that the reply opens and does not name.
    pub stream_id: &'f str,
}

impl PassiveReply {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// The first field that the platform would refuse or cut.
    pub fn parse(value: &Value) -> Result<Self, FieldError> {
        let Value::Object(given) = value else {
            return Err(FieldError::new("", "an object", type_name(value)));
        };
        let body = spelled_out(given);
        let form = Form::of(&body)?;
        check::check(form, &Part::root(&body))?;
        check::no_control_characters("", &Value::Object(body.clone()))?;
        Ok(Self { form, body })
    }

    /// What kind of reply it is.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The plaintext of the answer to `occasion`.
    ///
    /// # Errors
    /// The event cannot be answered, or not in this way.
    pub fn plaintext(&self, occasion: &Occasion<'_>, frame: &Frame<'_>) -> Result<String, FieldError> {
        let accepted = occasion.accepts();
        if !accepted.contains(&self.form) {
            // A smart robot's text is a stream with one part.
            if self.form == Form::Text && accepted.contains(&Form::Stream) {
                return Ok(self.as_stream(frame.stream_id));
            }
            let words: Vec<&str> = accepted.iter().map(|form| form.as_str()).collect();
            let allowed = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
            let limit = format!("{allowed} in answer to {}", occasion.event.kind);
            return Err(FieldError::new("msgtype", limit, self.form.as_str()));
        }
        if occasion.event.format == Format::Json {
            return Ok(self.json(frame.stream_id));
        }
        if occasion.is_robot {
            return Ok(xml::of_robot(self.form, &self.body));
        }
        let (Some(user), Some(corp)) = (&occasion.event.user_id, &occasion.event.corp_id) else {
            return Err(FieldError::new("", "an event that names a member and a corp", "one that does not"));
        };
        Ok(xml::of_app(self.form, &self.body, user, corp, frame.now_s))
    }

    /// What a stream says that this opens without naming it, and that goes on.
    pub fn opens_stream(&self) -> Option<String> {
        let stream = self.body.get("stream")?.as_object()?;
        let is_open = stream.get("finish") != Some(&Value::Bool(true)) && !stream.contains_key("id");
        is_open.then(|| stream_body(stream))
    }

    fn json(&self, stream_id: &str) -> String {
        let mut body = self.body.clone();
        if let Some(stream) = body.get_mut("stream").and_then(Value::as_object_mut) {
            stream.entry("id").or_insert_with(|| stream_id.into());
            stream.entry("finish").or_insert(Value::Bool(false));
        }
        if self.form == Form::UpdateTemplateCard {
            body.remove("msgtype");
            body.insert("response_type".to_owned(), self.form.as_str().into());
        }
        Value::Object(body).to_string()
    }

    fn as_stream(&self, id: &str) -> String {
        let content = self.body.get("text").and_then(|text| text.get("content"));
        json!({"msgtype": "stream", "stream": {"id": id, "finish": true, "content": content}}).to_string()
    }
}

/// `{"text": "hi"}` and `{"response_type": …}` as the forms they stand for.
fn spelled_out(given: &Map<String, Value>) -> Map<String, Value> {
    let mut body = given.clone();
    for (name, inner) in [("text", "content"), ("markdown", "content"), ("image", "media_id")] {
        if let Some(Value::String(short)) = given.get(name)
            && !given.contains_key("msgtype")
        {
            body.insert("msgtype".to_owned(), name.into());
            body.insert(name.to_owned(), json!({ inner: short }));
        }
    }
    if let Some(response_type) = body.remove("response_type") {
        body.entry("msgtype").or_insert(response_type);
    }
    body
}

impl Occasion<'_> {
    /// What the event can be answered with.
    pub fn accepts(&self) -> &'static [Form] {
        let kind = self.event.kind.as_str();
        match (self.event.format, self.is_robot) {
            (Format::Xml, false) => by_app(kind),
            (Format::Xml, true) => by_group_robot(kind),
            (Format::Json, true) => by_smart_robot(kind),
            (Format::Json, false) | (Format::Opaque, _) => &[],
        }
    }
}

fn by_app(kind: &str) -> &'static [Form] {
    const MESSAGES: &[Form] = &[Form::Text, Form::Image, Form::Voice, Form::Video, Form::News];
    match kind {
        "event.subscribe"
        | "event.enter_agent"
        | "event.LOCATION"
        | "event.click"
        | "event.view"
        | "event.view_miniprogram"
        | "event.scancode_waitmsg"
        | "event.template_card_menu_event" => MESSAGES,
        "event.template_card_event" => &[Form::UpdateButton, Form::UpdateTemplateCard],
        "event.taskcard_click" => &[Form::UpdateTaskCard],
        message if message.starts_with("message.") => MESSAGES,
        _ => &[],
    }
}

fn by_group_robot(kind: &str) -> &'static [Form] {
    let speaks = kind.starts_with("message.") || ["event.enter_chat", "event.add_to_chat"].contains(&kind);
    if speaks { &[Form::Text, Form::Markdown] } else { &[] }
}

fn by_smart_robot(kind: &str) -> &'static [Form] {
    match kind {
        "message.stream" => &[Form::Stream, Form::StreamWithTemplateCard],
        "event.enter_chat" => &[Form::Text, Form::TemplateCard],
        "event.template_card_event" => &[Form::UpdateTemplateCard],
        message if message.starts_with("message.") => {
            &[Form::Stream, Form::TemplateCard, Form::StreamWithTemplateCard]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
