//! Rows that strangers cause, kept in memory and written once a second: equal ones merged, at most so many a second
//! (`limits.http.strangers_rows_per_s_max`), the rest counted. So nobody outside can write to the database as fast as they can send.

use std::sync::{Mutex, PoisonError};

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
pub(crate) struct Merger<R> {
    rows: Mutex<Vec<R>>,
    rows_max: usize,
}

impl<R: Merge> Merger<R> {
    /// At most `rows_max` rows at a time.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self { rows: Mutex::new(Vec::new()), rows_max }
    }

    /// Adds a row, or counts it into one that is there.
    pub(crate) fn add(&self, row: R) {
        add_to(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner), row, self.rows_max);
    }

    /// What has come together since the last time.
    pub(crate) fn take(&self) -> Vec<R> {
        std::mem::take(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts rows back that could not be written; they come before what has come since.
    pub(crate) fn put_back(&self, rows: Vec<R>) {
        let mut present = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let since = std::mem::replace(&mut *present, rows);
        for row in since {
            add_to(&mut present, row, self.rows_max);
        }
    }
}

fn add_to<R: Merge>(rows: &mut Vec<R>, row: R, rows_max: usize) {
    let own_max = rows_max.saturating_sub(1);
    if let Some(same) = rows.iter_mut().find(|known| known.equals(&row)) {
        same.absorb(&row);
    } else if rows.len() < own_max {
        rows.push(row);
    } else if rows.len() == own_max {
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
        for (rows_max, own_max) in [(50, 49), (2, 1)] {
            let merger = Merger::new(rows_max);
            for n in 0..1_000 {
                merger.add(Row("a", n, 1));
                merger.add(Row("a", n, 1));
            }
            let rows = merger.take();
            assert_eq!(rows.len(), rows_max);
            assert_eq!(rows[0], Row("a", 0, 2));
            assert_eq!(rows[own_max], Row("rest", 0, 2_000 - 2 * i64::try_from(own_max).unwrap()));
            assert!(merger.take().is_empty());
        }
        let merger = Merger::new(50);
        for n in 0..49 {
            merger.add(Row("a", n, 1));
        }
        assert!(merger.take().iter().all(|row| row.0 == "a"), "what there is room for stays itself");
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let merger = Merger::new(50);
        merger.add(Row("a", 0, 1));
        let rows = merger.take();
        merger.add(Row("a", 0, 1));
        merger.add(Row("b", 0, 1));
        merger.put_back(rows);
        assert_eq!(merger.take(), [Row("a", 0, 2), Row("b", 0, 1)]);
    }
}
