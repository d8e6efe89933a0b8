//! A spool file: accepted callbacks on the local disk while the database is away.
//!
//! A SQLite file of its own, locked by the process that uses it, flushed at each commit like the database it stands
//! in for. Rows leave it once the database has them. What the database refuses is set aside in the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor};
use tokio::sync::Mutex;

use super::connect::{self, Connector, sqlite_url_of};
use super::evidence::{self, insert_evidence};
use super::insert::placeholders;
use super::read::Columns;
use super::record::insert_events;
use super::{Engine, NewEvent, StoreError, StoreSettings, StoredEvent, events};
use crate::domain::event::{DedupKey, Event};
use crate::domain::evidence::Evidence;
use crate::domain::sealed::Unopened;
use crate::ids::EventId;
use crate::seals::Seals;
use crate::secret::Secret;

/// What a row costs beside its payload, in the count of bytes.
const ROW_BYTES: u64 = 512;

/// What this process cannot open, for as long as it has the file open.
const WITHHELD: &str = "CREATE TEMP TABLE withheld (event_id TEXT NOT NULL PRIMARY KEY)";

/// Which rows of `events` wait for the database.
const WAITING: &str =
    "id NOT IN (SELECT event_id FROM set_aside) AND id NOT IN (SELECT event_id FROM withheld)";

/// How full a spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolSize {
    /// Callbacks that wait for the database.
    pub rows: u64,
    /// About how many bytes they take.
    pub bytes: u64,
    /// When the oldest was accepted, wall ms; 0 if none waits.
    pub oldest_ms: i64,
    /// Callbacks that the database refused.
    pub set_aside: u64,
    /// Callbacks sealed with a key that this process does not have; they wait for one that has it.
    pub withheld: u64,
}

/// One open spool file.
#[derive(Debug)]
pub struct SpoolFile {
    path: PathBuf,
    conn: Mutex<AnyConnection>,
    rows: AtomicU64,
    bytes: AtomicU64,
    oldest_ms: AtomicI64,
    set_aside: AtomicU64,
    withheld: AtomicU64,
    seals: Seals,
    /// Held as long as the file is open.
    _lock: std::fs::File,
}

impl SpoolFile {
    /// Opens or makes the file at `path`. [`StoreError::InUse`] if a process has it open.
    pub async fn open(path: &Path, seals: &Seals) -> Result<Self, StoreError> {
        let lock = connect::lock_sqlite_file(path)?;
        let settings = StoreSettings::new(Secret::new(sqlite_url_of(path)));
        let mut conn = Connector::new(&settings)?.writer().await?;
        conn.execute(include_str!("migrations/spool/0001_initial.sql")).await?;
        conn.execute(WITHHELD).await?;
        let file = Self {
            path: path.to_owned(),
            conn: Mutex::new(conn),
            rows: AtomicU64::default(),
            bytes: AtomicU64::default(),
            oldest_ms: AtomicI64::default(),
            set_aside: AtomicU64::default(),
            withheld: AtomicU64::default(),
            seals: seals.clone(),
            _lock: lock,
        };
        file.measure().await?;
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How full it is, without asking the file.
    pub fn size(&self) -> SpoolSize {
        SpoolSize {
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            oldest_ms: self.oldest_ms.load(Ordering::Relaxed),
            set_aside: self.set_aside.load(Ordering::Relaxed),
            withheld: self.withheld.load(Ordering::Relaxed),
        }
    }

    /// Adds a group, flushed when this returns. One that is here already is not added again.
    pub async fn append(&self, group: &[NewEvent]) -> Result<(), StoreError> {
        let mut conn = self.conn.lock().await;
        let here = held(&mut conn, group).await?;
        let new: Vec<&NewEvent> = group.iter().filter(|event| !here.contains(&event.id)).collect();
        conn.execute(Engine::Sqlite.begin()).await?;
        let added = async {
            insert_events(&mut conn, &new, &self.seals).await?;
            let evidence: Vec<&Evidence> = new.iter().flat_map(|event| &event.evidence).collect();
            insert_evidence(&mut conn, &evidence, &self.seals).await?;
            conn.execute("COMMIT").await?;
            Ok(())
        };
        if let Err(error) = added.await {
            let _ended_already = conn.execute("ROLLBACK").await;
            return Err(error);
        }
        self.bytes.fetch_add(new.iter().map(|event| row_bytes(event)).sum(), Ordering::Relaxed);
        if self.rows.fetch_add(new.len() as u64, Ordering::Relaxed) == 0 {
            let oldest = new.iter().map(|event| event.accepted_ms).min();
            self.oldest_ms.store(oldest.unwrap_or(0), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The oldest callbacks that wait, at most `rows` and about `bytes` of payload, but at least one. One that
    /// cannot be opened is left in the file and passed over.
    pub async fn oldest(&self, rows: usize, bytes: usize) -> Result<Vec<NewEvent>, StoreError> {
        let mut conn = self.conn.lock().await;
        let sql =
            ["SELECT dedup_key, ", events::COLUMNS, " FROM events WHERE ", WAITING, " ORDER BY seq LIMIT ?"];
        let sql = sql.concat();
        loop {
            let limit = i64::try_from(rows).unwrap_or(i64::MAX);
            let waiting = conn.fetch_all(sqlx::query(AssertSqlSafe(sql.clone())).bind(limit)).await?;
            let (mut found, mut taken) = (Vec::new(), 0_usize);
            for row in &waiting {
                let mut columns = Columns::of(row);
                let dedup_key = columns.parse("dedup_key", DedupKey::parse)?;
                let stored = StoredEvent::take(&mut columns, &self.seals)?;
                let opened = match &stored.unopened {
                    None => evidence::of_event(&mut conn, &stored.id, &self.seals).await,
                    Some(why) => Err(why.clone().into()),
                };
                let evidence = match opened {
                    Err(StoreError::Unopened(why)) => {
                        self.withhold(&mut conn, &stored.id, &why).await?;
                        continue;
                    }
                    evidence => evidence?,
                };
                taken = taken.saturating_add(stored.payload.len());
                if taken > bytes && !found.is_empty() {
                    break;
                }
                found.push(NewEvent { evidence, ..again(stored, dedup_key) });
            }
            if waiting.is_empty() || !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Passes over a callback that cannot be opened.
    async fn withhold(
        &self,
        conn: &mut AnyConnection,
        id: &EventId,
        why: &Unopened,
    ) -> Result<(), StoreError> {
        tracing::error!(event = %id, path = %self.path.display(), %why, "a spooled callback cannot be opened; it stays");
        conn.execute(sqlx::query("INSERT INTO withheld (event_id) VALUES (?)").bind(id.as_str())).await?;
        self.withheld.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Tries again what could not be opened: there may be other keys by now.
    pub async fn look_again(&self) -> Result<(), StoreError> {
        if self.withheld.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let mut conn = self.conn.lock().await;
        conn.execute("DELETE FROM withheld").await?;
        self.count(&mut conn).await
    }

    /// Forgets callbacks that the database has.
    pub async fn remove(&self, group: &[NewEvent]) -> Result<(), StoreError> {
        let mut conn = self.conn.lock().await;
        conn.execute(Engine::Sqlite.begin()).await?;
        for event in group {
            for statement in ["DELETE FROM evidence WHERE event_id = ?", "DELETE FROM events WHERE id = ?"] {
                conn.execute(sqlx::query(statement).bind(event.id.as_str())).await?;
            }
        }
        conn.execute("COMMIT").await?;
        self.waits_no_more(&mut conn, group).await
    }

    /// Keeps a callback that the database refuses out of the way of the others.
    pub async fn set_aside(&self, event: &NewEvent, reason: &str, now_ms: i64) -> Result<(), StoreError> {
        let mut conn = self.conn.lock().await;
        let query = sqlx::query("INSERT INTO set_aside (event_id, reason, at_ms) VALUES (?, ?, ?)");
        // A database may repeat what it refuses.
        let reason = if self.seals.current().is_some() { "refused; the log has the reason" } else { reason };
        conn.execute(query.bind(event.id.as_str()).bind(reason).bind(now_ms)).await?;
        self.set_aside.fetch_add(1, Ordering::Relaxed);
        self.waits_no_more(&mut conn, std::slice::from_ref(event)).await
    }

    async fn waits_no_more(&self, conn: &mut AnyConnection, group: &[NewEvent]) -> Result<(), StoreError> {
        self.rows.fetch_sub(group.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_sub(group.iter().map(row_bytes).sum(), Ordering::Relaxed);
        let sql = ["SELECT accepted_ms FROM events WHERE ", WAITING, " ORDER BY seq LIMIT 1"].concat();
        let oldest = conn.fetch_optional(sqlx::query(AssertSqlSafe(sql))).await?;
        if oldest.is_none() && self.size().withheld == 0 {
            // Sealed rows take a little more than their plaintexts.
            self.bytes.store(0, Ordering::Relaxed);
        }
        let oldest_ms = oldest.as_ref().map(|row| Columns::of(row).take()).transpose()?;
        self.oldest_ms.store(oldest_ms.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    /// Closes the file; one without any row is deleted.
    pub async fn close(self) -> Result<(), StoreError> {
        let size = self.size();
        self.conn.into_inner().close().await?;
        if size.rows == 0 && size.set_aside == 0 && size.withheld == 0 {
            for suffix in ["", "-wal", "-shm", ".lock"] {
                let mut path = self.path.clone().into_os_string();
                path.push(suffix);
                let _gone_already = std::fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// Counts what the file holds.
    async fn measure(&self) -> Result<(), StoreError> {
        let mut conn = self.conn.lock().await;
        self.count(&mut conn).await
    }

    async fn count(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let sql = [
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0), COALESCE(MIN(accepted_ms), 0), \
             (SELECT COUNT(*) FROM set_aside) FROM events WHERE ",
            WAITING,
        ];
        let row = conn.fetch_one(sqlx::query(AssertSqlSafe(sql.concat()))).await?;
        let mut columns = Columns::of(&row);
        let mut number = || columns.take::<i64>().map(|number| u64::try_from(number).unwrap_or(0));
        let (rows, bytes, oldest_ms, set_aside) = (number()?, number()?, number()?, number()?);
        self.rows.store(rows, Ordering::Relaxed);
        self.bytes.store(bytes.saturating_add(rows.saturating_mul(ROW_BYTES)), Ordering::Relaxed);
        self.oldest_ms.store(i64::try_from(oldest_ms).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.set_aside.store(set_aside, Ordering::Relaxed);
        self.withheld.store(0, Ordering::Relaxed);
        Ok(())
    }
}

fn row_bytes(event: &NewEvent) -> u64 {
    ROW_BYTES + event.payload.len() as u64
}

/// Which of `group` are in the file.
async fn held(conn: &mut AnyConnection, group: &[NewEvent]) -> Result<Vec<EventId>, StoreError> {
    let sql = ["SELECT id FROM events WHERE id IN (", &placeholders(group.len()), ")"].concat();
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for event in group {
        query = query.bind(event.id.as_str());
    }
    conn.fetch_all(query)
        .await?
        .iter()
        .map(|row| Columns::of(row).parse("event id", EventId::parse))
        .collect()
}

/// The event as it was accepted, as far as the database keeps it.
fn again(stored: StoredEvent, dedup_key: DedupKey) -> NewEvent {
    let mut event = Event::of_kind(stored.kind, stored.format);
    event.corp_id = stored.corp_id;
    event.user_id = stored.user_id;
    event.external_user_id = stored.external_user_id;
    event.chat_id = stored.chat_id;
    NewEvent {
        id: stored.id,
        source: Arc::from(stored.source),
        dedup_key,
        event,
        payload: stored.payload,
        accepted_ms: stored.accepted_ms,
        evidence: Vec::new(),
    }
}
