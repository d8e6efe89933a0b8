//! Lists by falling id, a page at a time: messages, deliveries, rejections, the audit trail.
//!
//! Ids rise with time, so the primary key is the order. What an index serves stands in the SQL as `column = ?`;
//! everything else is compared in Rust, row by row, over a bounded number of rows.

use sqlx::AssertSqlSafe;

use super::page::{Page, limit_of};
use super::read::{Columns, Reader};
use super::{StoreError, ids};

/// Rows loaded at once when some may be left out.
const CHUNK: usize = 500;

/// Rows looked at for one page.
const LOOK_MAX: usize = 20_000;

/// How far the time in a row may be from the time in its id.
const SLACK_MS: i64 = 60_000;

/// A list to be read.
pub(super) struct List<'f> {
    /// What is selected; the first column is the id.
    pub(super) columns: &'static str,
    /// A table or a join.
    pub(super) from: &'static str,
    /// The column that gives the order.
    pub(super) id: &'static str,
    /// What the ids begin with.
    pub(super) prefix: &'static str,
    /// Conditions that an index serves.
    pub(super) equal: Vec<(&'static str, &'f str)>,
    /// Whether `keep` may leave rows out.
    pub(super) restricts: bool,
    pub(super) since_ms: Option<i64>,
    pub(super) until_ms: Option<i64>,
    pub(super) limit: usize,
    pub(super) cursor: Option<&'f str>,
}

impl List<'_> {
    /// One page. It may hold fewer rows than asked for and still have a next one.
    pub(super) async fn page<T>(
        &self,
        reader: &Reader,
        take: impl Fn(&mut Columns<'_>) -> Result<T, StoreError>,
        keep: impl Fn(&T) -> bool,
    ) -> Result<Page<T>, StoreError> {
        let limit = limit_of(self.limit);
        let mut before = match self.cursor {
            Some(cursor) if ids::is_id(self.prefix, cursor) => cursor.to_owned(),
            Some(_) => return Err(StoreError::Cursor),
            None => match self.until_ms {
                Some(until_ms) => ids::first_at(self.prefix, until_ms.saturating_add(SLACK_MS)),
                // Behind every id: they are made of lower-case letters and digits.
                None => "~".to_owned(),
            },
        };
        let first = self.since_ms.map_or_else(String::new, |since_ms| {
            ids::first_at(self.prefix, since_ms.saturating_sub(SLACK_MS))
        });
        let chunk = if self.restricts { CHUNK } else { limit + 1 };
        let (mut items, mut looked) = (Vec::new(), 0);
        while looked < LOOK_MAX {
            let rows = reader.rows(self.query(&before, &first, chunk)).await?;
            for row in &rows {
                if items.len() == limit {
                    return Ok(Page { items, next_cursor: Some(before) });
                }
                Columns::of(row).take::<&str>()?.clone_into(&mut before);
                let item = take(&mut Columns::of(row))?;
                if keep(&item) {
                    items.push(item);
                }
            }
            if rows.len() < chunk {
                return Ok(Page { items, next_cursor: None });
            }
            looked += rows.len();
        }
        Ok(Page { items, next_cursor: Some(before) })
    }

    fn query(&self, before: &str, first: &str, chunk: usize) -> super::read::AnyQuery<'static> {
        let mut sql = ["SELECT ", self.columns, " FROM ", self.from].concat();
        sql += &[" WHERE ", self.id, " < ? AND ", self.id, " >= ?"].concat();
        for (column, _value) in &self.equal {
            sql += &[" AND ", column, " = ?"].concat();
        }
        sql += &[" ORDER BY ", self.id, " DESC LIMIT ?"].concat();
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(before.to_owned()).bind(first.to_owned());
        for (_column, value) in &self.equal {
            query = query.bind((*value).to_owned());
        }
        query.bind(i64::try_from(chunk).unwrap_or(i64::MAX))
    }
}
