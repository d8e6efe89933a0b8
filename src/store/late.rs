//! Events that become visible well after their ids were made: noted, so that whoever reads forward misses none.
//!
//! Ids are made when a callback is accepted. Usually the commit follows within moments; from a spool, or with the
//! clock of a replica behind, it can come hours later, where no reader looks any more.

use sqlx::AnyConnection;

use super::insert::Insert;
use super::{NewEvent, StoreError, ids};
use crate::ids::EventId;

/// An event whose id is this much older than its insert is late.
pub(super) const LATE_MS: i64 = 3_000;

/// What the ids of the notes begin with.
pub(super) const PREFIX: &str = "late_";

const NOTES: Insert = Insert { table: "late_events", columns: &["id", "event_id"] };

/// Whether `id` is late at `now_ms` (steady).
pub(super) fn is_late(id: &EventId, now_ms: i64) -> bool {
    *id.as_str() < *ids::first_at(EventId::PREFIX, now_ms.saturating_sub(LATE_MS))
}

/// Notes those of `rows` that are late.
pub(super) async fn note(
    conn: &mut AnyConnection,
    rows: &[&NewEvent],
    now_ms: i64,
) -> Result<(), StoreError> {
    let late: Vec<&EventId> = rows.iter().map(|row| &row.id).filter(|id| is_late(id, now_ms)).collect();
    if late.is_empty() {
        return Ok(());
    }
    let place = ids::first_at(PREFIX, now_ms);
    let bind = |id: &&EventId, to: &mut sqlx::any::AnyArguments| {
        use sqlx::Arguments as _;
        to.add(place.as_str())?;
        to.add(id.as_str())
    };
    NOTES.rows(conn, &late, bind).await
}
