//! Sealed texts of rows: as they are written where there may be none, and as they are shown where they cannot be
//! opened.

use super::{Store, StoreError};
use crate::seals::{Cell, NotSealed, Seals};

impl From<NotSealed> for StoreError {
    fn from(error: NotSealed) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A text that may be missing, as it is written.
pub(super) fn seal_optional(
    seals: &Seals,
    cell: Cell<'_>,
    text: Option<&str>,
) -> Result<Option<String>, NotSealed> {
    text.map(|text| seals.seal_text(cell, text).map(std::borrow::Cow::into_owned)).transpose()
}

/// A text for people; one that cannot be opened says so in its place.
pub(super) fn shown(seals: &Seals, cell: Cell<'_>, stored: String) -> String {
    seals.open_text(cell, stored).unwrap_or_else(|why| format!("({why})"))
}

impl Store {
    /// The keys that rows are sealed with; for what keeps rows elsewhere in the same form.
    pub fn seals(&self) -> &Seals {
        &self.inner.seals
    }
}
