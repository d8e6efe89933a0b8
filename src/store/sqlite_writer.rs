//! SQLite's only writer: a task that owns the connection and puts what waits into one flush.
//!
//! Two lanes, taken in turns: at most one group of events and at most [`OTHERS_PER_TURN`] other writes share a
//! transaction, so neither lane waits longer than one turn. When a turn fails, each of its writes is run again in
//! a transaction of its own, so that only the faulty one fails.

use std::sync::Arc;

use sqlx::AnyConnection;
use sqlx::Executor;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::connect::Connector;
use super::event_index::{EventIndex, IndexEvents, Part};
use super::write::{Job, Lane, Pending, Write};
use super::{Engine, StoreError, sqlite_checkpoint};

/// Writes of the second lane in one turn.
const OTHERS_PER_TURN: usize = 16;

/// How long nothing may come before the index is brought up to date.
const QUIET: std::time::Duration = std::time::Duration::from_millis(50);

/// The way to the writer task. When the last one is dropped, the task writes what waits and ends.
#[derive(Clone)]
pub(super) struct SqliteWriter {
    events: mpsc::UnboundedSender<Box<dyn Job>>,
    others: mpsc::UnboundedSender<Box<dyn Job>>,
}

impl std::fmt::Debug for SqliteWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteWriter")
    }
}

impl SqliteWriter {
    /// Starts the task on an open connection; the handle ends when the connection is closed.
    pub(super) fn start(
        connector: Connector,
        conn: AnyConnection,
        index: Arc<EventIndex>,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (events_in, events) = mpsc::unbounded_channel();
        let (others_in, others) = mpsc::unbounded_channel();
        let (turns, turns_seen) = watch::channel(0);
        let checkpoints = sqlite_checkpoint::start(connector.clone(), turns_seen);
        let task = WriterTask { connector, conn: Some(conn), index, events, others, turns, checkpoints };
        (Self { events: events_in, others: others_in }, tokio::spawn(task.run()))
    }

    /// Hands `work` over and waits for its commit. It goes on when the caller is gone.
    pub(super) async fn write<W: Write>(&self, lane: Lane, work: W) -> Result<W::Output, StoreError> {
        let (job, answer) = Pending::new(work);
        let queue = match lane {
            Lane::Events => &self.events,
            Lane::Others => &self.others,
        };
        let ended = |()| StoreError::Unavailable("the writer has ended".to_owned());
        queue.send(job).map_err(|_job| ended(()))?;
        answer.await.map_err(|_gone| ended(()))?
    }
}

struct WriterTask {
    connector: Connector,
    /// `None` after a failure nobody can reason about: the next turn opens a new one.
    conn: Option<AnyConnection>,
    index: Arc<EventIndex>,
    events: mpsc::UnboundedReceiver<Box<dyn Job>>,
    others: mpsc::UnboundedReceiver<Box<dyn Job>>,
    /// Counts turns, for the checkpoints.
    turns: watch::Sender<u64>,
    checkpoints: JoinHandle<()>,
}

impl WriterTask {
    async fn run(mut self) {
        while let Some(turn) = self.next_turn().await {
            if !turn.is_empty() {
                self.write_turn(turn).await;
                self.turns.send_modify(|turns| *turns = turns.wrapping_add(1));
            }
            if let Some(part) = self.index.due() {
                self.index_slice(part).await;
            }
        }
        // Lists go on after the next start.
        while self.index.behind() == Some(Part::Keys) && self.index_slice(Part::Keys).await {}
        drop(self.turns);
        if let Err(crashed) = self.checkpoints.await {
            tracing::error!(%crashed, "checkpoints did not end in order");
        }
        if let Some(conn) = self.conn.take() {
            use sqlx::Connection as _;
            if let Err(error) = conn.close().await {
                tracing::warn!(%error, "the database was not closed cleanly");
            }
        }
    }

    /// What shares the next flush. Empty: it is quiet. `None`: everyone who could write is gone.
    async fn next_turn(&mut self) -> Option<Vec<Box<dyn Job>>> {
        let mut turn = Vec::new();
        tokio::select! {
            biased;
            Some(job) = self.events.recv() => turn.push(job),
            Some(job) = self.others.recv() => {
                turn.push(job);
                turn.extend(self.events.try_recv().ok());
            }
            () = tokio::time::sleep(QUIET), if !self.events.is_closed() && self.index.behind().is_some() => {
                self.catch_up().await;
            }
            else => return None,
        }
        while turn.len() <= OTHERS_PER_TURN
            && let Ok(job) = self.others.try_recv()
        {
            turn.push(job);
        }
        turn.retain(|job| !job.abandoned());
        Some(turn)
    }

    async fn write_turn(&mut self, mut turn: Vec<Box<dyn Job>>) {
        match self.transact(&mut turn).await {
            Ok(()) => turn.into_iter().for_each(Job::committed),
            Err(error) if turn.len() == 1 => turn.into_iter().for_each(|job| job.failed(error.clone())),
            Err(_one_of_them) => {
                for job in turn {
                    let mut alone = vec![job];
                    let outcome = self.transact(&mut alone).await;
                    for job in alone {
                        match &outcome {
                            Ok(()) => job.committed(),
                            Err(error) => job.failed(error.clone()),
                        }
                    }
                }
            }
        }
    }

    /// Runs `jobs` in one transaction. After a failure the file holds nothing of them.
    async fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let mut conn = self.take_connection().await?;
        let outcome = match jobs {
            [job] if job.is_one_statement() => job.run(&mut conn).await,
            jobs => {
                let outcome = in_transaction(&mut conn, jobs).await;
                if outcome.is_err() && conn.execute("ROLLBACK").await.is_err() {
                    // It did not begin, or cannot end: closing it is what is certain.
                    return outcome;
                }
                outcome
            }
        };
        if !matches!(outcome, Err(StoreError::Unavailable(_))) {
            self.conn = Some(conn);
        }
        outcome
    }

    async fn take_connection(&mut self) -> Result<AnyConnection, StoreError> {
        if let Some(conn) = self.conn.take() {
            return Ok(conn);
        }
        let mut conn = self.connector.writer().await?;
        self.index.load(&mut conn).await?;
        Ok(conn)
    }

    /// Fills the index tables until nothing is missing, somebody wants to write, or the store is closed.
    async fn catch_up(&mut self) {
        while let Some(part) = self.index.behind() {
            let is_wanted = !self.events.is_empty() || !self.others.is_empty() || self.events.is_closed();
            if is_wanted || !self.index_slice(part).await {
                return;
            }
        }
    }

    /// Brings a part of the index tables on by one slice; `false` if that failed.
    async fn index_slice(&mut self, part: Part) -> bool {
        let (job, _answer) = Pending::new(IndexEvents::new(Arc::clone(&self.index), part));
        let mut slice: Vec<Box<dyn Job>> = vec![job];
        let outcome = self.transact(&mut slice).await;
        match outcome {
            Ok(()) => slice.into_iter().for_each(Job::committed),
            Err(ref error) => tracing::error!(%error, "cannot index events"),
        }
        outcome.is_ok()
    }
}

async fn in_transaction(conn: &mut AnyConnection, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    conn.execute(Engine::Sqlite.begin()).await?;
    for job in jobs {
        job.run(conn).await?;
    }
    conn.execute("COMMIT").await?;
    Ok(())
}
