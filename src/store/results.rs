//! Moving deliveries on: marks before a request leaves, results when it is over.
//!
//! Every change compares what the sender saw with what stands in the row, and the row count decides: a sender that
//! was frozen and comes back cannot undo what its successor did.

use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;
use sqlx::{AnyConnection, Arguments, Executor};

use super::add_messages::insert_references;
use super::card_codes::put_code;
use super::evidence::insert_evidence;
use super::insert::Insert;
use super::read::Columns;
use super::width::{self, cut};
use super::write::Write;
use super::{DeliveryResult, Engine, Fence, Store, StoreError};
use crate::domain::delivery::{Attempt, DeliveryState};
use crate::domain::evidence::Evidence;
use crate::ids::DeliveryId;
use crate::store::name_list;

/// Longest error text of an attempt, in bytes.
const ERROR_BYTES_MAX: usize = 1_024;

/// Longest part of an answer that is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 4_096;

const ATTEMPTS: Insert = Insert {
    table: "attempts",
    columns: &[
        "delivery_id",
        "number",
        "target_id",
        "at_ms",
        "duration_ms",
        "http_status",
        "errcode",
        "error",
        "answer",
    ],
};

impl Store {
    /// Marks at-most-once deliveries as started before their request leaves: id, attempts seen, steady ms.
    /// `false` at a place: the row has moved on, or its shard is no longer ours; do not send.
    pub async fn mark_started(
        &self,
        starts: &[(DeliveryId, i64, i64)],
        fence: &Fence,
    ) -> Result<Vec<bool>, StoreError> {
        self.write(MarkStarted { starts: starts.to_vec(), guard: Guard::of(self, *fence) }).await
    }

    /// Records what attempts left behind, in one transaction. `false` at a place: the row has moved on, or its
    /// shard is no longer ours; nothing of that result was written.
    pub async fn record_results(
        &self,
        results: &[DeliveryResult],
        fence: &Fence,
    ) -> Result<Vec<bool>, StoreError> {
        self.write(RecordResults { results: results.to_vec(), guard: Guard::of(self, *fence) }).await
    }

    /// The attempts of one delivery, first to last.
    pub async fn attempts(&self, id: &DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        let query = sqlx::query(
            "SELECT number, at_ms, duration_ms, http_status, errcode, error, answer FROM attempts \
             WHERE delivery_id = ? ORDER BY number",
        );
        let rows = self.inner.reader.rows(query.bind(id.as_str())).await?;
        rows.iter().map(|row| take(&mut Columns::of(row))).collect()
    }

    /// When attempts to `target_id` began, from `at_ms` (wall) on, rising: rebuilds a pace window.
    pub async fn attempts_since(&self, target_id: &str, at_ms: i64) -> Result<Vec<i64>, StoreError> {
        let query =
            sqlx::query("SELECT at_ms FROM attempts WHERE target_id = ? AND at_ms >= ? ORDER BY at_ms");
        let rows = self.inner.reader.rows(query.bind(target_id.to_owned()).bind(at_ms)).await?;
        rows.iter().map(|row| Columns::of(row).take()).collect()
    }
}

impl Store {
    /// Ends a delivery that has not left, if it still stands as the caller saw it, and adds what that proves. `false`:
    /// it is on its way, or over.
    pub async fn cancel_delivery(
        &self,
        id: &DeliveryId,
        attempts: i64,
        evidence: &[Evidence],
    ) -> Result<bool, StoreError> {
        self.write(Cancel { id: id.clone(), attempts, evidence: evidence.to_vec() }).await
    }

    /// Messages sent to `target_id` from `at_ms` (wall) on, at most `limit`, newest first: when, and to whom by name.
    pub async fn sent_since(
        &self,
        target_id: &str,
        at_ms: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Vec<String>)>, StoreError> {
        let query = sqlx::query(
            "SELECT a.at_ms, m.recipients FROM attempts a JOIN deliveries d ON d.id = a.delivery_id \
             JOIN messages m ON m.id = d.message_id WHERE a.target_id = ? AND a.at_ms >= ? \
             ORDER BY a.at_ms DESC LIMIT ?",
        )
        .bind(target_id.to_owned())
        .bind(at_ms)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = self.inner.reader.rows(query).await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok((columns.take()?, columns.parse("recipients", name_list::parse)?))
            })
            .collect()
    }
}

/// Whether the writer still owns what it writes to.
#[derive(Clone, Copy, Debug)]
struct Guard {
    /// The shard and its fence; `None`: this process owns all.
    shard: Option<(i64, i64)>,
}

impl Guard {
    fn of(store: &Store, fence: Fence) -> Self {
        match fence {
            Fence::Shard { id, fence } if store.engine() == Engine::MySql => {
                Self { shard: Some((id, fence)) }
            }
            _ => Self { shard: None },
        }
    }

    async fn holds(self, conn: &mut AnyConnection) -> Result<bool, StoreError> {
        let Some((id, fence)) = self.shard else { return Ok(true) };
        let query = sqlx::query("SELECT fence FROM shards WHERE id = ?");
        match conn.fetch_optional(query.bind(id)).await? {
            Some(row) => Ok(Columns::of(&row).take::<i64>()? == fence),
            None => Ok(false),
        }
    }
}

struct Cancel {
    id: DeliveryId,
    attempts: i64,
    evidence: Vec<Evidence>,
}

impl Write for Cancel {
    type Output = bool;

    async fn run(&self, conn: &mut AnyConnection) -> Result<bool, StoreError> {
        let update = sqlx::query(
            "UPDATE deliveries SET state = ?, due_ms = NULL \
             WHERE id = ? AND attempts = ? AND due_ms IS NOT NULL AND started_ms IS NULL",
        )
        .bind(DeliveryState::Cancelled.as_str())
        .bind(self.id.as_str())
        .bind(self.attempts);
        let is_cancelled = conn.execute(update).await?.rows_affected() == 1;
        if is_cancelled {
            insert_evidence(conn, &Vec::from_iter(&self.evidence)).await?;
        }
        Ok(is_cancelled)
    }
}

struct MarkStarted {
    starts: Vec<(DeliveryId, i64, i64)>,
    guard: Guard,
}

impl Write for MarkStarted {
    type Output = Vec<bool>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Vec<bool>, StoreError> {
        if !self.guard.holds(conn).await? {
            return Ok(vec![false; self.starts.len()]);
        }
        let mut marked = Vec::with_capacity(self.starts.len());
        for (id, attempts, started_ms) in &self.starts {
            let update = sqlx::query(
                "UPDATE deliveries SET started_ms = ? \
                 WHERE id = ? AND attempts = ? AND due_ms IS NOT NULL AND started_ms IS NULL",
            )
            .bind(*started_ms)
            .bind(id.as_str())
            .bind(*attempts);
            marked.push(conn.execute(update).await?.rows_affected() == 1);
        }
        Ok(marked)
    }
}

struct RecordResults {
    results: Vec<DeliveryResult>,
    guard: Guard,
}

impl Write for RecordResults {
    type Output = Vec<bool>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Vec<bool>, StoreError> {
        if !self.guard.holds(conn).await? {
            return Ok(vec![false; self.results.len()]);
        }
        let mut written = Vec::with_capacity(self.results.len());
        let mut attempts = Vec::new();
        let mut evidence = Vec::new();
        let mut references = Vec::new();
        for result in &self.results {
            let target_id = move_on(conn, result).await?;
            written.push(target_id.is_some());
            let Some(target_id) = target_id else { continue };
            attempts.extend(result.attempt.as_ref().map(|attempt| (&result.id, target_id, attempt)));
            evidence.extend(&result.evidence);
            references.extend(&result.references);
            if let (Some((message, code)), Some(attempt)) = (&result.response_code, &result.attempt) {
                put_code(conn, message, code, attempt.at_ms).await?;
            }
        }
        ATTEMPTS
            .rows(conn, &attempts, |(id, target_id, attempt), to| bind(id, target_id, attempt, to))
            .await?;
        insert_evidence(conn, &evidence).await?;
        insert_references(conn, &references).await?;
        Ok(written)
    }
}

/// Compare-and-set on one row; gives its target, or `None` if it has moved on.
async fn move_on(conn: &mut AnyConnection, result: &DeliveryResult) -> Result<Option<String>, StoreError> {
    let update = sqlx::query(
        "UPDATE deliveries SET attempts = ?, state = ?, due_ms = ?, started_ms = NULL \
         WHERE id = ? AND attempts = ? AND due_ms IS NOT NULL",
    )
    .bind(result.attempts_before.saturating_add(i64::from(result.attempt.is_some())))
    .bind(result.state.as_str())
    .bind(result.due_ms)
    .bind(result.id.as_str())
    .bind(result.attempts_before);
    if conn.execute(update).await?.rows_affected() != 1 {
        return Ok(None);
    }
    let query = sqlx::query("SELECT target_id FROM deliveries WHERE id = ?");
    let row = conn.fetch_one(query.bind(result.id.as_str())).await?;
    Ok(Some(Columns::of(&row).take()?))
}

fn bind(
    id: &DeliveryId,
    target_id: &str,
    attempt: &Attempt,
    to: &mut AnyArguments,
) -> Result<(), BoxDynError> {
    let text = |text: &Option<String>, limit| text.as_deref().map(|text| cut(text, limit).to_owned());
    to.add(id.as_str())?;
    to.add(attempt.number)?;
    to.add(cut(target_id, width::SOURCE))?;
    to.add(attempt.at_ms)?;
    to.add(attempt.duration_ms)?;
    to.add(attempt.http_status)?;
    to.add(attempt.errcode)?;
    to.add(text(&attempt.error, ERROR_BYTES_MAX))?;
    to.add(text(&attempt.answer, ANSWER_BYTES_MAX))
}

fn take(columns: &mut Columns<'_>) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        number: columns.take()?,
        at_ms: columns.take()?,
        duration_ms: columns.take()?,
        http_status: columns.take()?,
        errcode: columns.take()?,
        error: columns.take()?,
        answer: columns.take()?,
    })
}
