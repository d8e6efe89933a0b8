//! How tries to one target ended so far.

use super::read::Columns;
use super::{Store, StoreError};

/// Counting stops here.
pub const TALLY_MAX: i64 = 100_000;

/// How tries to one target ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tries that were answered with success, up to [`TALLY_MAX`].
    pub sent: i64,
    /// Tries that failed, up to [`TALLY_MAX`].
    pub failed: i64,
    /// When the newest try began (wall ms), and whether it succeeded.
    pub last: Option<(i64, bool)>,
}

impl Store {
    /// How tries to `target_id` ended. Tries are deleted with their deliveries, by retention.
    pub async fn tally(&self, target_id: &str) -> Result<Tally, StoreError> {
        let mut tally = Tally::default();
        for (sql, count) in [
            (
                "SELECT COUNT(*) FROM (SELECT at_ms FROM attempts WHERE target_id = ? AND error IS NULL \
                 LIMIT 100000) AS some_of_them",
                &mut tally.sent,
            ),
            (
                "SELECT COUNT(*) FROM (SELECT at_ms FROM attempts WHERE target_id = ? AND error IS NOT NULL \
                 LIMIT 100000) AS some_of_them",
                &mut tally.failed,
            ),
        ] {
            if let Some(row) = self.inner.reader.row(sqlx::query(sql).bind(target_id)).await? {
                *count = Columns::of(&row).take()?;
            }
        }
        let newest =
            sqlx::query("SELECT at_ms, error FROM attempts WHERE target_id = ? ORDER BY at_ms DESC LIMIT 1");
        if let Some(row) = self.inner.reader.row(newest.bind(target_id)).await? {
            let mut columns = Columns::of(&row);
            let at_ms = columns.take()?;
            tally.last = Some((at_ms, columns.take::<Option<&str>>()?.is_none()));
        }
        Ok(tally)
    }
}
