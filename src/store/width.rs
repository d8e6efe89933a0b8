//! How long the texts of columns may be, in bytes.
//!
//! MySQL counts characters, so a text that fits here fits there. What a caller gives us is refused when it is too
//! long; what a stranger's callback says is cut, because the payload keeps the whole.

use super::StoreError;

pub(super) const SOURCE: usize = 64;
pub(super) const CORP: usize = 64;
pub(super) const PERSON: usize = 128;
pub(super) const REFERENCE: usize = 256;
pub(super) const EVIDENCE_TEXT: usize = 4_096;
pub(super) const WORD: usize = 64;

/// As much of `text` as fits into `limit` bytes, cut between characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// `text` if it fits, else [`StoreError::TooLong`].
pub(super) fn fits<'t>(field: &'static str, text: &'t str, limit: usize) -> Result<&'t str, StoreError> {
    if text.len() <= limit { Ok(text) } else { Err(StoreError::TooLong { field, limit, actual: text.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_refused_one_byte_over() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        assert_eq!(cut("图图", 5), "图");
        assert!(fits("name", "abc", 3).is_ok());
        assert!(matches!(fits("name", "abcd", 3), Err(StoreError::TooLong { actual: 4, limit: 3, .. })));
    }
}
