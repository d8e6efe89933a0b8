//! SQLite's indexes over events, filled behind the writes in sorted slices.
//!
//! An index on a value without order costs SQLite one page in the log for each row, several times what the row
//! itself costs. So the index tables are filled some thousand rows at a time, sorted, so that neighbours share
//! pages: when it is quiet, when somebody wants a list, and under load only when too many rows wait. A burst of
//! callbacks is then not held up. Until then the keys of the rows are known from memory (`key_memory.rs`), and lists
//! wait for the index. After a restart, and after any failure of the writer, everything is read back from the file.
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

/// Rows that may wait to be indexed; with more it is done under load.
const UNINDEXED_MAX: u64 = 131_072;

/// Rows that are indexed at once, which holds up the callbacks behind it for some milliseconds.
const SLICE: i64 = 2_048;

/// Keys that are remembered beside those that wait: about 100 bytes each.
const KEYS_MAX: usize = 32_768;

/// What the writer knows about keys, and how far the index tables are behind.
#[derive(Debug)]
pub(super) struct EventIndex {
    engine: Engine,
    keys: Mutex<KeyMemory>,
}

impl EventIndex {
    /// Knows nothing yet. On SQLite nothing may be written before [`EventIndex::load`].
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, keys: Mutex::default() }
    }

    /// Which database this is about.
    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// What is known about `key`.
    pub(super) fn lookup(&self, key: DedupKey) -> Known {
        match (self.keys().lookup(key), self.engine) {
            // Another replica may have it.
            (Known::Free, Engine::MySql) => Known::Unknown,
            (known, _) => known,
        }
    }

    /// Remembers keys whose rows are on disk now, in the order of the rows.
    pub(super) fn remember<'k>(&self, written: impl Iterator<Item = (DedupKey, &'k EventId)>) {
        let mut keys = self.keys();
        for (key, id) in written {
            keys.insert(key, id.clone());
        }
        if self.engine == Engine::MySql {
            keys.add_indexed(u64::MAX);
            keys.forget_indexed(KEYS_MAX);
        }
    }

    /// Forgets every key that the index holds: some of their events may have been deleted just now.
    pub(super) fn forget(&self) {
        self.keys().forget_indexed(0);
    }

    /// Rows written by this process so far.
    pub(super) fn written(&self) -> u64 {
        self.keys().written()
    }

    /// Whether some of the first `written` rows wait to be indexed.
    pub(super) fn is_behind(&self, written: u64) -> bool {
        self.keys().indexed() < written
    }

    /// Whether any row waits to be indexed.
    pub(super) fn has_waiting(&self) -> bool {
        self.unindexed() > 0
    }

    /// Whether so many wait that they should be indexed under load too.
    pub(super) fn is_due(&self) -> bool {
        self.unindexed() >= UNINDEXED_MAX
    }

    fn unindexed(&self) -> u64 {
        let keys = self.keys();
        keys.written() - keys.indexed()
    }

    /// Starts from what the file says: indexes what a crash left behind, then asks where the keys end.
    pub(super) async fn load(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        conn.execute(Engine::Sqlite.begin()).await?;
        while !index_slice(conn).await?.all {}
        let row = conn.fetch_one("SELECT MAX(dedup_key) FROM event_key_index").await?;
        let highest = Columns::of(&row).parse_optional("dedup_key", DedupKey::parse)?;
        conn.execute("COMMIT").await?;
        let mut keys = self.keys();
        *keys = KeyMemory::below(highest, keys.written());
        Ok(())
    }

    fn keys(&self) -> MutexGuard<'_, KeyMemory> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings SQLite's index tables on by one slice.
pub(super) struct IndexEvents {
    index: Arc<EventIndex>,
}

impl IndexEvents {
    pub(super) fn new(index: Arc<EventIndex>) -> Self {
        Self { index }
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
        index_slice(conn).await
    }

    fn committed(&self, indexed: &Indexed) {
        let mut keys = self.index.keys();
        keys.add_indexed(if indexed.all { u64::MAX } else { indexed.rows });
        keys.forget_indexed(KEYS_MAX);
    }
}

/// How many bits of `seq` count the events inside a segment of the index by user.
const SEGMENT_BITS: u32 = 15;

/// The segments to look through for a user's events at or below `seq`, newest first.
pub(super) fn segments_below(seq: i64) -> impl Iterator<Item = i64> {
    (0..=seq >> SEGMENT_BITS).rev()
}

/// Copies the keys, kinds and users of the oldest events behind `events_indexed`, each table in its own order.
///
/// `OR IGNORE` is for a file that was edited by hand: one key standing twice must not stop the index for good.
async fn index_slice(conn: &mut AnyConnection) -> Result<Indexed, StoreError> {
    let (indexed, newest) = indexed_and_newest(conn).await?;
    let up_to = newest.min(indexed.saturating_add(SLICE));
    let mut rows = 0;
    for statement in [
        "INSERT OR IGNORE INTO event_key_index (dedup_key, seq) SELECT dedup_key, seq FROM events \
         WHERE seq > ? AND seq <= ? ORDER BY dedup_key",
        "INSERT INTO event_user_index (segment, user_id, seq) SELECT seq >> 15, user_id, seq FROM events \
         WHERE seq > ? AND seq <= ? AND user_id IS NOT NULL ORDER BY seq >> 15, user_id, seq",
        "INSERT INTO event_kind_index (source, kind, seq) SELECT source, kind, seq FROM events \
         WHERE seq > ? AND seq <= ? ORDER BY source, kind, seq",
    ] {
        rows = conn.execute(sqlx::query(statement).bind(indexed).bind(up_to)).await?.rows_affected();
    }
    conn.execute("DELETE FROM facts WHERE name = 'events_indexed'").await?;
    let fact = sqlx::query("INSERT INTO facts (name, value) VALUES ('events_indexed', ?)").bind(up_to);
    conn.execute(fact).await?;
    Ok(Indexed { rows, all: up_to == newest })
}

/// The last `seq` that the index tables hold, and that of the newest event.
async fn indexed_and_newest(conn: &mut AnyConnection) -> Result<(i64, i64), StoreError> {
    let row = conn
        .fetch_one(
            "SELECT COALESCE((SELECT value FROM facts WHERE name = 'events_indexed'), 0), \
             COALESCE((SELECT MAX(seq) FROM events), 0)",
        )
        .await?;
    let mut columns = Columns::of(&row);
    Ok((columns.take()?, columns.take()?))
}
