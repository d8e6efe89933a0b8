//! Deliveries: the queue of everything that goes out. `results.rs` moves them on.

use std::collections::HashMap;

use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;
use sqlx::{AnyConnection, Arguments, AssertSqlSafe};

use super::insert::{Insert, placeholders};
use super::list::List;
use super::read::Columns;
use super::{Page, Store, StoreError};
use crate::domain::delivery::{Attempt, Cargo, Delivery, DeliveryState};
use crate::domain::evidence::Evidence;
use crate::ids::{DeliveryId, EventId, MessageId};
use crate::secret::Secret;

/// What an attempt left behind. Written only if `attempts_before` still stands in the row.
#[derive(Clone, Debug)]
pub struct DeliveryResult {
    /// Which delivery.
    pub id: DeliveryId,
    /// Whom it goes to.
    pub target_id: String,
    /// What the sender saw in the row: the compare of compare-and-set.
    pub attempts_before: i64,
    /// The attempt to record; `None` when there was none (expired, cancelled, uncertain after a crash).
    pub attempt: Option<Attempt>,
    /// The new state.
    pub state: DeliveryState,
    /// When it is due again, steady ms; `None`: finished.
    pub due_ms: Option<i64>,
    /// What was learned about the message.
    pub evidence: Vec<Evidence>,
    /// Ids the other side gave the message (msgid, task id): evidence may come under them.
    pub references: Vec<(MessageId, String)>,
    /// What the message's card can be changed with.
    pub response_code: Option<(MessageId, Secret)>,
}

/// Which deliveries to list. Empty fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only to this target.
    pub target_id: Option<String>,
    /// Only to these targets: what the caller's key allows. Empty: all.
    pub allowed_targets: Vec<String>,
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only of this event or message.
    pub cargo: Option<Cargo>,
    /// Rows in the page, 1 to 1,000; 0: the default of 100.
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Events whose deliveries are counted with one statement.
const COUNTED_AT_ONCE: usize = 100;

const DELIVERIES: Insert = Insert {
    table: "deliveries",
    columns: &[
        "id",
        "target_id",
        "event_id",
        "message_id",
        "run",
        "priority",
        "attempts",
        "state",
        "due_ms",
        "started_ms",
        "expires_ms",
        "created_ms",
    ],
};

/// The columns of [`take`], in its order.
pub(super) const COLUMNS: &str = "id, target_id, event_id, message_id, run, priority, attempts, state, due_ms, started_ms, \
                       expires_ms, created_ms";

impl Store {
    /// Deliveries to `target_id` that are due at `now_steady_ms`: by due time, then id.
    pub async fn due(
        &self,
        target_id: &str,
        now_steady_ms: i64,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM deliveries WHERE target_id = ? AND due_ms <= ?"].concat();
        let query = sqlx::query(AssertSqlSafe(sql + " ORDER BY due_ms, id LIMIT ?"))
            .bind(target_id.to_owned())
            .bind(now_steady_ms)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut due = Vec::new();
        for row in self.inner.reader.rows(query).await? {
            due.push(take(&mut Columns::of(&row))?);
        }
        due.retain(|delivery| delivery.target_id == target_id);
        Ok(due)
    }

    /// Deliveries to `target_id` that were not begun and whose time has passed at `now_wall_ms`, in no order. Looks at
    /// every unfinished one.
    pub async fn expired(
        &self,
        target_id: &str,
        now_wall_ms: i64,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let sql =
            ["SELECT ", COLUMNS, " FROM deliveries WHERE target_id = ? AND due_ms IS NOT NULL"].concat();
        let query = sqlx::query(AssertSqlSafe(sql + " AND expires_ms <= ? AND started_ms IS NULL LIMIT ?"))
            .bind(target_id.to_owned())
            .bind(now_wall_ms)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut expired = Vec::new();
        for row in self.inner.reader.rows(query).await? {
            expired.push(take(&mut Columns::of(&row))?);
        }
        expired.retain(|delivery| delivery.target_id == target_id);
        Ok(expired)
    }

    /// When the next unfinished delivery to `target_id` is due, steady ms.
    pub async fn next_due(&self, target_id: &str) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query("SELECT MIN(due_ms) FROM deliveries WHERE target_id = ?");
        match self.inner.reader.row(query.bind(target_id.to_owned())).await? {
            Some(row) => Columns::of(&row).take(),
            None => Ok(None),
        }
    }

    /// The targets that have unfinished deliveries. Each is found with two steps in the index.
    pub async fn delivery_targets(&self) -> Result<Vec<String>, StoreError> {
        let mut unfinished = Vec::new();
        let mut after = String::new();
        loop {
            let query = sqlx::query("SELECT MIN(target_id) FROM deliveries WHERE target_id > ?");
            let Some(row) = self.inner.reader.row(query.bind(after.clone())).await? else {
                return Ok(unfinished);
            };
            let Some(target_id) = Columns::of(&row).take::<Option<String>>()? else { return Ok(unfinished) };
            if self.next_due(&target_id).await?.is_some() {
                unfinished.push(target_id.clone());
            }
            after = target_id;
        }
    }

    /// One delivery.
    pub async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM deliveries WHERE id = ?"].concat();
        let row = self.inner.reader.row(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
        row.as_ref().map(|row| take(&mut Columns::of(row))).transpose()
    }

    /// How many deliveries each of these events has become; those that became none are left out.
    pub async fn delivery_counts(&self, events: &[EventId]) -> Result<HashMap<EventId, i64>, StoreError> {
        let mut counts = HashMap::new();
        for chunk in events.chunks(COUNTED_AT_ONCE) {
            let head = "SELECT event_id, COUNT(*) FROM deliveries WHERE event_id IN (";
            let sql = [head, &placeholders(chunk.len()), ") GROUP BY event_id"].concat();
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == COUNTED_AT_ONCE);
            for id in chunk {
                query = query.bind(id.as_str());
            }
            for row in self.inner.reader.rows(query).await? {
                let mut columns = Columns::of(&row);
                counts.insert(columns.parse("event id", EventId::parse)?, columns.take()?);
            }
        }
        Ok(counts)
    }

    /// A page of deliveries, newest first. It may hold fewer rows than asked for and still have a next one.
    pub async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Page<Delivery>, StoreError> {
        let mut equal: Vec<(&'static str, &str)> = Vec::new();
        equal.extend(filter.cargo.as_ref().map(|cargo| match cargo {
            Cargo::Event(id) => ("event_id", id.as_str()),
            Cargo::Message(id) => ("message_id", id.as_str()),
        }));
        equal.extend(filter.state.map(|state| ("state", state.as_str())));
        equal.extend(filter.target_id.as_deref().map(|target| ("target_id", target)));
        let list = List {
            columns: COLUMNS,
            from: "deliveries",
            id: "id",
            prefix: DeliveryId::PREFIX,
            equal,
            restricts: !filter.allowed_targets.is_empty(),
            since_ms: None,
            until_ms: None,
            limit: filter.limit,
            cursor: filter.cursor.as_deref(),
        };
        let keep = |delivery: &Delivery| {
            filter.target_id.as_ref().is_none_or(|target| *target == delivery.target_id)
                && (filter.allowed_targets.is_empty() || filter.allowed_targets.contains(&delivery.target_id))
        };
        list.page(&self.inner.reader, take, keep).await
    }
}

/// Adds rows inside a transaction.
pub(super) async fn insert_deliveries(
    conn: &mut AnyConnection,
    rows: &[&Delivery],
) -> Result<(), StoreError> {
    DELIVERIES.rows(conn, rows, |delivery, to| bind(delivery, to)).await
}

fn bind(delivery: &Delivery, to: &mut AnyArguments) -> Result<(), BoxDynError> {
    let (event_id, message_id) = match &delivery.cargo {
        Cargo::Event(id) => (Some(id.as_str()), None),
        Cargo::Message(id) => (None, Some(id.as_str())),
    };
    to.add(delivery.id.as_str())?;
    to.add(delivery.target_id.as_str())?;
    to.add(event_id)?;
    to.add(message_id)?;
    to.add(delivery.run)?;
    to.add(delivery.priority)?;
    to.add(delivery.attempts)?;
    to.add(delivery.state.as_str())?;
    to.add(delivery.due_ms)?;
    to.add(delivery.started_ms)?;
    to.add(delivery.expires_ms)?;
    to.add(delivery.created_ms)
}

/// A row of [`COLUMNS`].
pub(super) fn take(columns: &mut Columns<'_>) -> Result<Delivery, StoreError> {
    let id = columns.parse("delivery id", DeliveryId::parse)?;
    let target_id = columns.take()?;
    let event_id = columns.parse_optional("event id", EventId::parse)?;
    let message_id = columns.parse_optional("message id", MessageId::parse)?;
    let cargo = match (event_id, message_id) {
        (Some(event), None) => Cargo::Event(event),
        (None, Some(message)) => Cargo::Message(message),
        _ => return Err(StoreError::corrupt("cargo of delivery", id.as_str())),
    };
    Ok(Delivery {
        id,
        target_id,
        cargo,
        run: columns.take()?,
        priority: columns.take()?,
        attempts: columns.take()?,
        state: columns.parse("delivery state", DeliveryState::parse)?,
        due_ms: columns.take()?,
        started_ms: columns.take()?,
        expires_ms: columns.take()?,
        created_ms: columns.take()?,
    })
}
