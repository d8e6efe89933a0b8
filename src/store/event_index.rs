//! SQLite's indexes over events, filled behind the writes in sorted batches.
//!
//! An index on a value without order costs SQLite one page in the log for each row, several times what the row
//! itself costs. So the index tables are filled a few thousand rows at a time, sorted, so that neighbours share
//! pages. Until then the keys of the rows are known from memory (`key_memory.rs`), and lists wait for the index.
//! After a restart, and after any failure of the writer, everything is read back from the file.
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

/// Rows waiting to be indexed before it is done under load.
const BATCH: usize = 8_192;

/// Keys that are remembered: about 100 bytes each.
const KEYS_MAX: usize = 32_768;

/// What the writer knows about keys, and how far the index tables are behind.
#[derive(Debug)]
pub(super) struct EventIndex {
    engine: Engine,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: KeyMemory,
    /// Rows written since the index tables were up to date.
    behind: usize,
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

    /// Remembers keys whose rows are on disk now.
    pub(super) fn remember<'k>(&self, written: impl Iterator<Item = (DedupKey, &'k EventId)>) {
        let mut state = self.state();
        for (key, id) in written {
            state.keys.insert(key, id.clone());
            state.behind += 1;
        }
        if self.engine == Engine::MySql {
            state.indexed(usize::MAX);
        }
    }

    /// Forgets every key that the index holds: some of their events may have been deleted just now.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        if state.behind == 0 {
            state.keys.forget_below(0);
        }
    }

    /// Whether rows wait to be indexed.
    pub(super) fn is_behind(&self) -> bool {
        self.state().behind > 0
    }

    /// Whether so many wait that they should be indexed under load too.
    pub(super) fn is_due(&self) -> bool {
        self.state().behind >= BATCH
    }

    /// Starts from what the file says: indexes what a crash left behind, then asks where the keys end.
    pub(super) async fn load(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        conn.execute(Engine::Sqlite.begin()).await?;
        index_rows(conn).await?;
        let row = conn.fetch_one("SELECT MAX(dedup_key) FROM event_key_index").await?;
        let highest = Columns::of(&row).parse_optional("dedup_key", DedupKey::parse)?;
        conn.execute("COMMIT").await?;
        *self.state() = State { keys: KeyMemory::below(highest), behind: 0 };
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The index holds `rows` more rows; what memory has too much of is forgotten once it holds all.
    fn indexed(&mut self, rows: usize) {
        self.behind = self.behind.saturating_sub(rows);
        if self.behind == 0 {
            self.keys.forget_below(KEYS_MAX);
        }
    }
}

/// Brings SQLite's index tables up to date with the events.
pub(super) struct IndexEvents {
    index: Arc<EventIndex>,
}

impl IndexEvents {
    pub(super) fn new(index: Arc<EventIndex>) -> Self {
        Self { index }
    }
}

impl Write for IndexEvents {
    /// Rows written when the statements ran: the writer is alone, so none has come since.
    type Output = usize;

    async fn run(&self, conn: &mut AnyConnection) -> Result<usize, StoreError> {
        let behind = self.index.state().behind;
        if behind > 0 {
            index_rows(conn).await?;
        }
        Ok(behind)
    }

    fn committed(&self, indexed: &usize) {
        self.index.state().indexed(*indexed);
    }
}

/// How many bits of `seq` count the events inside a segment of the index by user.
const SEGMENT_BITS: u32 = 15;

/// The segments to look through for a user's events at or below `seq`, newest first.
pub(super) fn segments_below(seq: i64) -> impl Iterator<Item = i64> {
    (0..=seq >> SEGMENT_BITS).rev()
}

/// Copies the keys, kinds and users of every event behind `events_indexed`, each table in its own order.
///
/// `OR IGNORE` is for a file that was edited by hand: one key standing twice must not stop the index for good.
async fn index_rows(conn: &mut AnyConnection) -> Result<(), StoreError> {
    for statement in [
        "INSERT OR IGNORE INTO event_key_index (dedup_key, seq) SELECT dedup_key, seq FROM events \
         WHERE seq > COALESCE((SELECT value FROM facts WHERE name = 'events_indexed'), 0) ORDER BY dedup_key",
        "INSERT INTO event_kind_index (source, kind, seq) SELECT source, kind, seq FROM events \
         WHERE seq > COALESCE((SELECT value FROM facts WHERE name = 'events_indexed'), 0) \
         ORDER BY source, kind, seq",
        "INSERT INTO event_user_index (segment, user_id, seq) SELECT seq >> 15, user_id, seq FROM events \
         WHERE seq > COALESCE((SELECT value FROM facts WHERE name = 'events_indexed'), 0) \
         AND user_id IS NOT NULL ORDER BY seq >> 15, user_id, seq",
        "DELETE FROM facts WHERE name = 'events_indexed'",
        "INSERT INTO facts (name, value) SELECT 'events_indexed', COALESCE(MAX(seq), 0) FROM events",
    ] {
        conn.execute(sqlx::query(statement)).await?;
    }
    Ok(())
}
