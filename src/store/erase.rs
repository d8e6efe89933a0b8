//! Erasing what is known of one person, a slice at a time: texts go, rows and counts stay.
//!
//! An event keeps its key, so that a repeat of it is still known; evidence and messages keep a recipient, under a
//! name that says nothing, so that counts and statuses stay what they were.

use sqlx::{AnyConnection, AssertSqlSafe, Executor};

use super::messages::BODY;
use super::read::Columns;
use super::width::{self, fits};
use super::write::Write;
use super::{Engine, EventFilter, Store, StoreError, name_list};
use crate::domain::message::Message;
use crate::domain::status::Status;
use crate::ids::EventId;
use crate::seals::{Cell, Seals};

/// Rows changed in one transaction: few enough for 5 ms on SQLite.
const SLICE: usize = 100;

/// Rows of evidence looked at in one step; the recipient has no index.
const LOOK: i64 = 2_000;

/// Where a walk over all evidence stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidencePlace {
    hash: i64,
    id: String,
}

impl EvidencePlace {
    /// Before the first row.
    pub fn start() -> Self {
        Self { hash: i64::MIN, id: String::new() }
    }
}

impl Store {
    /// Blanks one slice of the events that `filter` lets through. 0: none is left.
    pub async fn erase_events(&self, filter: &EventFilter) -> Result<u64, StoreError> {
        let filter = EventFilter { limit: SLICE, ..filter.clone() };
        let ids: Vec<EventId> = self.events(&filter).await?.items.into_iter().map(|event| event.id).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        self.write(EraseEvents { ids, engine: self.engine() }).await
    }

    /// Writes `message` with its new body and recipients, and forgets what was answered when it was sent. `false` if
    /// it is not finished yet.
    pub async fn erase_from_message(
        &self,
        message: &Message,
        user_id: &str,
        alias: &str,
    ) -> Result<bool, StoreError> {
        fits("alias", alias, width::PERSON)?;
        self.write(EraseFromMessage {
            message: message.clone(),
            user_id: user_id.to_owned(),
            alias: alias.to_owned(),
            engine: self.engine(),
            seals: self.inner.seals.clone(),
        })
        .await
    }

    /// Renames the recipient in the next rows of evidence behind `after` and drops their texts. Gives how many it
    /// were, and where to go on; `None` at the end.
    pub async fn erase_evidence_of(
        &self,
        user_id: &str,
        alias: &str,
        after: &EvidencePlace,
    ) -> Result<(u64, Option<EvidencePlace>), StoreError> {
        let query = sqlx::query(
            "SELECT reference_hash, id, recipient FROM evidence \
             WHERE reference_hash >= ? AND (reference_hash > ? OR id > ?) ORDER BY reference_hash, id LIMIT ?",
        )
        .bind(after.hash)
        .bind(after.hash)
        .bind(after.id.clone())
        .bind(LOOK);
        let rows = self.inner.reader.rows(query).await?;
        let (mut theirs, mut last) = (Vec::new(), None);
        for row in &rows {
            let mut columns = Columns::of(row);
            let place = EvidencePlace { hash: columns.take()?, id: columns.take()? };
            if columns.take::<Option<String>>()?.as_deref() == Some(user_id) {
                theirs.push(place.clone());
            }
            last = Some(place);
        }
        let mut erased = 0;
        for slice in theirs.chunks(SLICE) {
            let (rows, alias) = (slice.to_vec(), alias.to_owned());
            erased += self.write(EraseEvidence { rows, alias, engine: self.engine() }).await?;
        }
        Ok((erased, last.filter(|_| i64::try_from(rows.len()) == Ok(LOOK))))
    }
}

struct EraseEvents {
    ids: Vec<EventId>,
    engine: Engine,
}

impl Write for EraseEvents {
    type Output = u64;

    async fn run(&self, conn: &mut AnyConnection) -> Result<u64, StoreError> {
        overwriting(self.engine, conn, true).await?;
        let mut rows = 0;
        for id in &self.ids {
            for statement in self.engine.forget_event_of_user() {
                conn.execute(sqlx::query(*statement).bind(id.as_str())).await?;
            }
            let said = sqlx::query("DELETE FROM event_streams WHERE id = ?");
            conn.execute(said.bind(id.as_str())).await?;
            let blank = sqlx::query(
                "UPDATE events SET payload = ?, sealed = NULL, user_id = NULL, external_user_id = NULL WHERE id = ?",
            );
            rows += conn.execute(blank.bind(Vec::<u8>::new()).bind(id.as_str())).await?.rows_affected();
        }
        overwriting(self.engine, conn, false).await?;
        Ok(rows)
    }
}

struct EraseFromMessage {
    message: Message,
    user_id: String,
    alias: String,
    engine: Engine,
    seals: Seals,
}

impl Write for EraseFromMessage {
    type Output = bool;

    async fn run(&self, conn: &mut AnyConnection) -> Result<bool, StoreError> {
        overwriting(self.engine, conn, true).await?;
        let id = self.message.id.as_str();
        let body = self.seals.seal_text(Cell::new(BODY, id), &self.message.body)?;
        let update = sqlx::query("UPDATE messages SET body = ?, recipients = ? WHERE id = ? AND status <> ?")
            .bind(body.into_owned())
            .bind(name_list::to_text(&self.message.recipients))
            .bind(id)
            .bind(Status::Pending.as_str());
        let finished = conn.execute(update).await?.rows_affected() == 1;
        if finished {
            let renamed = "UPDATE message_recipients SET user_id = ? WHERE user_id = ? AND message_id = ?";
            let renamed = sqlx::query(renamed).bind(self.alias.as_str()).bind(self.user_id.as_str()).bind(id);
            conn.execute(renamed).await?;
            let answers = "UPDATE attempts SET answer = NULL WHERE delivery_id IN \
                           (SELECT id FROM deliveries WHERE message_id = ?)";
            conn.execute(sqlx::query(answers).bind(id)).await?;
        }
        overwriting(self.engine, conn, false).await?;
        Ok(finished)
    }
}

struct EraseEvidence {
    rows: Vec<EvidencePlace>,
    alias: String,
    engine: Engine,
}

impl Write for EraseEvidence {
    type Output = u64;

    async fn run(&self, conn: &mut AnyConnection) -> Result<u64, StoreError> {
        overwriting(self.engine, conn, true).await?;
        let mut rows = 0;
        for place in &self.rows {
            let rename = "UPDATE evidence SET recipient = ?, text = NULL WHERE reference_hash = ? AND id = ?";
            let rename =
                sqlx::query(rename).bind(self.alias.as_str()).bind(place.hash).bind(place.id.as_str());
            rows += conn.execute(rename).await?.rows_affected();
        }
        overwriting(self.engine, conn, false).await?;
        Ok(rows)
    }
}

/// Whether the engine overwrites what it frees.
pub(super) async fn overwriting(
    engine: Engine,
    conn: &mut AnyConnection,
    on: bool,
) -> Result<(), StoreError> {
    if let Some(statement) = engine.overwrite_freed(on) {
        conn.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}
