//! Recording a group of events: which are new, and their rows.
//!
//! Equal keys inside the group are folded first. On MySQL rows are sorted by key, so that two replicas that insert
//! the same keys cannot deadlock, and the unique index has the last word: when another replica was faster, the group
//! is done again; when that fails too, each event gets a transaction of its own, so that only the refused one fails.
//! On SQLite this process is the only writer, and what it knows of its keys (`event_index.rs`) decides.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::AnyConnection;
use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;
use sqlx::{Arguments, AssertSqlSafe, Executor};
use tokio::sync::watch;

use super::event_index::EventIndex;
use super::events::PAYLOAD;
use super::evidence::insert_evidence;
use super::insert::{Insert, ROWS_AT_ONCE, placeholders, statement_rows};
use super::key_memory::Known;
use super::read::Columns;
use super::routing::{FreshDelivery, Routing};
use super::write::{Lane, Write};
use super::{Engine, NewEvent, Recorded, Store, StoreError, late, width};
use crate::clock::Clock;
use crate::domain::event::DedupKey;
use crate::ids::EventId;
use crate::sabotage::{self, Protection};
use crate::seals::{Cell, Seals};

/// The version of `wecom::event::read` that types events now.
pub(super) const READER: i64 = 2;

const EVENTS: Insert = Insert {
    table: "events",
    columns: &[
        "id",
        "dedup_key",
        "source",
        "kind",
        "format",
        "reader",
        "corp_id",
        "user_id",
        "external_user_id",
        "chat_id",
        "accepted_ms",
        "payload",
    ],
};

impl Store {
    /// Records a group of events in one transaction, with their evidence. The answers stand in the group's order.
    ///
    /// [`StoreError::Refused`] if the database takes one of them in no way.
    pub async fn commit_events(&self, group: &[NewEvent]) -> Result<Vec<Recorded>, StoreError> {
        self.commit_group(Arc::new(group.to_vec())).await.into_iter().collect()
    }

    /// As [`Store::commit_events`], with an answer for each event.
    pub(crate) async fn commit_group(&self, group: Arc<Vec<NewEvent>>) -> Vec<Result<Recorded, StoreError>> {
        let whole = 0..group.len();
        let mut outcome = self.commit_range(&group, whole.clone(), Ask::IfNeeded).await;
        if matches!(outcome, Err(StoreError::Conflict)) {
            outcome = self.commit_range(&group, whole.clone(), Ask::Always).await;
        }
        match outcome {
            Ok(recorded) => return recorded.into_iter().map(Ok).collect(),
            // Each alone would meet the same.
            Err(error) if error.is_outage() => return whole.map(|_| Err(error.clone())).collect(),
            Err(_one_of_them) => {}
        }
        let mut answers = Vec::with_capacity(group.len());
        for at in whole {
            let alone = self.commit_range(&group, at..at + 1, Ask::Always).await;
            answers.push(alone.and_then(|recorded| recorded.into_iter().next().ok_or(StoreError::Busy)));
        }
        answers
    }

    async fn commit_range(
        &self,
        group: &Arc<Vec<NewEvent>>,
        range: Range<usize>,
        ask: Ask,
    ) -> Result<Vec<Recorded>, StoreError> {
        let work = RecordEvents {
            group: Arc::clone(group),
            range,
            ask,
            index: Arc::clone(&self.inner.index),
            routing: Arc::clone(&self.inner.routing),
            unrouted: AtomicBool::new(false),
            arrivals: self.inner.arrivals.clone(),
            clock: self.inner.clock.clone(),
            seals: self.inner.seals.clone(),
        };
        Ok(self.write_in(Lane::Events, work).await?.answers)
    }
}

/// When the table is asked for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// Only where nothing else tells: on MySQL the unique index does, and nearly every key is new.
    IfNeeded,
    /// For every key memory knows nothing of.
    Always,
}

struct RecordEvents {
    group: Arc<Vec<NewEvent>>,
    range: Range<usize>,
    ask: Ask,
    index: Arc<EventIndex>,
    routing: Arc<Routing>,
    /// It was said to be one statement: there is nobody to route to.
    unrouted: AtomicBool,
    /// Told of every commit.
    arrivals: watch::Sender<()>,
    clock: Clock,
    seals: Seals,
}

/// What became of the range, in its order, which of it were inserted, and the deliveries they became.
struct Outcome {
    answers: Vec<Recorded>,
    inserted: Vec<usize>,
    deliveries: Mutex<Vec<FreshDelivery>>,
}

impl Write for RecordEvents {
    type Output = Outcome;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Outcome, StoreError> {
        let events = self.group.get(self.range.clone()).unwrap_or_default();
        let keys: Vec<DedupKey> = events.iter().map(key).collect();
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|&at| keys.get(at).copied());

        let known = self.known(conn, &keys).await?;
        let mut answers = vec![Recorded::New; events.len()];
        let mut inserted = Vec::with_capacity(events.len());
        let mut previous: Option<(DedupKey, &EventId)> = None;
        for at in order {
            let (Some(event), Some(&key)) = (events.get(at), keys.get(at)) else { continue };
            let first = match previous {
                Some((folded, id)) if folded == key => Some(id),
                _ => known.get(&key),
            };
            match first {
                // My own id: an earlier try of mine was committed and its answer lost.
                Some(id) if *id != event.id => set(&mut answers, at, Recorded::Repeat { id: id.clone() }),
                Some(_mine) => {}
                None => {
                    previous = Some((key, &event.id));
                    inserted.push(at);
                }
            }
        }
        if self.index.engine() == Engine::Sqlite {
            // Nobody else writes: the order of arrival is also that of the ids, whose index then grows at its end.
            inserted.sort_unstable();
        }
        self.insert(conn, events, &inserted).await?;
        let deliveries = self.route(conn, events, &inserted).await?;
        Ok(Outcome { answers, inserted, deliveries: Mutex::new(deliveries) })
    }

    fn is_one_statement(&self) -> bool {
        let events = self.group.get(self.range.clone()).unwrap_or_default();
        let now_ms = self.clock.steady_ms();
        let is_one = events.len() <= ROWS_AT_ONCE
            && events.iter().all(|event| event.evidence.is_empty() && !self.is_late(event, now_ms))
            && self.routing.is_idle();
        self.unrouted.store(is_one, Ordering::Relaxed);
        is_one
    }

    fn committed(&self, outcome: &Outcome) {
        let events = self.group.get(self.range.clone()).unwrap_or_default();
        let written = outcome.inserted.iter().filter_map(|&at| events.get(at));
        self.index.remember(written.map(|event| (key(event), &event.id)));
        let mut deliveries = outcome.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        self.routing.tell(std::mem::take(&mut *deliveries));
        if !outcome.inserted.is_empty() {
            self.arrivals.send_replace(());
        }
    }
}

impl RecordEvents {
    /// The events that have one of `keys` already.
    async fn known(
        &self,
        conn: &mut AnyConnection,
        keys: &[DedupKey],
    ) -> Result<HashMap<DedupKey, EventId>, StoreError> {
        let mut known = HashMap::new();
        let mut unknown = Vec::new();
        for &key in keys {
            match self.index.lookup(key) {
                Known::Taken(id) => {
                    known.insert(key, id);
                }
                Known::Unknown if self.asks() => unknown.push(key),
                Known::Free | Known::Unknown => {}
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        let mut rest = unknown.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(statement_rows(rest.len()));
            select_keys(conn, now, &mut known).await?;
            rest = later;
        }
        Ok(known)
    }

    /// Whether a reader of MySQL would no longer look for it; a file is read in the order of commits.
    fn is_late(&self, event: &NewEvent, now_ms: i64) -> bool {
        self.index.engine() == Engine::MySql
            && late::is_late(&event.id, now_ms)
            && !sabotage::off(Protection::LateNotes)
    }

    fn asks(&self) -> bool {
        self.ask == Ask::Always || self.index.engine() == Engine::Sqlite
    }

    /// Adds the deliveries of what was inserted, in the order in which it was accepted.
    async fn route(
        &self,
        conn: &mut AnyConnection,
        events: &[NewEvent],
        inserted: &[usize],
    ) -> Result<Vec<FreshDelivery>, StoreError> {
        if self.unrouted.swap(false, Ordering::Relaxed) || self.routing.is_idle() || inserted.is_empty() {
            return Ok(Vec::new());
        }
        let mut accepted = inserted.to_vec();
        accepted.sort_unstable();
        let rows: Vec<&NewEvent> = accepted.into_iter().filter_map(|at| events.get(at)).collect();
        self.routing.route(conn, &rows).await
    }

    async fn insert(
        &self,
        conn: &mut AnyConnection,
        events: &[NewEvent],
        inserted: &[usize],
    ) -> Result<(), StoreError> {
        let rows: Vec<&NewEvent> = inserted.iter().filter_map(|&at| events.get(at)).collect();
        insert_events(conn, &rows, &self.seals).await?;
        let now_ms = self.clock.steady_ms();
        if !self.unrouted.load(Ordering::Relaxed) && rows.iter().any(|row| self.is_late(row, now_ms)) {
            late::note(conn, &rows, now_ms).await?;
        }
        if rows.iter().all(|event| event.evidence.is_empty()) {
            return Ok(());
        }
        let evidence: Vec<_> = rows.iter().flat_map(|event| &event.evidence).collect();
        insert_evidence(conn, &evidence, &self.seals).await
    }
}

/// Adds rows inside a transaction, without their evidence.
pub(super) async fn insert_events(
    conn: &mut AnyConnection,
    rows: &[&NewEvent],
    seals: &Seals,
) -> Result<(), StoreError> {
    EVENTS.rows(conn, rows, |event, to| bind(event, seals, to)).await
}

fn set(answers: &mut [Recorded], at: usize, answer: Recorded) {
    if let Some(place) = answers.get_mut(at) {
        *place = answer;
    }
}

/// The key rows are compared by.
fn key(event: &NewEvent) -> DedupKey {
    if sabotage::off(Protection::Deduplication) {
        use sha2::Digest as _;
        let digest: [u8; 32] = sha2::Sha256::digest(event.id.as_str()).into();
        let mut unique = [0; 16];
        unique.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        return DedupKey::new(None, &unique);
    }
    event.dedup_key
}

async fn select_keys(
    conn: &mut AnyConnection,
    keys: &[DedupKey],
    known: &mut HashMap<DedupKey, EventId>,
) -> Result<(), StoreError> {
    let sql =
        ["SELECT dedup_key, event_id FROM event_keys WHERE dedup_key IN (", &placeholders(keys.len()), ")"];
    let mut query = sqlx::query(AssertSqlSafe(sql.concat()));
    for key in keys {
        query = query.bind(key.to_text());
    }
    for row in conn.fetch_all(query).await? {
        let mut columns = Columns::of(&row);
        let key = columns.parse("dedup_key", DedupKey::parse)?;
        known.insert(key, columns.parse("event_id", EventId::parse)?);
    }
    Ok(())
}

fn bind(new: &NewEvent, seals: &Seals, to: &mut AnyArguments) -> Result<(), BoxDynError> {
    let person =
        |text: &Option<String>| text.as_deref().map(|text| width::cut(text, width::PERSON).to_owned());
    let event = &new.event;
    to.add(new.id.as_str())?;
    to.add(key(new).to_text())?;
    to.add(width::cut(&new.source, width::SOURCE))?;
    to.add(event.kind.as_str())?;
    to.add(event.format.as_str())?;
    to.add(READER)?;
    to.add(event.corp_id.as_deref().map(|text| width::cut(text, width::CORP)))?;
    to.add(person(&event.user_id))?;
    to.add(person(&event.external_user_id))?;
    to.add(person(&event.chat_id))?;
    to.add(new.accepted_ms)?;
    to.add(&*seals.seal(Cell::new(PAYLOAD, new.id.as_str()), &new.payload)?)?;
    Ok(())
}
