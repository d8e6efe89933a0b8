//! The keys that make a channel, before anybody decides whether it is on.

use crate::config::section::{Scalar, Section};

/// Some keys of one map, with their variables replaced.
pub(super) struct Parts {
    parts: Vec<(&'static str, Scalar)>,
}

impl Parts {
    /// Reads `keys`; in a shipped channel an absent one is the variable beside it.
    pub(super) fn read(section: &mut Section<'_, '_>, shipped: bool, keys: &[(&'static str, &str)]) -> Self {
        let mut parts = Vec::new();
        for (key, variable) in keys {
            let default = if shipped { *variable } else { "" };
            parts.push((*key, section.scalar(key, default)));
        }
        Self { parts }
    }

    /// Whether nothing is set, and that because variables are not.
    pub(super) fn are_unset(&self) -> bool {
        self.parts.iter().all(|(_, part)| part.text.is_empty())
            && self.parts.iter().any(|(_, part)| !part.unset.is_empty())
    }

    /// The text of `key`.
    pub(super) fn text(&self, key: &str) -> &str {
        self.get(key).map_or("", |part| part.text.trim())
    }

    /// The part `key`.
    fn get(&self, key: &str) -> Option<&Scalar> {
        self.parts.iter().find(|(name, _)| *name == key).map(|(_, part)| part)
    }

    /// Reports the part `key` as missing, unless the file leaves it out on purpose with an empty text.
    pub(super) fn require(&self, section: &mut Section<'_, '_>, key: &str) {
        let Some(part) = self.get(key) else { return };
        if section.report_unset(key, part) || !part.text.is_empty() {
            return;
        }
        if !part.present || part.written.contains("${") {
            section.wrong(key, part.place.clone(), "is not set".to_owned());
        }
    }

    /// Reports the half `key` of a pair whose other half `other` is set.
    pub(super) fn require_half(&self, section: &mut Section<'_, '_>, key: &str, other: &str) {
        let Some(part) = self.get(key) else { return };
        if !section.report_unset(key, part) {
            section.wrong(key, part.place.clone(), format!("is not set, but {other} is"));
        }
    }

    /// Adds a problem of the part `key`.
    pub(super) fn wrong(&self, section: &mut Section<'_, '_>, key: &str, what: &str) {
        let place = self.get(key).map_or_else(|| section.place(), |part| part.place.clone());
        section.wrong(key, place, what.to_owned());
    }

    /// Remembers the part `key` as a value in force.
    pub(super) fn note(&self, section: &mut Section<'_, '_>, key: &str) {
        if let Some(part) = self.get(key) {
            section.note(key, part.text.trim().to_owned(), part);
        }
    }

    /// Remembers that the secret part `key` is set, or is not.
    pub(super) fn note_secret(&self, section: &mut Section<'_, '_>, key: &str) {
        if let Some(part) = self.get(key) {
            section.note_secret(key, part);
        }
    }
}
