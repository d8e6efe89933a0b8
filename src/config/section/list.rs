//! Reading lists: each item a scalar of its own, or all of them in one text with commas.

use super::{Scalar, Section};
use crate::config::document::{Node, Value};
use crate::config::problem::Place;
use crate::secret::Secret;

impl Section<'_, '_> {
    /// A list of texts; one text with commas is such a list too, so that a variable can hold it.
    pub(in crate::config) fn texts(&mut self, key: &str, default: &str) -> Vec<(String, Place)> {
        let (whole, items) = self.items(key, default);
        let shown: Vec<&str> = items.iter().map(|(text, _)| text.as_str()).collect();
        self.note(key, format!("[{}]", shown.join(", ")), &whole);
        items
    }

    /// A list of secrets, in the forms of [`Section::texts`].
    pub(in crate::config) fn secrets(&mut self, key: &str, default: &str) -> Vec<(Secret, Place)> {
        let (whole, items) = self.items(key, default);
        self.note(key, format!("[{}]", vec!["***"; items.len()].join(", ")), &whole);
        items.into_iter().map(|(text, place)| (Secret::new(text), place)).collect()
    }

    /// The items of a list, and the list as a whole: all that was written, and where.
    fn items(&mut self, key: &str, default: &str) -> (Scalar, Vec<(String, Place)>) {
        let nodes = match self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node.value) {
            Some(Value::List(_)) => self.list(key),
            _ => None,
        };
        let Some((place, nodes)) = nodes else {
            let whole = self.scalar(key, default);
            self.report_unset(key, &whole);
            let items = whole.text.split(',').map(|part| (part.trim().to_owned(), whole.place.clone()));
            let items = items.filter(|(text, _)| !text.is_empty()).collect();
            return (whole, items);
        };
        let mut whole =
            Scalar { text: String::new(), written: String::new(), unset: Vec::new(), place, present: true };
        let mut items = Vec::new();
        for node in nodes {
            let Value::Text(text) = node.value else {
                self.wrong(key, node.place, "each item should be a single value".to_owned());
                continue;
            };
            let item = self.expand(key, text, node.place, true);
            self.report_unset(key, &item);
            whole.written.push_str(&item.written);
            items.push((item.text, item.place));
        }
        (whole, items)
    }

    fn list(&mut self, key: &str) -> Option<(Place, Vec<Node>)> {
        let node = self.take(key)?.node;
        match node.value {
            Value::List(nodes) => Some((node.place, nodes)),
            _ => None,
        }
    }
}
