//! Rows that strangers cause, kept in memory and written once a second: equal ones merged, at most 50 a second,
//! the rest counted. So nobody outside can write to the database as fast as they can send.

use std::sync::{Mutex, PoisonError};

/// Most rows a second.
pub(crate) const ROWS_PER_S_MAX: usize = 50;

/// A row that can stand for several.
pub(crate) trait Merge {
    /// Whether `other` says the same but for the time.
    fn equals(&self, other: &Self) -> bool;
    /// Counts `other` into this row.
    fn absorb(&mut self, other: &Self);
    /// The row that stands for `first` and all others there is no room for.
    fn rest(first: Self) -> Self;
}

/// The rows of the present second.
#[derive(Debug)]
pub(crate) struct Merger<R>(Mutex<Vec<R>>);

impl<R: Merge> Merger<R> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Adds a row, or counts it into one that is there.
    pub(crate) fn add(&self, row: R) {
        add_to(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), row);
    }

    /// What has come together since the last time.
    pub(crate) fn take(&self) -> Vec<R> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts rows back that could not be written; they come before what has come since.
    pub(crate) fn put_back(&self, rows: Vec<R>) {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = std::mem::replace(&mut *present, rows);
        for row in since {
            add_to(&mut present, row);
        }
    }
}

fn add_to<R: Merge>(rows: &mut Vec<R>, row: R) {
    if let Some(same) = rows.iter_mut().find(|known| known.equals(&row)) {
        same.absorb(&row);
    } else if rows.len() < ROWS_PER_S_MAX - 1 {
        rows.push(row);
    } else if rows.len() == ROWS_PER_S_MAX - 1 {
        rows.push(R::rest(row));
    } else if let Some(rest) = rows.last_mut() {
        rest.absorb(&row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Row(&'static str, usize, i64);

    impl Merge for Row {
        fn equals(&self, other: &Self) -> bool {
            (self.0, self.1) == (other.0, other.1)
        }
        fn absorb(&mut self, other: &Self) {
            self.2 += other.2;
        }
        fn rest(first: Self) -> Self {
            Self("rest", 0, first.2)
        }
    }

    #[test]
    fn equal_rows_merge_and_the_rest_is_counted() {
        let merger = Merger::new();
        for n in 0..1_000 {
            merger.add(Row("a", n, 1));
            merger.add(Row("a", n, 1));
        }
        let rows = merger.take();
        assert_eq!(rows.len(), ROWS_PER_S_MAX);
        assert_eq!(rows[0], Row("a", 0, 2));
        assert_eq!(rows[49], Row("rest", 0, 2_000 - 2 * 49));
        assert!(merger.take().is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let merger = Merger::new();
        merger.add(Row("a", 0, 1));
        let rows = merger.take();
        merger.add(Row("a", 0, 1));
        merger.add(Row("b", 0, 1));
        merger.put_back(rows);
        assert_eq!(merger.take(), [Row("a", 0, 2), Row("b", 0, 1)]);
    }
}
