//! One field of a message at a time: is it there, of the right type, within the platform's limit?
//!
//! The platform cuts some fields that are too long without a word and refuses others; we refuse both, before
//! anything is queued, and say which field, what is allowed and what came. Lengths are bytes of UTF-8 unless a limit
//! says characters.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// A field of a message that the platform would refuse or cut.
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

impl FieldError {
    /// A complaint.
    pub fn new(field: &str, limit: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { field: field.to_owned(), limit: limit.into(), actual: actual.into() }
    }

    /// The same, of a message that stands inside something else: `messages[3]` and `text.content` become
    /// `messages[3].text.content`.
    #[must_use]
    pub fn inside(mut self, outer: &str) -> Self {
        self.field = if self.field.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.field) };
        self
    }
}

/// Longest address that the platform opens.
pub(super) const URL_BYTES_MAX: usize = 2048;

/// Longest media id that is taken for one.
const MEDIA_ID_BYTES_MAX: usize = 512;

/// An object inside a message, with the path that leads to it.
#[derive(Clone, Debug)]
pub(super) struct Part<'m> {
    path: String,
    map: &'m Map<String, Value>,
}

impl<'m> Part<'m> {
    /// The message itself.
    pub(super) fn root(map: &'m Map<String, Value>) -> Self {
        Self { path: String::new(), map }
    }

    /// The path of `name` inside this object.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A complaint about `name`.
    pub(super) fn wrong(
        &self,
        name: &str,
        limit: impl Into<String>,
        actual: impl Into<String>,
    ) -> FieldError {
        FieldError::new(&self.path(name), limit, actual)
    }

    /// What stands under `name`; `null` is nothing.
    pub(super) fn get(&self, name: &str) -> Option<&'m Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether there is something under `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A text that must be there and say something.
    pub(super) fn text(&self, name: &str, bytes_max: usize) -> Result<&'m str, FieldError> {
        let allowed = format!("1 to {bytes_max} bytes");
        let given = self.get(name).unwrap_or(&Value::Null);
        let text = given.as_str().ok_or_else(|| self.wrong(name, "a string", type_name(given)))?;
        if text.trim().is_empty() {
            return Err(self.wrong(name, allowed, "empty"));
        }
        if text.len() > bytes_max {
            return Err(self.wrong(name, allowed, format!("{} bytes", text.len())));
        }
        Ok(text)
    }

    /// A text that may be missing or empty.
    pub(super) fn optional_text(&self, name: &str, bytes_max: usize) -> Result<Option<&'m str>, FieldError> {
        let Some(given) = self.get(name) else { return Ok(None) };
        let text = given.as_str().ok_or_else(|| self.wrong(name, "a string", type_name(given)))?;
        if text.len() > bytes_max {
            let allowed = format!("at most {bytes_max} bytes");
            return Err(self.wrong(name, allowed, format!("{} bytes", text.len())));
        }
        Ok(Some(text))
    }

    /// A text whose length is counted in characters, as the platform does for a few.
    pub(super) fn characters(&self, name: &str, range: RangeInclusive<usize>) -> Result<(), FieldError> {
        let allowed = format!("{} to {} characters", range.start(), range.end());
        let given = self.get(name).unwrap_or(&Value::Null);
        let text = given.as_str().ok_or_else(|| self.wrong(name, "a string", type_name(given)))?;
        let count = text.chars().count();
        if range.contains(&count) {
            Ok(())
        } else {
            Err(self.wrong(name, allowed, format!("{count} characters")))
        }
    }

    /// The same for a text that may be missing.
    pub(super) fn optional_characters(&self, name: &str, max: usize) -> Result<(), FieldError> {
        if self.has(name) { self.characters(name, 0..=max) } else { Ok(()) }
    }

    /// A web address that must be there.
    pub(super) fn url(&self, name: &str) -> Result<(), FieldError> {
        let text = self.text(name, URL_BYTES_MAX)?;
        let is_web = ["http://", "https://"].iter().any(|scheme| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
                && text.len() > scheme.len()
        });
        if is_web { Ok(()) } else { Err(self.wrong(name, "an http or https address", shown(text))) }
    }

    /// A web address that may be missing or empty.
    pub(super) fn optional_url(&self, name: &str) -> Result<(), FieldError> {
        match self.optional_text(name, URL_BYTES_MAX)? {
            None | Some("") => Ok(()),
            Some(_) => self.url(name),
        }
    }

    /// The id of an uploaded file.
    pub(super) fn media_id(&self, name: &str) -> Result<(), FieldError> {
        self.text(name, MEDIA_ID_BYTES_MAX).map(|_| ())
    }

    /// A whole number that may be missing.
    pub(super) fn optional_number(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, FieldError> {
        let Some(given) = self.get(name) else { return Ok(None) };
        let allowed = format!("{} to {}", range.start(), range.end());
        let number = given.as_i64().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| self.wrong(name, allowed, shown(&given.to_string())))
    }

    /// A whole number that must be there.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<i64>) -> Result<i64, FieldError> {
        let allowed = format!("{} to {}", range.start(), range.end());
        self.optional_number(name, range)?.ok_or_else(|| self.wrong(name, allowed, "nothing"))
    }

    /// An object that must be there.
    pub(super) fn object(&self, name: &str) -> Result<Part<'m>, FieldError> {
        let given = self.get(name).unwrap_or(&Value::Null);
        match given {
            Value::Object(map) => Ok(Part { path: self.path(name), map }),
            other => Err(self.wrong(name, "an object", type_name(other))),
        }
    }

    /// An object that may be missing.
    pub(super) fn optional_object(&self, name: &str) -> Result<Option<Part<'m>>, FieldError> {
        if self.has(name) { self.object(name).map(Some) } else { Ok(None) }
    }

    /// A list of objects that must be there.
    pub(super) fn objects(
        &self,
        name: &str,
        count: RangeInclusive<usize>,
    ) -> Result<Vec<Part<'m>>, FieldError> {
        let given = self.get(name).unwrap_or(&Value::Null);
        let list = given.as_array().ok_or_else(|| self.wrong(name, "a list", type_name(given)))?;
        if !count.contains(&list.len()) {
            let allowed = format!("{} to {} entries", count.start(), count.end());
            return Err(self.wrong(name, allowed, format!("{} entries", list.len())));
        }
        let mut parts = Vec::with_capacity(list.len());
        for (at, entry) in list.iter().enumerate() {
            let path = format!("{}[{at}]", self.path(name));
            match entry {
                Value::Object(map) => parts.push(Part { path, map }),
                other => return Err(FieldError::new(&path, "an object", type_name(other))),
            }
        }
        Ok(parts)
    }

    /// A list of objects that may be missing or empty.
    pub(super) fn optional_objects(&self, name: &str, max: usize) -> Result<Vec<Part<'m>>, FieldError> {
        if self.has(name) { self.objects(name, 0..=max) } else { Ok(Vec::new()) }
    }

    /// A list, if given, that holds texts only.
    pub(super) fn optional_texts(&self, name: &str) -> Result<(), FieldError> {
        match self.get(name) {
            None => Ok(()),
            Some(Value::Array(names)) => match names.iter().find(|name| !name.is_string()) {
                None => Ok(()),
                Some(other) => {
                    Err(self.wrong(name, "a list of strings", format!("a list with {}", type_name(other))))
                }
            },
            Some(other) => Err(self.wrong(name, "a list of strings", type_name(other))),
        }
    }
}

/// What kind of value somebody gave, for an error.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The first characters of what somebody gave, for an error.
pub(super) fn shown(text: &str) -> String {
    format!("\"{}\"", text.chars().take(32).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(result: Result<impl Sized, FieldError>) -> String {
        result.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn every_kind_of_field_is_held_to_its_limit_and_named_by_its_path() {
        let value = json!({
            "text": "abcd", "empty": " ", "number": 7, "url": "HTTPS://x", "bad_url": "ftp://x",
            "list": [{"title": "x"}, 3], "object": {"title": "图图"}, "names": ["a", 1],
        });
        let map = value.as_object().unwrap();
        let part = Part::root(map);
        assert_eq!(part.text("text", 4), Ok("abcd"));
        assert_eq!(said(part.text("text", 3)), "`text`: 4 bytes, allowed is 1 to 3 bytes");
        assert_eq!(said(part.text("empty", 3)), "`empty`: empty, allowed is 1 to 3 bytes");
        assert_eq!(said(part.text("none", 3)), "`none`: nothing, allowed is a string");
        assert_eq!(said(part.optional_text("text", 3)), "`text`: 4 bytes, allowed is at most 3 bytes");
        assert_eq!(part.optional_text("none", 3), Ok(None));
        assert_eq!(said(part.number("number", 0..=6)), "`number`: \"7\", allowed is 0 to 6");
        assert_eq!(part.number("number", 0..=7), Ok(7));
        assert!(part.url("url").is_ok());
        assert_eq!(said(part.url("bad_url")), "`bad_url`: \"ftp://x\", allowed is an http or https address");
        assert_eq!(said(part.objects("list", 1..=2)), "`list[1]`: a number, allowed is an object");
        assert_eq!(said(part.objects("list", 1..=1)), "`list`: 2 entries, allowed is 1 to 1 entries");
        let inner = part.object("object").unwrap();
        assert_eq!(said(inner.text("title", 5)), "`object.title`: 6 bytes, allowed is 1 to 5 bytes");
        assert!(inner.characters("title", 1..=2).is_ok());
        assert_eq!(
            said(inner.characters("title", 3..=4)),
            "`object.title`: 2 characters, allowed is 3 to 4 characters"
        );
        assert_eq!(
            said(part.optional_texts("names")),
            "`names`: a list with a number, allowed is a list of strings"
        );
        let moved = part.text("text", 3).unwrap_err().inside("messages[2]");
        assert_eq!(moved.field, "messages[2].text");
    }
}
