//! YAML text → a tree that knows where each value stands.
//!
//! Scalars keep the text of the file: `0123` stays `0123`, `no` stays `no`, and only the reader of a key decides what
//! it is. The YAML crate is named in this file alone, so that another one could take its place.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::problem::{Place, Problem};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Where the value begins.
    pub(super) place: Place,
    /// The value itself.
    pub(super) value: Value,
}

/// What YAML can say here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing after the colon, `~` or `null`.
    Null,
    /// A scalar as it stands in the file, without quotes.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key's name.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) place: Place,
    /// What it is set to.
    pub(super) node: Node,
}

/// Reads the YAML document `text` of `file`; a text without any value is an empty map.
///
/// # Errors
/// The first place that is no YAML, or that has a doubled key.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => Ok(Source { file, text }.node(root)),
        Err(error) => {
            let at = error.location();
            let place = Place {
                file: Arc::clone(file),
                line: at.map_or(0, |at| at.line()),
                column: at.map_or(0, |at| at.column()),
            };
            Err(Problem { place, path: String::new(), what: sentence(&error) })
        }
    }
}

/// The parser's message as one line, without the position and without advice for programmers.
fn sentence(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or_default();
    if let Some(key) = first.strip_prefix("duplicate mapping key: ") {
        let key = key.split(", set ").next().unwrap_or_default();
        return format!("the key {key} stands here a second time");
    }
    if first.starts_with("multiple YAML documents") {
        return "a second document begins here; only one is allowed".to_owned();
    }
    first.to_owned()
}

struct Source<'a> {
    file: &'a Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let place = self.place(raw.referenced);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Text(text),
            Raw::Plain(text) => Value::Text(self.slice(raw.defined).unwrap_or(text)),
            Raw::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key: key.value,
                        place: self.place(key.referenced),
                        node: self.node(value),
                    })
                    .collect(),
            ),
        };
        Node { place, value }
    }

    fn place(&self, at: serde_saphyr::Location) -> Place {
        Place { file: Arc::clone(self.file), line: at.line(), column: at.column() }
    }

    /// The text of a number or boolean as somebody wrote it.
    fn slice(&self, at: serde_saphyr::Location) -> Option<String> {
        let start = usize::try_from(at.span().byte_offset()?).ok()?;
        let length = usize::try_from(at.span().byte_len()?).ok()?;
        let text = self.text.get(start..start.checked_add(length)?)?;
        Some(text.trim().to_owned())
    }
}

/// What the YAML crate hands out before its text is looked up.
enum Raw {
    Null,
    /// A number or boolean, with a form of its own in case the text cannot be found.
    Plain(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let at = format!("{}:{}", node.place.line, node.place.column);
        match &node.value {
            Value::Null => format!("{at} null"),
            Value::Text(text) => format!("{at} {text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let shown: Vec<_> = entries
                    .iter()
                    .map(|e| format!("{}@{}: {}", e.key, e.place.line, show(&e.node)))
                    .collect();
                format!("{{{}}}", shown.join(", "))
            }
        }
    }

    fn read(text: &str) -> String {
        match parse(&"f".into(), text) {
            Ok(node) => show(&node),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn scalars_keep_the_text_of_the_file() {
        for (yaml, expected) in [
            ("id: 0123", r#"{id@1: 1:5 "0123"}"#),
            ("version: 1.10", r#"{version@1: 1:10 "1.10"}"#),
            ("listen: no", r#"{listen@1: 1:9 "no"}"#),
            ("on: true # why", r#"{on@1: 1:5 "true"}"#),
            ("hex: 0x1F", r#"{hex@1: 1:6 "0x1F"}"#),
            ("big: 123456789012345678901234567890", r#"{big@1: 1:6 "123456789012345678901234567890"}"#),
            ("quoted: \"8080\"", r#"{quoted@1: 1:9 "8080"}"#),
            ("empty:\nno: ~\ntext: \"\"", r#"{empty@1: 1:6 null, no@2: 2:5 null, text@3: 3:7 ""}"#),
            ("中文: \"名\"\nport: 80", r#"{中文@1: 1:5 "名", port@2: 2:7 "80"}"#),
            (
                "a: {b: 1, c: [2, true, x]}",
                r#"{a@1: {b@1: 1:8 "1", c@1: [1:15 "2", 1:18 "true", 1:24 "x"]}}"#,
            ),
            ("x: &a 5\ny: *a", r#"{x@1: 1:7 "5", y@2: 2:4 "5"}"#),
        ] {
            assert_eq!(read(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn an_empty_file_has_no_value() {
        for text in ["", "\n\n", "# nothing\n", "---\n"] {
            assert!(read(text).ends_with("null"), "{text:?} gave {}", read(text));
        }
    }

    #[test]
    fn faults_of_the_file_have_a_place() {
        for (text, expected) in [
            ("a: 1\na: 2\n", "f:2:1: the key a stands here a second time"),
            ("a:\n\t- 1\n", "f:2:2: tabs disallowed within this context (block indentation)"),
            ("a: [1, 2\nb: 3", "f:2:2: illegal placement of ':' indicator"),
            ("a: \"open\nb: 1", "f:1:4: unclosed quote"),
            ("a: 1\n---\nb: 2\n", "f:3:1: a second document begins here; only one is allowed"),
            ("x: *nope", "f:1:4: alias references unknown anchor"),
        ] {
            assert_eq!(read(text), expected);
        }
    }
}
