//! Lists in pages: newest first, a cursor that says where the next page begins.

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// What to ask the next page with; `None`: this was the last.
    pub next_cursor: Option<String>,
}

/// Most rows in one page.
pub const PAGE_LIMIT_MAX: usize = 1_000;

/// Rows in one page when nobody says.
pub const PAGE_LIMIT_DEFAULT: usize = 100;

/// The number of rows a caller asked for, within the bounds.
pub(super) fn limit_of(asked: usize) -> usize {
    if asked == 0 { PAGE_LIMIT_DEFAULT } else { asked.min(PAGE_LIMIT_MAX) }
}
