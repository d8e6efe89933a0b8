//! SQLite's indexes over events, filled behind the writes in sorted slices.
//!
//! An index on a value without order costs SQLite one page in the log for each row, several times what the row
//! itself costs. So the index tables are filled some thousand rows at a time, sorted, so that neighbours share
//! pages: when it is quiet, when somebody wants a list, and under load only when too many rows wait. A burst of
//! callbacks is then not held up. Until then the keys of the rows are known from memory (`key_memory.rs`), and lists
//! wait for the index. After a restart, and after any failure of the writer, the keys are read back from the file.
//!
//! On MySQL, where others write too, the indexes are plain ones; only the memory is used, as a hint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{AnyConnection, Executor};

use super::key_memory::{KeyMemory, Known};
use super::read::Columns;
use super::write::Write;
use super::{Engine, StoreError};
use crate::domain::event::DedupKey;
use crate::ids::EventId;

/// Rows whose keys may wait to be indexed, for they are in memory; with more it is done under load.
const UNINDEXED_MAX: u64 = 131_072;

/// Rows that may wait to be listed: some seconds of work for the one who asks.
const UNLISTED_MAX: u64 = 1_048_576;

/// Rows that are indexed at once, which holds up the callbacks behind it for some milliseconds.
const SLICE: i64 = 2_048;

/// Keys that are remembered beside those that wait: about 100 bytes each.
const KEYS_MAX: usize = 32_768;

/// What is indexed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The deduplication keys.
    Keys,
    /// Kinds and users, which only lists ask for.
    Lists,
}

impl Part {
    /// The fact that says up to which `seq` it is there.
    fn fact(self) -> &'static str {
        match self {
            Self::Keys => "events_indexed",
            Self::Lists => "events_listed",
        }
    }

    /// What copies the rows after a `seq` and up to another, each table in its own order; the last one copies all.
    ///
    /// `OR IGNORE` is for a file that was edited by hand: one key standing twice must not stop the index for good.
    fn statements(self) -> &'static [&'static str] {
        match self {
            Self::Keys => {
                &["INSERT OR IGNORE INTO event_key_index (dedup_key, seq) SELECT dedup_key, seq FROM events \
                 WHERE seq > ? AND seq <= ? ORDER BY dedup_key"]
            }
            Self::Lists => &[
                "INSERT INTO event_user_index (segment, user_id, seq) SELECT seq >> 15, user_id, seq FROM events \
                 WHERE seq > ? AND seq <= ? AND user_id IS NOT NULL ORDER BY seq >> 15, user_id, seq",
                "INSERT INTO event_kind_index (source, kind, seq) SELECT source, kind, seq FROM events \
                 WHERE seq > ? AND seq <= ? ORDER BY source, kind, seq",
            ],
        }
    }

    fn waiting_max(self) -> u64 {
        match self {
            Self::Keys => UNINDEXED_MAX,
            Self::Lists => UNLISTED_MAX,
        }
    }
}

/// What the writer knows about keys, and how far the index tables are behind.
#[derive(Debug)]
pub(super) struct EventIndex {
    engine: Engine,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: KeyMemory,
    /// How many of the rows that were ever written lists find, from the first on.
    listed: u64,
}

impl State {
    fn done(&self, part: Part) -> u64 {
        match part {
            Part::Keys => self.keys.indexed(),
            Part::Lists => self.listed,
        }
    }
}

impl EventIndex {
    /// Knows nothing yet. On SQLite nothing may be written before [`EventIndex::load`].
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, state: Mutex::default() }
    }

    /// Which database this is about.
    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// What is known about `key`.
    pub(super) fn lookup(&self, key: DedupKey) -> Known {
        match (self.state().keys.lookup(key), self.engine) {
            // Another replica may have it.
            (Known::Free, Engine::MySql) => Known::Unknown,
            (known, _) => known,
        }
    }

    /// Remembers keys whose rows are on disk now, in the order of the rows.
    pub(super) fn remember<'k>(&self, written: impl Iterator<Item = (DedupKey, &'k EventId)>) {
        let mut state = self.state();
        for (key, id) in written {
            state.keys.insert(key, id.clone());
        }
        if self.engine == Engine::MySql {
            state.keys.add_indexed(u64::MAX);
            state.keys.forget_indexed(KEYS_MAX);
        }
    }

    /// Forgets every key that the index holds: some of their events may have been deleted just now.
    pub(super) fn forget(&self) {
        self.state().keys.forget_indexed(0);
    }

    /// Rows written by this process so far.
    pub(super) fn written(&self) -> u64 {
        self.state().keys.written()
    }

    /// Whether some of the first `written` rows wait for `part`.
    pub(super) fn is_behind(&self, part: Part, written: u64) -> bool {
        self.engine == Engine::Sqlite && self.state().done(part) < written
    }

    /// For what any row waits.
    pub(super) fn behind(&self) -> Option<Part> {
        self.waits_for(|_| 1)
    }

    /// For what so many rows wait that it should be done under load too.
    pub(super) fn due(&self) -> Option<Part> {
        self.waits_for(Part::waiting_max)
    }

    fn waits_for(&self, least: impl Fn(Part) -> u64) -> Option<Part> {
        let state = self.state();
        let waiting = |part| state.keys.written().saturating_sub(state.done(part));
        [Part::Keys, Part::Lists].into_iter().find(|&part| waiting(part) >= least(part))
    }

    /// Starts from what the file says: indexes the keys that a crash left behind, then asks where they end.
    pub(super) async fn load(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        conn.execute(Engine::Sqlite.begin()).await?;
        while !index_slice(conn, Part::Keys).await?.all {}
        let row = conn.fetch_one("SELECT MAX(dedup_key) FROM event_key_index").await?;
        let highest = Columns::of(&row).parse_optional("dedup_key", DedupKey::parse)?;
        let (listed, newest) = done_and_newest(conn, Part::Lists).await?;
        conn.execute("COMMIT").await?;
        let unlisted = u64::try_from(newest.saturating_sub(listed)).unwrap_or(0);
        let mut state = self.state();
        // Numbers count back from the newest row, so that one who waits for a number goes on waiting for its row.
        let written = state.keys.written().max(unlisted);
        *state = State { keys: KeyMemory::below(highest, written), listed: written - unlisted };
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings a part of SQLite's index tables on by one slice.
pub(super) struct IndexEvents {
    index: Arc<EventIndex>,
    part: Part,
}

impl IndexEvents {
    pub(super) fn new(index: Arc<EventIndex>, part: Part) -> Self {
        Self { index, part }
    }
}

/// What one slice brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indexed {
    rows: u64,
    /// Whether the index has every row now. The writer is alone: none has come since.
    all: bool,
}

impl Write for IndexEvents {
    type Output = Indexed;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Indexed, StoreError> {
        index_slice(conn, self.part).await
    }

    fn committed(&self, indexed: &Indexed) {
        let rows = if indexed.all { u64::MAX } else { indexed.rows };
        let mut state = self.index.state();
        match self.part {
            Part::Keys => {
                state.keys.add_indexed(rows);
                state.keys.forget_indexed(KEYS_MAX);
            }
            Part::Lists => state.listed = state.listed.saturating_add(rows).min(state.keys.written()),
        }
    }
}

/// How many bits of `seq` count the events inside a segment of the index by user.
const SEGMENT_BITS: u32 = 15;

/// The segments to look through for a user's events at or below `seq`, newest first.
pub(super) fn segments_below(seq: i64) -> impl Iterator<Item = i64> {
    (0..=seq >> SEGMENT_BITS).rev()
}

/// Copies what `part` has of the oldest events that wait for it.
async fn index_slice(conn: &mut AnyConnection, part: Part) -> Result<Indexed, StoreError> {
    let (done, newest) = done_and_newest(conn, part).await?;
    let up_to = newest.min(done.saturating_add(SLICE));
    let mut rows = 0;
    for statement in part.statements() {
        rows = conn.execute(sqlx::query(*statement).bind(done).bind(up_to)).await?.rows_affected();
    }
    conn.execute(sqlx::query("DELETE FROM facts WHERE name = ?").bind(part.fact())).await?;
    let fact = sqlx::query("INSERT INTO facts (name, value) VALUES (?, ?)").bind(part.fact()).bind(up_to);
    conn.execute(fact).await?;
    Ok(Indexed { rows, all: up_to == newest })
}

/// The last `seq` that `part` has, and that of the newest event.
async fn done_and_newest(conn: &mut AnyConnection, part: Part) -> Result<(i64, i64), StoreError> {
    let query = sqlx::query(
        "SELECT COALESCE((SELECT value FROM facts WHERE name = ?), 0), COALESCE((SELECT MAX(seq) FROM events), 0)",
    );
    let row = conn.fetch_one(query.bind(part.fact())).await?;
    let mut columns = Columns::of(&row);
    Ok((columns.take()?, columns.take()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(index: &EventIndex, numbers: std::ops::Range<u64>) {
        let rows: Vec<_> = numbers
            .map(|number| {
                let hash = u128::from(number).to_be_bytes();
                (DedupKey::new(None, &hash), EventId::from(u128::from(number)))
            })
            .collect();
        index.remember(rows.iter().map(|(key, id)| (*key, id)));
    }

    #[test]
    fn keys_wait_for_a_quiet_moment_up_to_their_number_and_lists_longer() {
        let index = Arc::new(EventIndex::new(Engine::Sqlite));
        let sliced = |part, rows, all| {
            IndexEvents::new(Arc::clone(&index), part).committed(&Indexed { rows, all });
        };
        assert_eq!((index.behind(), index.due()), (None, None));
        written(&index, 0..UNINDEXED_MAX - 1);
        assert_eq!((index.behind(), index.due()), (Some(Part::Keys), None));
        written(&index, UNINDEXED_MAX - 1..UNINDEXED_MAX);
        assert_eq!(index.due(), Some(Part::Keys));
        sliced(Part::Keys, 2_048, false);
        assert_eq!((index.behind(), index.due()), (Some(Part::Keys), None));
        assert!(!index.is_behind(Part::Keys, 2_048) && index.is_behind(Part::Keys, 2_049));
        sliced(Part::Keys, 0, true);
        assert_eq!((index.behind(), index.due()), (Some(Part::Lists), None));
        sliced(Part::Lists, 0, true);
        assert_eq!(index.behind(), None);
        index.state().listed = 0;
        for from in (UNINDEXED_MAX..UNLISTED_MAX).step_by(usize::try_from(UNINDEXED_MAX).unwrap()) {
            assert_eq!(index.due(), None);
            written(&index, from..from + UNINDEXED_MAX);
            sliced(Part::Keys, 0, true);
        }
        assert_eq!(index.due(), Some(Part::Lists));
        let held = index.state().keys.len();
        assert_eq!(held, KEYS_MAX, "what the index has is forgotten");
    }
}
