//! Deleting what is old, a slice at a time, so that nothing waits for it.

use std::sync::Arc;

use sqlx::{AnyConnection, AssertSqlSafe, Executor};

use super::event_index::{EventIndex, Part};
use super::evidence::reference_hash;
use super::read::Columns;
use super::write::Write;
use super::{Store, StoreError, ids, late, name_list};
use crate::domain::status::Status;
use crate::ids::{AuditId, DeliveryId, EventId, EvidenceId, FileId, MessageId, RejectionId};

/// What can be deleted by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Events; deduplication remembers by them, so never before 8 days.
    Events,
    /// Finished deliveries of events, with their attempts.
    Deliveries,
    /// Finished messages with their deliveries, attempts, references and evidence.
    Messages,
    /// Evidence of messages that we do not have: other systems report on theirs.
    Evidence,
    /// Rejections.
    Rejections,
    /// Audit rows.
    Audit,
    /// Files given to us to be sent.
    Files,
    /// Notes of events that were committed late.
    LateEvents,
    /// What was said to callbacks of smart robots after their answers.
    SmartRobots,
}

/// What one slice did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many rows of the main table went.
    pub rows: u64,
    /// Whether there is more to do.
    pub more: bool,
}

/// Days that deduplication remembers by events.
const EVENT_DAYS_MIN: i64 = 8;

/// Rows of the main table in one slice: few enough for 5 ms on SQLite.
const SLICE: i64 = 100;

impl Store {
    /// Deletes one slice of what is older than `before_ms` (wall). Events stay for 8 days whatever is asked for,
    /// and the newest row of the list stays for ever: the next ones are numbered from it.
    pub async fn purge_before(&self, what: Purge, before_ms: i64) -> Result<Purged, StoreError> {
        match what {
            Purge::Events => {
                let remembered_ms = self.inner.clock.age_ms().saturating_sub(EVENT_DAYS_MIN * 86_400_000);
                // What is deleted must not wait for an index any more.
                self.bring_up_to_date(Part::Keys).await?;
                self.bring_up_to_date(Part::Lists).await?;
                let before_ms = before_ms.min(remembered_ms);
                self.write(PurgeEvents { before_ms, index: Arc::clone(&self.inner.index) }).await
            }
            Purge::Deliveries => self.write(PurgeDeliveries { before_ms }).await,
            Purge::Messages => self.write(PurgeMessages { before_ms }).await,
            Purge::Evidence => self.write(PurgeEvidence { before_ms }).await,
            Purge::Rejections => {
                self.write(PurgeById { table: "rejections", prefix: RejectionId::PREFIX, before_ms }).await
            }
            Purge::Files => {
                let parts = PurgeById { table: "file_parts", prefix: FileId::PREFIX, before_ms };
                let files = PurgeById { table: "files", prefix: FileId::PREFIX, before_ms };
                let parts = self.write(parts).await?;
                if parts.more { Ok(parts) } else { self.write(files).await }
            }
            Purge::SmartRobots => {
                let streams = PurgeById { table: "event_streams", prefix: EventId::PREFIX, before_ms };
                let responses = PurgeById { table: "event_responses", prefix: EventId::PREFIX, before_ms };
                let streams = self.write(streams).await?;
                if streams.more { Ok(streams) } else { self.write(responses).await }
            }
            Purge::LateEvents => {
                self.write(PurgeById { table: "late_events", prefix: late::PREFIX, before_ms }).await
            }
            Purge::Audit => {
                self.write(PurgeById { table: "audit", prefix: AuditId::PREFIX, before_ms }).await
            }
        }
    }
}

/// Walks the oldest end of the list of events.
struct PurgeEvents {
    before_ms: i64,
    index: Arc<EventIndex>,
}

impl Write for PurgeEvents {
    type Output = Purged;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Purged, StoreError> {
        let query = sqlx::query("SELECT id, accepted_ms FROM event_list ORDER BY position LIMIT ?");
        let rows = conn.fetch_all(query.bind(SLICE + 1)).await?;
        let (mut old, mut last) = (0, String::new());
        // The last row of the list is left out: it may be the newest of all.
        for row in rows.iter().take(rows.len().saturating_sub(1)) {
            let mut columns = Columns::of(row);
            let id = columns.take()?;
            if columns.take::<i64>()? >= self.before_ms {
                break;
            }
            (old, last) = (old + 1, id);
        }
        if old > 0 {
            for statement in self.index.engine().delete_events_up_to() {
                conn.execute(sqlx::query(*statement).bind(last.as_str())).await?;
            }
        }
        Ok(Purged { rows: old, more: i64::try_from(old) == Ok(SLICE) })
    }

    fn committed(&self, purged: &Purged) {
        if purged.rows > 0 {
            self.index.forget();
        }
    }
}

/// Deletes finished deliveries of events with everything that stands for them. A dead letter that blocks its key
/// stays.
struct PurgeDeliveries {
    before_ms: i64,
}

impl Write for PurgeDeliveries {
    type Output = Purged;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Purged, StoreError> {
        let query = sqlx::query(
            "SELECT id FROM deliveries WHERE id < ? AND event_id IS NOT NULL AND due_ms IS NULL AND NOT EXISTS \
             (SELECT 1 FROM delivery_order o WHERE o.target_id = deliveries.target_id AND o.delivery_id = deliveries.id) \
             ORDER BY id LIMIT ?",
        )
        .bind(ids::first_at(DeliveryId::PREFIX, self.before_ms))
        .bind(SLICE);
        let rows = conn.fetch_all(query).await?;
        for row in &rows {
            let id: String = Columns::of(row).take()?;
            for statement in [
                "DELETE FROM attempts WHERE delivery_id = ?",
                "DELETE FROM delivery_bodies WHERE delivery_id = ?",
                "DELETE FROM deliveries WHERE id = ?",
            ] {
                conn.execute(sqlx::query(statement).bind(id.as_str())).await?;
            }
        }
        Ok(Purged { rows: rows.len() as u64, more: i64::try_from(rows.len()) == Ok(SLICE) })
    }
}

/// Deletes finished messages with everything that stands for them.
struct PurgeMessages {
    before_ms: i64,
}

impl Write for PurgeMessages {
    type Output = Purged;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Purged, StoreError> {
        let query = sqlx::query(
            "SELECT id, recipients FROM messages WHERE id < ? AND created_ms < ? AND status <> ? AND NOT EXISTS \
             (SELECT 1 FROM deliveries WHERE message_id = messages.id AND due_ms IS NOT NULL) ORDER BY id LIMIT ?",
        )
        .bind(ids::first_at(MessageId::PREFIX, self.before_ms))
        .bind(self.before_ms)
        .bind(Status::Pending.as_str())
        .bind(SLICE / 5);
        let rows = conn.fetch_all(query).await?;
        for row in &rows {
            let mut columns = Columns::of(row);
            let id: String = columns.take()?;
            let recipients = columns.parse("recipients", name_list::parse)?;
            delete_message(conn, &id, &recipients).await?;
        }
        Ok(Purged { rows: rows.len() as u64, more: i64::try_from(rows.len()) == Ok(SLICE / 5) })
    }
}

async fn delete_message(conn: &mut AnyConnection, id: &str, recipients: &[String]) -> Result<(), StoreError> {
    let references =
        sqlx::query("SELECT reference_hash FROM message_references WHERE message_id = ?").bind(id);
    let mut hashes = vec![reference_hash(id)];
    for row in conn.fetch_all(references).await? {
        hashes.push(Columns::of(&row).take()?);
    }
    for hash in hashes {
        let evidence = "DELETE FROM evidence WHERE reference_hash = ?";
        conn.execute(sqlx::query(evidence).bind(hash)).await?;
        let reference = "DELETE FROM message_references WHERE reference_hash = ? AND message_id = ?";
        conn.execute(sqlx::query(reference).bind(hash).bind(id)).await?;
    }
    for person in recipients {
        let recipient = "DELETE FROM message_recipients WHERE user_id = ? AND message_id = ?";
        conn.execute(sqlx::query(recipient).bind(person.as_str()).bind(id)).await?;
    }
    for statement in [
        "DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE message_id = ?)",
        "DELETE FROM deliveries WHERE message_id = ?",
        "DELETE FROM card_codes WHERE message_id = ?",
        "DELETE FROM links WHERE message_id = ?",
        "DELETE FROM messages WHERE id = ?",
    ] {
        conn.execute(sqlx::query(statement).bind(id)).await?;
    }
    Ok(())
}

/// Deletes evidence that outlived its message, or never had one here.
struct PurgeEvidence {
    before_ms: i64,
}

impl Write for PurgeEvidence {
    type Output = Purged;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Purged, StoreError> {
        let query = sqlx::query(
            "SELECT reference_hash, id FROM evidence WHERE id < ? \
             AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = evidence.reference) \
             AND NOT EXISTS (SELECT 1 FROM message_references \
             WHERE message_references.reference_hash = evidence.reference_hash) ORDER BY id LIMIT ?",
        )
        .bind(ids::first_at(EvidenceId::PREFIX, self.before_ms))
        .bind(SLICE);
        let rows = conn.fetch_all(query).await?;
        for row in &rows {
            let mut columns = Columns::of(row);
            let (hash, id): (i64, String) = (columns.take()?, columns.take()?);
            let delete = "DELETE FROM evidence WHERE reference_hash = ? AND id = ?";
            conn.execute(sqlx::query(delete).bind(hash).bind(id)).await?;
        }
        Ok(Purged { rows: rows.len() as u64, more: i64::try_from(rows.len()) == Ok(SLICE) })
    }
}

/// Deletes the oldest rows of a table whose ids tell their age.
struct PurgeById {
    table: &'static str,
    prefix: &'static str,
    before_ms: i64,
}

impl Write for PurgeById {
    type Output = Purged;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Purged, StoreError> {
        let select = ["SELECT id FROM ", self.table, " WHERE id < ? ORDER BY id LIMIT ?"].concat();
        let query =
            sqlx::query(AssertSqlSafe(select)).bind(ids::first_at(self.prefix, self.before_ms)).bind(SLICE);
        let rows = conn.fetch_all(query).await?;
        if let Some(last) = rows.last() {
            let delete = ["DELETE FROM ", self.table, " WHERE id <= ?"].concat();
            let last: String = Columns::of(last).take()?;
            conn.execute(sqlx::query(AssertSqlSafe(delete)).bind(last)).await?;
        }
        Ok(Purged { rows: rows.len() as u64, more: i64::try_from(rows.len()) == Ok(SLICE) })
    }
}
