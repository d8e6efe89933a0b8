//! Reading a JSON object field by field: what is wrong is named by its path, what nobody asked for is refused.

use serde_json::{Map, Value};

/// One field that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct SpecError {
    /// Its path: `targets[1].url`.
    pub field: String,
    /// What is wrong, after the field's name.
    pub reason: String,
}

impl SpecError {
    /// `field` is wrong because it `reason`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// Whether `text` fits into names: letters, digits, `_`, `-`, `.`, at most 64 of them.
pub fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// An object that is being read.
pub(super) struct Fields {
    path: String,
    rest: Map<String, Value>,
}

impl Fields {
    /// The object at `path`.
    pub(super) fn of(path: &str, value: &Value) -> Result<Self, SpecError> {
        match value.as_object() {
            Some(fields) => {
                let rest = fields.iter().filter(|(_, value)| !value.is_null());
                let rest = rest.map(|(name, value)| (name.clone(), value.clone())).collect();
                Ok(Self { path: path.to_owned(), rest })
            }
            None => Err(SpecError::new(path, "must be an object")),
        }
    }

    /// The path of a field.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field is wrong.
    pub(super) fn wrong(&self, name: &str, reason: &str) -> SpecError {
        SpecError::new(self.at(name), reason)
    }

    /// Any value.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name)
    }

    /// A text of at most `bytes_max` bytes without control characters.
    pub(super) fn text(&mut self, name: &str, bytes_max: usize) -> Result<Option<String>, SpecError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() > bytes_max => {
                Err(self.wrong(name, &format!("is longer than {bytes_max} bytes")))
            }
            Some(Value::String(text)) if text.chars().any(char::is_control) => {
                Err(self.wrong(name, "must not have control characters"))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a text")),
        }
    }

    /// One word of a closed set.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, SpecError> {
        let Some(text) = self.text(name, 64)? else { return Ok(None) };
        let known = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        known.map(Some).ok_or_else(|| self.wrong(name, &format!("must be one of {}", all.join(", "))))
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>, SpecError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_i64().filter(|number| (least..=most).contains(number));
        let reason = || format!("must be a whole number from {least} to {most}");
        number.map(Some).ok_or_else(|| self.wrong(name, &reason()))
    }

    /// A list of at most `most` values, each with its path.
    pub(super) fn list(&mut self, name: &str, most: usize) -> Result<Vec<(String, Value)>, SpecError> {
        let items = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.wrong(name, "must be a list")),
        };
        if items.len() > most {
            return Err(self.wrong(name, &format!("has more than {most} entries")));
        }
        let path = self.at(name);
        Ok(items.into_iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)).collect())
    }

    /// A list of texts that `read` understands.
    pub(super) fn texts<T>(
        &mut self,
        name: &str,
        most: usize,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, SpecError> {
        let mut out = Vec::new();
        for (path, item) in self.list(name, most)? {
            let text = item.as_str().ok_or_else(|| SpecError::new(path.clone(), "must be a text"))?;
            out.push(read(text).map_err(|reason| SpecError::new(path, reason))?);
        }
        Ok(out)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), SpecError> {
        match self.rest.keys().next() {
            Some(name) => Err(self.wrong(name, "is not a field that is known here")),
            None => Ok(()),
        }
    }
}
