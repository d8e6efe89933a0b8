//! How everything is read: one statement, bounded in time, and values taken out of rows with their meaning checked.

use std::time::Duration;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, Row};

use super::StoreError;

/// A statement with its values.
pub(super) type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

/// Connections for reading.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pool: AnyPool,
    statement_timeout: Duration,
}

impl Reader {
    pub(super) fn new(pool: AnyPool, statement_timeout: Duration) -> Self {
        Self { pool, statement_timeout }
    }

    /// Every row of the answer. A connection that does not answer in time, or whose caller has gone, is closed.
    pub(super) async fn rows(&self, query: AnyQuery<'_>) -> Result<Vec<AnyRow>, StoreError> {
        let mut lent = Lent(Some(self.pool.acquire().await?));
        let conn = lent.0.as_mut().ok_or(StoreError::Busy)?;
        let rows = tokio::time::timeout(self.statement_timeout, query.fetch_all(&mut **conn))
            .await
            .map_err(|_elapsed| StoreError::Unavailable("no answer in time".to_owned()))??;
        drop(lent.0.take());
        Ok(rows)
    }

    /// The first row, if there is one.
    pub(super) async fn row(&self, query: AnyQuery<'_>) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.rows(query).await?.into_iter().next())
    }
}

/// A connection in use. Unless it is taken out, it is closed: whoever waited for its answer has gone.
struct Lent(Option<PoolConnection<Any>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(conn) = &mut self.0 {
            conn.close_on_drop();
        }
    }
}

/// Takes the values of a row one after the other, in the order of the `SELECT`.
pub(super) struct Columns<'r> {
    row: &'r AnyRow,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(super) fn of(row: &'r AnyRow) -> Self {
        Self { row, next: 0 }
    }

    /// The next value.
    pub(super) fn take<T>(&mut self) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
    {
        let at = self.next;
        self.next += 1;
        Ok(self.row.try_get(at)?)
    }

    /// The next value, a text with a meaning; [`StoreError::Corrupt`] if `parse` does not know it.
    pub(super) fn parse<T>(
        &mut self,
        what: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        let text: &str = self.take()?;
        parse(text).ok_or_else(|| StoreError::corrupt(what, text))
    }

    /// The next value, a text with a meaning or nothing.
    pub(super) fn parse_optional<T>(
        &mut self,
        what: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.take()?;
        text.map(|text| parse(text).ok_or_else(|| StoreError::corrupt(what, text))).transpose()
    }
}
