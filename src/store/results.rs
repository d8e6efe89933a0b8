//! Moving deliveries on: marks before a request leaves, results when it is over.
//!
//! Every change compares what the sender saw with what stands in the row, and the row count decides: a sender that
//! was frozen and comes back cannot undo what its successor did.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Executor};

use super::add_messages::insert_references;
use super::card_codes::put_code;
use super::evidence::insert_evidence;
use super::insert::{Insert, ROWS_AT_ONCE, placeholders};
use super::read::Columns;
use super::sealing::{seal_optional, shown};
use super::width::{self, cut};
use super::write::Write;
use super::{DeliveryResult, Engine, Fence, Store, StoreError};
use crate::domain::delivery::{Attempt, DeliveryState};
use crate::domain::evidence::Evidence;
use crate::domain::outcome::Ending;
use crate::ids::{DeliveryId, MessageId};
use crate::sabotage::{self, Protection};
use crate::seals::{Cell, Seals};
use crate::store::name_list;

/// Longest error text of an attempt, in bytes.
const ERROR_BYTES_MAX: usize = 1_024;

/// Longest part of an answer that is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Where the texts of an attempt are sealed for.
pub(super) const ERROR: &str = "attempts.error";
pub(super) const ANSWER: &str = "attempts.answer";

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
        let guard = Guard::of(self, *fence);
        let results: Arc<[DeliveryResult]> = results.into();
        let seals = self.inner.seals.clone();
        let work = RecordResults { results, guard, seals, together: true };
        let alone = RecordResults { together: false, ..work.clone() };
        match self.write(work).await {
            // One of them has moved on.
            Err(StoreError::Conflict) => self.write(alone).await,
            outcome => outcome,
        }
    }

    /// The attempts of one delivery, first to last.
    pub async fn attempts(&self, id: &DeliveryId) -> Result<Vec<Attempt>, StoreError> {
        let query = sqlx::query(
            "SELECT number, at_ms, duration_ms, http_status, errcode, error, answer FROM attempts \
             WHERE delivery_id = ? ORDER BY number",
        );
        let rows = self.inner.reader.rows(query.bind(id.as_str())).await?;
        rows.iter().map(|row| take(&mut Columns::of(row), id, &self.inner.seals)).collect()
    }

    /// The last attempt at a message; `None`: it was not tried yet.
    pub async fn last_attempt(&self, message: &MessageId) -> Result<Option<Attempt>, StoreError> {
        let query = sqlx::query(
            "SELECT delivery_id, number, at_ms, duration_ms, http_status, errcode, error, answer FROM attempts \
             WHERE delivery_id IN (SELECT id FROM deliveries WHERE message_id = ?) \
             ORDER BY at_ms DESC, number DESC LIMIT 1",
        );
        let row = self.inner.reader.row(query.bind(message.as_str())).await?;
        let take = |row| {
            let mut columns = Columns::of(row);
            let id: DeliveryId = columns.parse("delivery_id", DeliveryId::parse)?;
            take(&mut columns, &id, &self.inner.seals)
        };
        row.as_ref().map(take).transpose()
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
        let seals = self.inner.seals.clone();
        self.write(Cancel { id: id.clone(), attempts, evidence: evidence.to_vec(), seals }).await
    }

    /// Messages sent to `target_id` from `at_ms` (wall) on, at most `limit`, newest first.
    pub async fn sent_since(
        &self,
        target_id: &str,
        at_ms: i64,
        limit: usize,
    ) -> Result<Vec<SentEarlier>, StoreError> {
        let query = sqlx::query(
            "SELECT a.at_ms, m.recipients, a.error FROM attempts a JOIN deliveries d ON d.id = a.delivery_id \
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
                let (at_ms, recipients) = (columns.take()?, columns.parse("recipients", name_list::parse)?);
                let error: Option<String> = columns.take()?;
                let ending = Ending::of_error(error.as_deref());
                let perhaps_taken = matches!(ending, Ending::Accepted | Ending::AnswerLost);
                Ok(SentEarlier { at_ms, recipients, perhaps_taken })
            })
            .collect()
    }
}

/// A message that was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEarlier {
    /// When, wall ms.
    pub at_ms: i64,
    /// To whom by name; nobody: to `@all`, departments or tags.
    pub recipients: Vec<String>,
    /// Whether the platform may have taken it.
    pub perhaps_taken: bool,
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
            Fence::Shard { id, fence }
                if store.engine() == Engine::MySql && !sabotage::off(Protection::Fencing) =>
            {
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
    seals: Seals,
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
            insert_evidence(conn, &Vec::from_iter(&self.evidence), &self.seals).await?;
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

#[derive(Clone)]
struct RecordResults {
    results: Arc<[DeliveryResult]>,
    guard: Guard,
    seals: Seals,
    /// Whether those that end alike are moved on with one statement. [`StoreError::Conflict`] if one of them has moved
    /// on before: which one, only a statement for each can tell.
    together: bool,
}

impl Write for RecordResults {
    type Output = Vec<bool>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Vec<bool>, StoreError> {
        if !self.guard.holds(conn).await? {
            return Ok(vec![false; self.results.len()]);
        }
        let written = self.move_on(conn).await?;
        let mut attempts = Vec::new();
        let mut evidence = Vec::new();
        let mut references = Vec::new();
        for (result, _) in self.results.iter().zip(&written).filter(|(_, written)| **written) {
            attempts.extend(result.attempt.as_ref().map(|attempt| (result, attempt)));
            evidence.extend(&result.evidence);
            references.extend(&result.references);
            if let (Some((message, code)), Some(attempt)) = (&result.response_code, &result.attempt) {
                put_code(conn, message, code, attempt.at_ms).await?;
            }
        }
        ATTEMPTS
            .rows(conn, &attempts, |(result, attempt), to| bind(result, attempt, &self.seals, to))
            .await?;
        insert_evidence(conn, &evidence, &self.seals).await?;
        insert_references(conn, &references).await?;
        Ok(written)
    }
}

impl RecordResults {
    /// Moves the rows on; says for each result whether its row still stood as the sender saw it.
    async fn move_on(&self, conn: &mut AnyConnection) -> Result<Vec<bool>, StoreError> {
        if self.together {
            let mut alike: BTreeMap<_, Vec<&DeliveryResult>> = BTreeMap::new();
            for result in self.results.iter() {
                alike.entry(place(result)).or_default().push(result);
            }
            for (to, results) in alike {
                let mut rest = results.as_slice();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(ROWS_AT_ONCE));
                    if move_rows(conn, to, now).await? != now.len() {
                        return Err(StoreError::Conflict);
                    }
                    rest = later;
                }
            }
            return Ok(vec![true; self.results.len()]);
        }
        let mut written = Vec::with_capacity(self.results.len());
        for result in self.results.iter() {
            written.push(move_rows(conn, place(result), &[result]).await? == 1);
        }
        Ok(written)
    }
}

/// From which number of attempts a row goes to which number, state and due time.
type Step = (i64, i64, &'static str, Option<i64>);

fn place(result: &DeliveryResult) -> Step {
    let before = result.attempts_before;
    let after = before.saturating_add(i64::from(result.attempt.is_some()));
    (before, after, result.state.as_str(), result.due_ms)
}

/// Places for ids in a statement that moves `rows` rows: of few sizes, so that few texts fill the connection's cache.
fn places_for(rows: usize) -> usize {
    [1, 4, 16].into_iter().find(|size| *size >= rows).unwrap_or(ROWS_AT_ONCE)
}

/// Compare-and-set on the rows of `results`; how many stood as the sender saw them.
async fn move_rows(
    conn: &mut AnyConnection,
    (before, after, state, due_ms): Step,
    results: &[&DeliveryResult],
) -> Result<usize, StoreError> {
    let head = "UPDATE deliveries SET attempts = ?, state = ?, due_ms = ?, started_ms = NULL \
                WHERE attempts = ? AND due_ms IS NOT NULL AND id IN (";
    let places = places_for(results.len());
    let sql = [head, &placeholders(places), ")"].concat();
    let mut update = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(state).bind(due_ms).bind(before);
    // The last one fills the places that are left: named twice it is still one row.
    for result in results.iter().chain(results.last().into_iter().cycle()).take(places) {
        update = update.bind(result.id.as_str());
    }
    Ok(usize::try_from(conn.execute(update).await?.rows_affected()).unwrap_or(usize::MAX))
}

fn bind(
    result: &DeliveryResult,
    attempt: &Attempt,
    seals: &Seals,
    to: &mut AnyArguments,
) -> Result<(), BoxDynError> {
    let text = |column, text: &Option<String>, limit| {
        let cell = Cell { column, row: result.id.as_str(), part: attempt.number };
        seal_optional(seals, cell, text.as_deref().map(|text| cut(text, limit)))
    };
    to.add(result.id.as_str())?;
    to.add(attempt.number)?;
    to.add(cut(&result.target_id, width::SOURCE))?;
    to.add(attempt.at_ms)?;
    to.add(attempt.duration_ms)?;
    to.add(attempt.http_status)?;
    to.add(attempt.errcode)?;
    to.add(text(ERROR, &attempt.error, ERROR_BYTES_MAX)?)?;
    to.add(text(ANSWER, &attempt.answer, ANSWER_BYTES_MAX)?)
}

fn take(columns: &mut Columns<'_>, id: &DeliveryId, seals: &Seals) -> Result<Attempt, StoreError> {
    let number = columns.take()?;
    let text = |column, text: Option<String>| {
        let cell = Cell { column, row: id.as_str(), part: number };
        text.map(|text| shown(seals, cell, text))
    };
    Ok(Attempt {
        number,
        at_ms: columns.take()?,
        duration_ms: columns.take()?,
        http_status: columns.take()?,
        errcode: columns.take()?,
        error: text(ERROR, columns.take()?),
        answer: text(ANSWER, columns.take()?),
    })
}
