//! Inserting many rows with few, always equal statements.
//!
//! A text of its own for each number of rows would push others out of the statement cache; one row a statement
//! costs a round trip each. So texts exist for 1 to 64 rows, and for 72, 80, 88 … 128.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use sqlx::AnyConnection;
use sqlx::any::AnyArguments;
use sqlx::{Arguments, Executor};

use super::StoreError;

/// Most rows in one statement.
const ROWS_MAX: usize = 128;

/// Any number of rows up to this goes into one statement.
pub(super) const ROWS_AT_ONCE: usize = 64;

/// Above that, the number of rows in a statement is a multiple of this.
const STEP: usize = 8;

/// A table and the columns that rows are given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Insert {
    pub(super) table: &'static str,
    pub(super) columns: &'static [&'static str],
}

impl Insert {
    /// Inserts every row of `rows`; `bind` adds the values of one, in the order of the columns.
    pub(super) async fn rows<T>(
        self,
        conn: &mut AnyConnection,
        rows: &[T],
        bind: impl Fn(&T, &mut AnyArguments) -> Result<(), sqlx::error::BoxDynError> + Send,
    ) -> Result<(), StoreError>
    where
        T: Sync,
    {
        let mut rest = rows;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(statement_rows(rest.len()));
            let mut arguments = AnyArguments::default();
            arguments.reserve(now.len() * self.columns.len(), 0);
            for row in now {
                bind(row, &mut arguments).map_err(sqlx::Error::Encode)?;
            }
            conn.execute(sqlx::query_with(self.text(now.len()), arguments)).await?;
            rest = later;
        }
        Ok(())
    }

    /// The statement for `rows` rows, made once and kept for good: there are few of them.
    fn text(self, rows: usize) -> &'static str {
        static TEXTS: LazyLock<Mutex<HashMap<(Insert, usize), &'static str>>> = LazyLock::new(Mutex::default);
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        texts.entry((self, rows)).or_insert_with(|| self.build(rows).leak())
    }

    fn build(self, rows: usize) -> String {
        let row = ["(", &vec!["?"; self.columns.len()].join(", "), ")"].concat();
        let head = ["INSERT INTO ", self.table, " (", &self.columns.join(", "), ") VALUES "].concat();
        head + &vec![row; rows].join(", ")
    }
}

/// How many of `waiting` rows (at least 1) the next statement takes.
pub(super) fn statement_rows(waiting: usize) -> usize {
    if waiting <= ROWS_AT_ONCE { waiting } else { waiting.min(ROWS_MAX) / STEP * STEP }
}

/// `?, ?, …`: the inside of an `IN (…)`.
pub(super) fn placeholders(count: usize) -> String {
    vec!["?"; count].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_takes_at_most_two_statements_of_few_sizes() {
        let mut sizes = std::collections::BTreeSet::new();
        for count in 1..=ROWS_MAX {
            let first = statement_rows(count);
            sizes.insert(first);
            assert!(first >= 1 && (count == first || statement_rows(count - first) == count - first));
        }
        assert_eq!(sizes.len(), 72, "with the other statements less than the 100 that a connection caches");
        assert_eq!(statement_rows(1_000), ROWS_MAX);
    }

    #[test]
    fn the_text_names_each_column_once_and_each_value() {
        let insert = Insert { table: "t", columns: &["a", "b"] };
        assert_eq!(insert.text(2), "INSERT INTO t (a, b) VALUES (?, ?), (?, ?)");
        assert_eq!(insert.text(2).as_ptr(), insert.text(2).as_ptr(), "made once");
    }
}
