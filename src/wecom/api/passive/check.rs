//! The platform's limits of passive replies.

use serde_json::Value;

use super::Form;
use crate::wecom::api::field::{FieldError, Part};
use crate::wecom::api::template_card::{self, CardFor};

/// Longest text; the platform cuts what is longer.
pub(super) const TEXT_BYTES_MAX: usize = 2_048;

const MARKDOWN_BYTES_MAX: usize = 4_096;
pub(super) const STREAM_BYTES_MAX: usize = 20_480;
const TITLE_BYTES_MAX: usize = 128;
const DESCRIPTION_BYTES_MAX: usize = 512;
const BUTTON_BYTES_MAX: usize = 128;
const ID_BYTES_MAX: usize = 256;
const ARTICLES_MAX: usize = 8;
const PICTURES_MAX: usize = 10;

/// Checks the fields of `form`.
pub(super) fn check(form: Form, body: &Part<'_>) -> Result<(), FieldError> {
    match form {
        Form::Text => body.object("text")?.text("content", TEXT_BYTES_MAX).map(drop),
        Form::Markdown => body.object("markdown")?.text("content", MARKDOWN_BYTES_MAX).map(drop),
        Form::Image => body.object("image")?.media_id("media_id"),
        Form::Voice => body.object("voice")?.media_id("media_id"),
        Form::Video => video(&body.object("video")?),
        Form::News => news(&body.object("news")?),
        Form::UpdateButton => body.object("button")?.text("replace_name", BUTTON_BYTES_MAX).map(drop),
        Form::UpdateTaskCard => body.object("taskcard")?.text("replace_name", BUTTON_BYTES_MAX).map(drop),
        Form::UpdateTemplateCard => {
            body.optional_texts("userids")?;
            template_card::check(&body.object("template_card")?, CardFor::App)
        }
        Form::TemplateCard => template_card::check(&body.object("template_card")?, CardFor::App),
        Form::Stream => stream(&body.object("stream")?),
        Form::StreamWithTemplateCard => {
            stream(&body.object("stream")?)?;
            match body.optional_object("template_card")? {
                Some(card) => template_card::check(&card, CardFor::App),
                None => Ok(()),
            }
        }
    }
}

fn video(video: &Part<'_>) -> Result<(), FieldError> {
    video.media_id("media_id")?;
    video.optional_text("title", TITLE_BYTES_MAX)?;
    video.optional_text("description", DESCRIPTION_BYTES_MAX).map(drop)
}

fn news(news: &Part<'_>) -> Result<(), FieldError> {
    for article in news.objects("articles", 1..=ARTICLES_MAX)? {
        article.text("title", TITLE_BYTES_MAX)?;
        article.optional_text("description", DESCRIPTION_BYTES_MAX)?;
        article.optional_url("url")?;
        article.optional_url("picurl")?;
    }
    Ok(())
}

fn stream(stream: &Part<'_>) -> Result<(), FieldError> {
    stream.optional_text("id", ID_BYTES_MAX)?;
    let is_finished = match stream.get("finish") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => return Err(stream.wrong("finish", "true or false", "something else")),
    };
    stream.optional_text("content", STREAM_BYTES_MAX)?;
    let pictures = stream.optional_objects("msg_item", PICTURES_MAX)?;
    if !pictures.is_empty() && !is_finished {
        return Err(stream.wrong("msg_item", "nothing before the stream is finished", "pictures"));
    }
    if let Some(feedback) = stream.optional_object("feedback")? {
        feedback.text("id", ID_BYTES_MAX)?;
    }
    Ok(())
}

/// XML cannot hold most control characters, and nobody can read them.
pub(super) fn no_control_characters(path: &str, value: &Value) -> Result<(), FieldError> {
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::String(text) => {
            let is_bad = |c: char| {
                (c.is_control() && !['\n', '\r', '\t'].contains(&c)) || c > '\u{FFFD}' && c < '\u{10000}'
            };
            match text.chars().find(|c| is_bad(*c)) {
                None => Ok(()),
                Some(bad) => {
                    Err(FieldError::new(path, "a text without control characters", format!("{bad:?}")))
                }
            }
        }
        Value::Array(items) => items.iter().try_for_each(|item| no_control_characters(path, item)),
        Value::Object(map) => {
            map.iter().try_for_each(|(name, item)| no_control_characters(&inside(name), item))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
