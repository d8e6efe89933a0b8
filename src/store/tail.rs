//! Reading events forward, as they are committed, without a gap.
//!
//! On SQLite the order of commits is a number, and a reader only remembers the last. On MySQL ids are time ordered
//! but commits are not: a reader looks back over a window each time, and leaves out what it has given already. What
//! is committed later than the window allows for is noted (`late.rs`), and the notes are read in the same way. A
//! resumed reader starts a window early, so events may come again, but none is missing.

use std::collections::{BTreeSet, VecDeque};

use sqlx::AssertSqlSafe;

use super::events::COLUMNS;
use super::insert::placeholders;
use super::late;
use super::read::Columns;
use super::{Engine, Store, StoreError, StoredEvent, ids};
use crate::ids::EventId;

/// Rows read at once.
const BATCH: usize = 250;

/// How far back every look goes: behind the lateness that is noted, with time for a commit.
const LOOK_MS: i64 = 5_000;

/// How far back a look goes now and then, and at a resumption: what is not noted as late is committed within 18 s of
/// its id (3 s until its insert, no transaction lives for 15 s), and the long look comes every 5 s.
const SWEEP_MS: i64 = 25_000;

/// How far apart the order of ids and the order of commits of a file may be.
const DISORDER_MS: i64 = 60_000;

/// How often the long look is due.
const SWEEP_EVERY_MS: i64 = 5_000;

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailStart {
    /// With what is committed from now on.
    Now,
    /// With what was accepted at this time (wall ms) or later.
    Since(i64),
    /// Behind the cursor that another reader had.
    After(String),
}

/// An event and the cursor behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailEvent {
    /// What [`TailStart::After`] takes.
    pub cursor: String,
    /// The event.
    pub event: StoredEvent,
}

/// A reader.
#[derive(Debug)]
pub struct EventTail {
    store: Store,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// The last position that was read.
    Seq(i64),
    Ids(Box<IdPlace>),
}

/// Where a reader of MySQL stands.
#[derive(Debug)]
struct IdPlace {
    /// While it catches up: the last id that was read. Then it looks back from now.
    behind: Option<String>,
    /// Notes were read up to here (steady ms), but for those of transactions that were under way.
    notes_ms: i64,
    /// Ids that were given, or passed over, and may be met again.
    seen: BTreeSet<String>,
    /// Notes that were.
    seen_notes: BTreeSet<(String, String)>,
    /// Ids that are to be given.
    waiting: VecDeque<String>,
    swept_ms: i64,
    /// Up to which times of ids and of notes everything was given, when nothing waited last.
    given: (i64, i64),
}

impl Store {
    /// A reader of every event from `start` on.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] if the cursor is of another database, or none.
    pub async fn tail(&self, start: TailStart) -> Result<EventTail, StoreError> {
        let place = match self.engine() {
            Engine::Sqlite => Place::Seq(self.seq_of(start).await?),
            Engine::MySql => Place::Ids(Box::new(self.id_place(start).await?)),
        };
        Ok(EventTail { store: self.clone(), place })
    }

    async fn seq_of(&self, start: TailStart) -> Result<i64, StoreError> {
        let ms = match start {
            TailStart::Now => return self.last_seq().await,
            TailStart::Since(ms) => ms,
            TailStart::After(cursor) => {
                let seq = cursor.strip_prefix('s').and_then(|text| text.parse().ok());
                return seq.filter(|seq| *seq >= 0).ok_or(StoreError::Cursor);
            }
        };
        // Asked for first: what is committed between the questions is new.
        let last = self.last_seq().await?;
        let Some(first) = self.first_id_since(ms).await? else { return Ok(last) };
        // Commits of one moment may stand in another order than their ids. If they are deleted just now, all that is
        // left is newer.
        let last_ms = ids::ms_of(&first).saturating_add(DISORDER_MS);
        let query = sqlx::query("SELECT MIN(seq) - 1 FROM events WHERE id >= ? AND id < ?")
            .bind(first.to_string())
            .bind(ids::first_at(EventId::PREFIX, last_ms));
        self.number(query).await
    }

    async fn last_seq(&self) -> Result<i64, StoreError> {
        self.number(sqlx::query("SELECT MAX(seq) FROM events")).await
    }

    async fn first_id_since(&self, ms: i64) -> Result<Option<EventId>, StoreError> {
        let query = sqlx::query("SELECT id FROM events WHERE id >= ? ORDER BY id LIMIT 1");
        let row = self.inner.reader.row(query.bind(ids::first_at(EventId::PREFIX, ms))).await?;
        row.map(|row| Columns::of(&row).parse("event id", EventId::parse)).transpose()
    }

    async fn id_place(&self, start: TailStart) -> Result<IdPlace, StoreError> {
        let now_ms = self.inner.clock.steady_ms();
        let (from_ms, notes_ms, is_new) = match start {
            TailStart::Now => (now_ms, now_ms, true),
            TailStart::Since(ms) => (ms, ms, false),
            TailStart::After(cursor) => {
                let (ids_ms, notes_ms) = read_cursor(&cursor).ok_or(StoreError::Cursor)?;
                (ids_ms.saturating_sub(SWEEP_MS), notes_ms, false)
            }
        };
        let mut place = IdPlace {
            behind: Some(ids::first_at(EventId::PREFIX, from_ms)),
            notes_ms,
            seen: BTreeSet::new(),
            seen_notes: BTreeSet::new(),
            waiting: VecDeque::new(),
            swept_ms: 0,
            given: (from_ms, notes_ms),
        };
        if is_new {
            // What is committed by now is not new.
            place.behind = None;
            place.look(self, now_ms, SWEEP_MS).await?;
            place.read_notes(self, now_ms).await?;
            place.waiting.clear();
        }
        Ok(place)
    }
}

impl EventTail {
    /// The next events, oldest first; none if there are none now. Before one that only another process can read, the
    /// reader waits with an error.
    pub async fn next(&mut self) -> Result<Vec<TailEvent>, StoreError> {
        match &mut self.place {
            Place::Seq(last) => {
                let sql = [
                    "SELECT position, ",
                    COLUMNS,
                    " FROM event_list WHERE position > ? ORDER BY position LIMIT ?",
                ];
                let query = sqlx::query(AssertSqlSafe(sql.concat())).bind(*last).bind(i64_of(BATCH));
                let (mut events, mut read) = (Vec::new(), *last);
                for row in self.store.inner.reader.rows(query).await? {
                    let mut columns = Columns::of(&row);
                    read = columns.take()?;
                    let event = StoredEvent::take(&mut columns, &self.store.inner.seals)?.known()?;
                    events.push(TailEvent { cursor: format!("s{read}"), event });
                }
                *last = read;
                Ok(events)
            }
            Place::Ids(place) => place.next(&self.store).await,
        }
    }

    /// The cursor behind everything that was given.
    pub fn cursor(&self) -> String {
        match &self.place {
            Place::Seq(last) => format!("s{last}"),
            Place::Ids(place) => place.cursor(),
        }
    }
}

impl IdPlace {
    async fn next(&mut self, store: &Store) -> Result<Vec<TailEvent>, StoreError> {
        let now_ms = store.inner.clock.steady_ms();
        if self.waiting.is_empty() {
            if self.behind.is_some() {
                self.catch_up(store).await?;
            } else {
                let is_due = now_ms.saturating_sub(self.swept_ms) >= SWEEP_EVERY_MS;
                self.look(store, now_ms, if is_due { SWEEP_MS } else { LOOK_MS }).await?;
                if is_due {
                    self.swept_ms = now_ms;
                    self.forget(now_ms);
                }
            }
            self.read_notes(store, now_ms).await?;
        }
        let count = self.waiting.len().min(BATCH);
        let batch: Vec<String> = self.waiting.iter().take(count).cloned().collect();
        let events = rows(store, &batch).await?;
        self.waiting.drain(..count);
        if self.waiting.is_empty() {
            self.given = (self.behind.as_deref().map_or(now_ms, time_of), self.notes_ms);
        }
        let cursor = self.cursor();
        Ok(events.into_iter().map(|event| TailEvent { cursor: cursor.clone(), event }).collect())
    }

    fn cursor(&self) -> String {
        format!("m{}.{}", self.given.0, self.given.1)
    }

    /// The next ids of the past; at their end reading goes over to looking back.
    async fn catch_up(&mut self, store: &Store) -> Result<(), StoreError> {
        let Some(behind) = self.behind.clone() else { return Ok(()) };
        let ids = page(store, &behind).await?;
        match ids.last() {
            Some(last) if ids.len() == BATCH => self.behind = Some(last.clone()),
            _ => self.behind = None,
        }
        for id in ids {
            self.take(id);
        }
        Ok(())
    }

    /// Takes every id from `back_ms` ago on that was not seen.
    async fn look(&mut self, store: &Store, now_ms: i64, back_ms: i64) -> Result<(), StoreError> {
        let mut behind = ids::first_at(EventId::PREFIX, now_ms.saturating_sub(back_ms));
        loop {
            let ids = page(store, &behind).await?;
            let is_last = ids.len() < BATCH;
            if let Some(last) = ids.last() {
                behind.clone_from(last);
            }
            for id in ids {
                self.take(id);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Takes every note that was not seen.
    async fn read_notes(&mut self, store: &Store, now_ms: i64) -> Result<(), StoreError> {
        let mut behind = (ids::first_at(late::PREFIX, self.notes_ms.saturating_sub(SWEEP_MS)), String::new());
        loop {
            let sql = "SELECT id, event_id FROM late_events WHERE id > ? OR (id = ? AND event_id > ?) \
                       ORDER BY id, event_id LIMIT ?";
            let query = sqlx::query(sql)
                .bind(behind.0.clone())
                .bind(behind.0.clone())
                .bind(behind.1.clone())
                .bind(i64_of(BATCH));
            let found = store.inner.reader.rows(query).await?;
            for row in &found {
                let mut columns = Columns::of(row);
                behind = (columns.take()?, columns.take()?);
                if self.seen_notes.insert(behind.clone()) {
                    self.take(behind.1.clone());
                }
            }
            if found.len() < BATCH {
                self.notes_ms = now_ms;
                return Ok(());
            }
        }
    }

    fn take(&mut self, id: String) {
        if self.seen.insert(id.clone()) {
            self.waiting.push_back(id);
        }
    }

    /// Forgets what no look goes back to.
    fn forget(&mut self, now_ms: i64) {
        let before_ms = now_ms.saturating_sub(2 * SWEEP_MS);
        self.seen = self.seen.split_off(&ids::first_at(EventId::PREFIX, before_ms));
        self.seen_notes = self.seen_notes.split_off(&(ids::first_at(late::PREFIX, before_ms), String::new()));
    }
}

/// The next ids behind `behind`.
async fn page(store: &Store, behind: &str) -> Result<Vec<String>, StoreError> {
    let query = sqlx::query("SELECT id FROM events WHERE id > ? ORDER BY id LIMIT ?");
    let rows = store.inner.reader.rows(query.bind(behind.to_owned()).bind(i64_of(BATCH))).await?;
    rows.iter().map(|row| Columns::of(row).take()).collect()
}

/// The events with these ids, in their order. One that was deleted just now is left out.
async fn rows(store: &Store, ids: &[String]) -> Result<Vec<StoredEvent>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = ["SELECT ", COLUMNS, " FROM events WHERE id IN (", &placeholders(ids.len()), ") ORDER BY id"];
    let mut query = sqlx::query(AssertSqlSafe(sql.concat())).persistent(ids.len() == BATCH);
    for id in ids {
        query = query.bind(id.clone());
    }
    let rows = store.inner.reader.rows(query).await?;
    rows.iter().map(|row| StoredEvent::take(&mut Columns::of(row), &store.inner.seals)?.known()).collect()
}

/// The times in a cursor.
fn read_cursor(text: &str) -> Option<(i64, i64)> {
    let (ids_ms, notes_ms) = text.strip_prefix('m')?.split_once('.')?;
    let read = |text: &str| text.parse::<i64>().ok().filter(|ms| *ms >= 0);
    Some((read(ids_ms)?, read(notes_ms)?))
}

/// The time in an id, ms.
fn time_of(id: &str) -> i64 {
    EventId::parse(id).map_or(0, |id| ids::ms_of(&id))
}

fn i64_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
