//! The kinds of passive replies, by their words.

use serde_json::{Map, Value};

use crate::wecom::api::field::{FieldError, shown, type_name};

/// What kind of reply it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Some words.
    Text,
    /// Some words with marks; group robots only.
    Markdown,
    /// A picture.
    Image,
    /// A recording.
    Voice,
    /// A film.
    Video,
    /// Up to eight articles.
    News,
    /// The clicked button's new text.
    UpdateButton,
    /// What the clicked card becomes.
    UpdateTemplateCard,
    /// The clicked task card's new text.
    UpdateTaskCard,
    /// A text that may grow; smart robots only.
    Stream,
    /// A card; smart robots only.
    TemplateCard,
    /// Both.
    StreamWithTemplateCard,
}

impl Form {
    const ALL: [Self; 12] = [
        Self::Text,
        Self::Markdown,
        Self::Image,
        Self::Voice,
        Self::Video,
        Self::News,
        Self::UpdateButton,
        Self::UpdateTemplateCard,
        Self::UpdateTaskCard,
        Self::Stream,
        Self::TemplateCard,
        Self::StreamWithTemplateCard,
    ];

    /// The platform's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Image => "image",
            Self::Voice => "voice",
            Self::Video => "video",
            Self::News => "news",
            Self::UpdateButton => "update_button",
            Self::UpdateTemplateCard => "update_template_card",
            Self::UpdateTaskCard => "update_taskcard",
            Self::Stream => "stream",
            Self::TemplateCard => "template_card",
            Self::StreamWithTemplateCard => "stream_with_template_card",
        }
    }

    /// The fields beside `msgtype`.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["text"],
            Self::Markdown => &["markdown"],
            Self::Image => &["image"],
            Self::Voice => &["voice"],
            Self::Video => &["video"],
            Self::News => &["news"],
            Self::UpdateButton => &["button"],
            Self::UpdateTemplateCard => &["template_card", "userids"],
            Self::UpdateTaskCard => &["taskcard"],
            Self::Stream => &["stream"],
            Self::TemplateCard => &["template_card"],
            Self::StreamWithTemplateCard => &["stream", "template_card"],
        }
    }

    /// The form that `body` says it has, without fields of another.
    pub(super) fn of(body: &Map<String, Value>) -> Result<Self, FieldError> {
        let words = || Self::ALL.map(Self::as_str).join(", ");
        let given = body.get("msgtype").unwrap_or(&Value::Null);
        let word = given.as_str().ok_or_else(|| FieldError::new("msgtype", words(), type_name(given)))?;
        let form = Self::ALL.into_iter().find(|form| form.as_str() == word);
        let form = form.ok_or_else(|| FieldError::new("msgtype", words(), shown(word)))?;
        let is_known = |name: &str| name == "msgtype" || form.fields().contains(&name);
        match body.keys().find(|name| !is_known(name)) {
            None => Ok(form),
            Some(name) => Err(FieldError::new(
                name,
                format!("msgtype, {}", form.fields().join(", ")),
                format!("a field that {word} does not have"),
            )),
        }
    }
}
