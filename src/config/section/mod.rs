//! Reading one map of the configuration, key by key.
//!
//! Each key is asked for exactly once, with its default beside it. From the asking alone come the typed value, the
//! problems, the list of allowed keys for an unknown one, and the effective configuration that `check` prints: no
//! key is stated twice. Defaults are written as they would stand in the file, so they may name variables.

mod json;
mod list;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::document::{Entry, Node, Value};
use super::environment::Environment;
use super::problem::{Place, Problem};
use super::setting::{Origin, Setting};
use super::variables::{self, Expanded};
use crate::secret::Secret;

/// What a reading of the whole file gathers.
pub(super) struct Reading<'e> {
    /// Where variables come from.
    pub(super) environment: &'e Environment,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
    /// What works, but perhaps not as meant; one line each.
    pub(super) warnings: Vec<String>,
    /// What is in force so far.
    pub(super) settings: Vec<Setting>,
}

/// One map of the file while it is read.
pub(super) struct Section<'r, 'e> {
    /// What all sections share.
    pub(super) reading: &'r mut Reading<'e>,
    path: String,
    place: Place,
    entries: Vec<Entry>,
    asked: Vec<String>,
    unset_allowed: bool,
}

/// A scalar with its variables replaced.
pub(super) struct Scalar {
    /// The text in force.
    pub(super) text: String,
    /// The text as it stands in the file or in the default.
    pub(super) written: String,
    /// Variables without a value and without a default.
    pub(super) unset: Vec<String>,
    /// Where it stands, or where its section begins.
    pub(super) place: Place,
    /// Whether the file has the key.
    pub(super) present: bool,
}

impl<'e> Section<'_, 'e> {
    /// The section `node` at `path`; anything but a map is a problem and reads as an empty one.
    pub(super) fn new<'r>(reading: &'r mut Reading<'e>, path: String, node: Node) -> Section<'r, 'e> {
        let entries = match node.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            Value::Text(_) | Value::List(_) => {
                let what = "should be a map of keys".to_owned();
                reading.problems.push(Problem { place: node.place.clone(), path: path.clone(), what });
                Vec::new()
            }
        };
        Section { reading, path, place: node.place, entries, asked: Vec::new(), unset_allowed: false }
    }

    /// From here on a variable without a value reads as nothing instead of being a problem.
    pub(super) fn allow_unset(&mut self) {
        self.unset_allowed = true;
    }

    /// Text; the default may name variables.
    pub(super) fn text(&mut self, key: &str, default: &str) -> String {
        let scalar = self.scalar(key, default);
        self.report_unset(key, &scalar);
        self.note(key, scalar.text.clone(), &scalar);
        scalar.text
    }

    /// Text that nobody may see.
    pub(super) fn secret(&mut self, key: &str, default: &str) -> Secret {
        let scalar = self.scalar(key, default);
        self.report_unset(key, &scalar);
        self.note_secret(key, &scalar);
        Secret::new(scalar.text)
    }

    /// A whole number within `range`.
    pub(super) fn number<T>(&mut self, key: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(key, &default.to_string(), &expected, |text| {
            text.parse().ok().filter(|number| range.contains(number))
        })
        .unwrap_or(default)
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        self.parsed(key, if default { "true" } else { "false" }, "true or false", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            }
        })
        .unwrap_or(default)
    }

    /// Anything that has a text form; `expected` says which texts are right.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        default: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let scalar = self.scalar(key, default);
        if self.report_unset(key, &scalar) {
            return None;
        }
        self.note(key, scalar.text.clone(), &scalar);
        let value = parse(scalar.text.trim());
        if value.is_none() {
            self.wrong(key, scalar.place, format!("`{}` should be {expected}", scalar.written));
        }
        value
    }

    /// The sub-map `key`, read by `read`; absent reads as empty.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, 'e>) -> T) -> T {
        let node = self.take(key).map_or_else(|| self.empty(), |entry| entry.node);
        self.sub(key, node, read)
    }

    /// The entries of the sub-map `key`, whose keys are names of the user's choice, and where it stands; `None` if the
    /// file has none.
    pub(super) fn entries(&mut self, key: &str) -> Option<(Place, Vec<Entry>)> {
        let node = self.take(key)?.node;
        let (place, path) = (node.place.clone(), self.path_of(key));
        Some((place, Section::new(self.reading, path, node).entries))
    }

    /// Reads `node`, an entry of [`Section::entries`], as a section at `path` below this one.
    pub(super) fn sub<T>(
        &mut self,
        path: &str,
        node: Node,
        read: impl FnOnce(&mut Section<'_, 'e>) -> T,
    ) -> T {
        let path = self.path_of(path);
        let mut section = Section::new(self.reading, path, node);
        section.unset_allowed = self.unset_allowed;
        let value = read(&mut section);
        section.finish();
        value
    }

    /// The scalar `key` with its variables replaced. Callers report what is unset, and note the value.
    pub(super) fn scalar(&mut self, key: &str, default: &str) -> Scalar {
        let Some(entry) = self.take(key) else {
            let place = self.place.clone();
            return self.expand(key, default.to_owned(), place, false);
        };
        let place = entry.node.place;
        match entry.node.value {
            Value::Text(text) => self.expand(key, text, place, true),
            Value::Null => self.expand(key, default.to_owned(), place, true),
            Value::List(_) | Value::Map(_) => {
                self.wrong(key, place.clone(), "should be a single value".to_owned());
                self.expand(key, default.to_owned(), place, true)
            }
        }
    }

    /// `text`, a part of the value of `key`, with its variables replaced.
    pub(super) fn expanded(&mut self, key: &str, text: String, place: Place) -> String {
        let scalar = self.expand(key, text, place, true);
        self.report_unset(key, &scalar);
        scalar.text
    }

    /// Adds a warning, a whole sentence.
    pub(super) fn warn(&mut self, sentence: String) {
        self.reading.warnings.push(sentence);
    }

    /// Adds a problem of `key`.
    pub(super) fn wrong(&mut self, key: &str, place: Place, what: String) {
        let path = self.path_of(key);
        self.reading.problems.push(Problem { place, path, what });
    }

    /// Reports variables without a value as problems, one each. Says whether there were any.
    pub(super) fn report_unset(&mut self, key: &str, scalar: &Scalar) -> bool {
        if self.unset_allowed {
            return false;
        }
        for name in &scalar.unset {
            self.wrong(key, scalar.place.clone(), format!("variable {name} is not set"));
        }
        !scalar.unset.is_empty()
    }

    /// Remembers a value in force.
    pub(super) fn note(&mut self, key: &str, shown: String, scalar: &Scalar) {
        let names = variables::names(&scalar.written);
        let origin = if names.iter().any(|name| self.reading.environment.get(name).is_some()) {
            Origin::Variables(names)
        } else if scalar.present {
            Origin::File(scalar.place.line)
        } else {
            Origin::Default
        };
        let path = self.path_of(key);
        self.reading.settings.push(Setting { path, shown, origin });
    }

    /// Remembers that a secret is set, or is not.
    pub(super) fn note_secret(&mut self, key: &str, scalar: &Scalar) {
        let shown = if scalar.text.is_empty() { String::new() } else { "***".to_owned() };
        self.note(key, shown, scalar);
    }

    /// The full path of `key`.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where the section begins.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for entry in self.entries {
            let path =
                if self.path.is_empty() { entry.key.clone() } else { format!("{}.{}", self.path, entry.key) };
            let what = format!("unknown key; allowed here: {}", self.asked.join(", "));
            self.reading.problems.push(Problem { place: entry.place, path, what });
        }
    }

    /// The value of `key` as it stands in the file, for keys with a form of their own.
    pub(super) fn node(&mut self, key: &str) -> Option<Node> {
        self.take(key).map(|entry| entry.node)
    }

    /// Remembers the value of a key with a form of its own; `line` is where the file has it.
    pub(super) fn note_plain(&mut self, key: &str, shown: String, line: Option<u64>) {
        let origin = line.map_or(Origin::Default, Origin::File);
        self.reading.settings.push(Setting { path: self.path_of(key), shown, origin });
    }

    /// Leaves the other keys alone: without the one that was wrong, nobody can say what they should be.
    pub(super) fn ignore_rest(&mut self) {
        self.entries.clear();
    }

    fn take(&mut self, key: &str) -> Option<Entry> {
        self.asked.push(key.to_owned());
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }

    fn empty(&self) -> Node {
        Node { place: self.place.clone(), value: Value::Null }
    }

    fn expand(&mut self, key: &str, written: String, place: Place, present: bool) -> Scalar {
        match variables::expand(&written, self.reading.environment) {
            Ok(Expanded { text, unset }) => Scalar { text, written, unset, place, present },
            Err(what) => {
                self.wrong(key, place.clone(), what);
                Scalar { text: String::new(), written, unset: Vec::new(), place, present }
            }
        }
    }
}
