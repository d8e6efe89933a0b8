//! How much there is, cheaply: no call here reads a whole table.

use super::read::{AnyQuery, Columns};
use super::{Store, StoreError, ids};
use crate::domain::delivery::DeliveryState;
use crate::domain::status::Status;
use crate::ids::EventId;

/// Counting stops here: an operator does not need to know more exactly.
pub const COUNT_MAX: i64 = 10_000;

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Events, as the engine estimates them.
    pub events_estimate: i64,
    /// Messages in the states that still move, up to [`COUNT_MAX`] each: `pending`, `uncertain`.
    pub messages_by_status: Vec<(Status, i64)>,
    /// Unfinished deliveries, up to [`COUNT_MAX`].
    pub deliveries_due: i64,
}

impl Store {
    /// How much there is.
    pub async fn counts(&self) -> Result<StoreCounts, StoreError> {
        let mut counts = StoreCounts {
            events_estimate: self.number(sqlx::query(self.engine().events_estimate())).await?,
            ..StoreCounts::default()
        };
        for status in [Status::Pending, Status::Uncertain] {
            let query = sqlx::query(
                "SELECT COUNT(*) FROM (SELECT id FROM messages WHERE status = ? LIMIT 10000) AS some_of_them",
            );
            counts.messages_by_status.push((status, self.number(query.bind(status.as_str())).await?));
        }
        let query = sqlx::query(
            "SELECT COUNT(*) FROM (SELECT id FROM deliveries WHERE state = ? LIMIT 10000) AS some_of_them",
        );
        counts.deliveries_due = self.number(query.bind(DeliveryState::Queued.as_str())).await?;
        Ok(counts)
    }

    /// When the newest event came, ms (wall); `None`: there is none.
    pub async fn newest_event_ms(&self) -> Result<Option<i64>, StoreError> {
        let row = self.inner.reader.row(sqlx::query("SELECT MAX(id) AS id FROM events")).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Columns::of(&row).parse_optional("id", EventId::parse)?.map(|id| ids::ms_of(&id)))
    }

    /// The one number that `query` asks for; 0 if there is none.
    pub(super) async fn number(&self, query: AnyQuery<'_>) -> Result<i64, StoreError> {
        match self.inner.reader.row(query).await? {
            Some(row) => Ok(Columns::of(&row).take::<Option<i64>>()?.unwrap_or(0)),
            None => Ok(0),
        }
    }
}
