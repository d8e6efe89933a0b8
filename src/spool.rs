//! The spool: accepted callbacks go to the local disk while the database is away, and to the database once it is
//! back.
//!
//! A group that is not committed within the patience is appended to this process's spool file, flushed, and counts
//! as recorded. The commit that was given up may still succeed: event ids are made at accept, so what is drained
//! later is then known as its own earlier commit. One task asks for the database, drains the file through the same
//! commit that the recorder uses, and takes over files that a dead process left in the directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ids::{EventId, IdMaker};
use crate::sabotage::{self, Protection};
use crate::seals::Seals;
use crate::store::{NewEvent, Recorded, SpoolFile, SpoolSize, Store, StoreError};

/// Rows and payload bytes that are drained at once.
const DRAIN_ROWS: usize = 128;
const DRAIN_BYTES: usize = 1 << 20;

/// How often the directory is searched for files of dead processes.
const ADOPT_EVERY: Duration = Duration::from_secs(10);

/// Settings of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Where the files lie: a disk that outlives the process, shared by replicas on one machine.
    pub directory: PathBuf,
    /// About how many bytes may wait; beyond that callbacks are refused.
    pub bytes_max: u64,
    /// How long a commit may take before its callbacks go to the spool.
    pub patience_ms: u64,
    /// How often the database is asked for while it is away.
    pub probe_ms: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self { directory: PathBuf::from("data/spool"), bytes_max: 1 << 30, patience_ms: 300, probe_ms: 500 }
    }
}

/// How the spool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolState {
    /// Whether callbacks go to the spool now.
    pub in_use: bool,
    /// Whether it takes no more.
    pub full: bool,
    /// What waits in this process's file.
    pub size: SpoolSize,
}

/// The spool of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    settings: SpoolSettings,
    clock: Clock,
    file: SpoolFile,
    away: AtomicBool,
    /// When the local disk last took nothing, steady ms.
    refused_ms: AtomicI64,
    ring: Notify,
}

/// How long a local disk that took nothing is said to be full.
const REFUSED_SHOWN_MS: i64 = 5_000;

impl Spool {
    /// Opens a file in the directory: one that a dead process left, or a new one.
    pub async fn open(
        settings: SpoolSettings,
        store: Store,
        clock: Clock,
        ids: &IdMaker,
    ) -> Result<Self, StoreError> {
        let mut own = None;
        for path in files(&settings.directory) {
            own = abandoned(&path, store.seals()).await;
            if own.is_some() {
                break;
            }
        }
        let file = if let Some(file) = own {
            file
        } else {
            let id = ids.make::<EventId>();
            let name = id.as_str().replace(EventId::PREFIX, "spool-") + ".db";
            SpoolFile::open(&settings.directory.join(name), store.seals()).await?
        };
        let shared = Shared {
            store,
            settings,
            clock,
            file,
            away: AtomicBool::new(false),
            refused_ms: AtomicI64::new(i64::MIN),
            ring: Notify::new(),
        };
        if shared.file.size().rows > 0 {
            shared.ring.notify_one();
        }
        Ok(Self(Arc::new(shared)))
    }

    /// Commits a group, in the database or on the local disk. An answer for each event, in the group's order.
    pub async fn commit(&self, group: Arc<Vec<NewEvent>>) -> Vec<Result<Recorded, StoreError>> {
        let shared = &self.0;
        if sabotage::off(Protection::Spool) {
            return shared.store.commit_group(group).await;
        }
        if !shared.away.load(Ordering::Relaxed) {
            let patience = Duration::from_millis(shared.settings.patience_ms);
            let commit = shared.store.commit_group(Arc::clone(&group));
            match timeout(patience, commit).await {
                Ok(answers) if !answers.iter().any(is_away) => return answers,
                _ => shared.goes_away(),
            }
        }
        let answer = shared.append(&group).await;
        group.iter().map(|_| answer.clone().map(|()| Recorded::New)).collect()
    }

    /// How it is doing.
    pub fn state(&self) -> SpoolState {
        SpoolState {
            in_use: self.0.away.load(Ordering::Relaxed),
            full: self.0.is_full() || self.0.refused_lately(),
            size: self.0.file.size(),
        }
    }

    /// Asks for the database while it is away, drains, and adopts, until `stop`. `committed` is told of each group
    /// that the database has now.
    pub async fn run(self, committed: impl Fn(&[NewEvent]) + Send, stop: CancellationToken) {
        let work = async {
            loop {
                self.0.adopt(&committed).await;
                tokio::select! {
                    () = self.0.ring.notified() => {}
                    () = sleep(ADOPT_EVERY) => {}
                }
                if let Err(error) = self.0.file.look_again().await {
                    tracing::error!(%error, "the spool file cannot be read");
                }
                self.0.drain_own(&committed).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }
}

impl Shared {
    fn is_full(&self) -> bool {
        self.file.size().bytes >= self.settings.bytes_max
    }

    async fn append(&self, group: &[NewEvent]) -> Result<(), StoreError> {
        if self.is_full() {
            return Err(StoreError::Busy);
        }
        let appended = self.file.append(group).await;
        match &appended {
            Ok(()) => self.refused_ms.store(i64::MIN, Ordering::Relaxed),
            Err(error) => {
                if !self.refused_lately() {
                    tracing::error!(%error, "the spool takes nothing; callbacks are refused");
                }
                self.refused_ms.store(self.clock.steady_ms(), Ordering::Relaxed);
            }
        }
        appended
    }

    fn refused_lately(&self) -> bool {
        let refused_ms = self.refused_ms.load(Ordering::Relaxed);
        self.clock.steady_ms().saturating_sub(refused_ms) < REFUSED_SHOWN_MS
    }

    fn goes_away(&self) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::error!(path = %self.file.path().display(), "the database is away; callbacks go to the spool");
        }
        self.ring.notify_one();
    }

    fn comes_back(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::warn!(waiting = self.file.size().rows, "the database is back; the spool is drained");
        }
    }

    /// Until the database is here and has everything of this process's file.
    async fn drain_own(&self, committed: &(impl Fn(&[NewEvent]) + Send)) {
        while self.away.load(Ordering::Relaxed) || self.file.size().rows > 0 {
            match self.drain_some(&self.file, committed).await {
                Ok(_) => self.comes_back(),
                Err(error) => {
                    match error {
                        StoreError::Busy | StoreError::Unavailable(_) => {
                            tracing::debug!(%error, "the database is still away");
                        }
                        _ => {
                            tracing::error!(%error, "the database cannot be used; callbacks stay in the spool");
                        }
                    }
                    self.away.store(true, Ordering::Relaxed);
                    sleep(Duration::from_millis(self.settings.probe_ms)).await;
                }
            }
        }
    }

    /// Gives the database the oldest rows of `file`; `false` if it has none, and the database answers.
    async fn drain_some(
        &self,
        file: &SpoolFile,
        committed: &(impl Fn(&[NewEvent]) + Send),
    ) -> Result<bool, StoreError> {
        let group = Arc::new(file.oldest(DRAIN_ROWS, DRAIN_BYTES).await?);
        if group.is_empty() {
            self.store.ping().await?;
            return Ok(false);
        }
        let answers = self.store.commit_group(Arc::clone(&group)).await;
        if answers.iter().any(is_away) {
            return Err(answers.into_iter().find_map(Result::err).unwrap_or(StoreError::Busy));
        }
        let mut done = Vec::with_capacity(group.len());
        for (event, answer) in group.iter().zip(answers) {
            match answer {
                Ok(_) => done.push(event.clone()),
                Err(refused) => {
                    tracing::error!(event = %event.id, error = %refused, "the database refuses a spooled callback");
                    file.set_aside(event, &refused.to_string(), self.clock.wall_ms()).await?;
                }
            }
        }
        file.remove(&done).await?;
        committed(&done);
        Ok(true)
    }

    /// Drains the files of processes that are gone.
    async fn adopt(&self, committed: &(impl Fn(&[NewEvent]) + Send)) {
        for path in files(&self.settings.directory) {
            if path == self.file.path() {
                continue;
            }
            if let Some(file) = abandoned(&path, self.store.seals()).await {
                self.empty(file, committed).await;
            }
        }
    }

    async fn empty(&self, file: SpoolFile, committed: &(impl Fn(&[NewEvent]) + Send)) {
        let rows = file.size().rows;
        if rows > 0 {
            tracing::warn!(path = %file.path().display(), rows, "drains the spool that a dead process left");
        }
        loop {
            match self.drain_some(&file, committed).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "the spool of a dead process waits for the database");
                    return;
                }
            }
        }
        if let Err(error) = file.close().await {
            tracing::warn!(%error, "a drained spool file was not closed cleanly");
        }
    }
}

/// Whether this answer means that the database cannot be used now.
fn is_away<T>(answer: &Result<T, StoreError>) -> bool {
    answer.as_ref().is_err_and(StoreError::is_outage)
}

/// The file at `path`, if no process has it open.
async fn abandoned(path: &Path, seals: &Seals) -> Option<SpoolFile> {
    match SpoolFile::open(path, seals).await {
        Ok(file) => Some(file),
        Err(StoreError::InUse(_)) => None,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "a spool file cannot be read");
            None
        }
    }
}

/// The spool files in `directory`, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_spool = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("spool-") && name.ends_with(".db")
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_spool).collect();
    found.sort();
    found
}
