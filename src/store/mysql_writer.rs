//! Writing to MySQL: each write is a transaction of its own, in a task of its own, on one of a few connections.
//!
//! Groups of events keep a connection to themselves, because borrowing one costs a round trip. A connection that
//! failed, or whose transaction ended nobody knows how, is closed and never used again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor};
use tokio::sync::Mutex;

use super::connect::Connector;
use super::routing::Routing;
use super::write::{Lane, Write};
use super::{Engine, StoreError, engine, key_notes, migrate};
use crate::clock::Clock;
use crate::sabotage::{self, Protection};
use crate::seals::Seals;

/// Tries of a transaction that others got in the way of.
const TRIES_MAX: u32 = 4;

/// What is brought up to date when the server is reached for the first time.
#[derive(Clone, Debug)]
pub(super) struct Prepare {
    /// Moved to the server's time.
    pub(super) clock: Clock,
    /// Learns who wants events.
    pub(super) routing: Arc<Routing>,
    /// Are checked against the keys that rows were sealed with.
    pub(super) seals: Seals,
}

/// The way into MySQL.
#[derive(Clone, Debug)]
pub(super) struct MySqlWriter {
    connector: Connector,
    pool: AnyPool,
    /// The connection of the groups of events, while nothing is wrong with it.
    events: Arc<Mutex<Option<AnyConnection>>>,
    statement_timeout: Duration,
    prepare: Prepare,
    /// The schema is up to date and the clock stands on the server's time.
    prepared: Arc<AtomicBool>,
}

impl MySqlWriter {
    /// A way to the server, which may be away: it is prepared when it is first reached.
    pub(super) fn new(
        connector: Connector,
        pool: AnyPool,
        statement_timeout: Duration,
        prepare: Prepare,
    ) -> Self {
        Self { connector, pool, events: Arc::default(), statement_timeout, prepare, prepared: Arc::default() }
    }

    /// Reaches the server for the first time; does nothing when that was done.
    pub(super) async fn prepare(&self) -> Result<(), StoreError> {
        if self.prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut place = self.events.lock().await;
        if self.prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut conn = self.connector.writer().await?;
        migrate::migrate(Engine::MySql, &mut conn).await?;
        key_notes::check(&mut conn, &self.prepare.seals).await?;
        self.prepare.clock.anchor_steady(engine::mysql_now_ms(&mut conn).await?);
        self.prepare.routing.load(&mut conn).await?;
        *place = Some(conn);
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the server was reached, and this process is fit for it.
    pub(super) fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    /// Runs `work` and commits. Goes on when the caller is gone.
    pub(super) async fn write<W: Write>(&self, lane: Lane, work: W) -> Result<W::Output, StoreError> {
        let writer = self.clone();
        let transaction = async move { writer.retry(lane, &work).await };
        if sabotage::off(Protection::CancelProof) {
            return transaction.await;
        }
        tokio::spawn(transaction)
            .await
            .unwrap_or_else(|crashed| Err(StoreError::Unavailable(crashed.to_string())))
    }

    async fn retry<W: Write>(&self, lane: Lane, work: &W) -> Result<W::Output, StoreError> {
        self.prepare().await?;
        let mut tries = 1;
        loop {
            let outcome = match lane {
                Lane::Events => self.on_events_connection(work).await,
                Lane::Others => self.on_pooled_connection(work).await,
            };
            match outcome {
                Err(StoreError::Busy) if tries < TRIES_MAX => tries += 1,
                Ok(output) => {
                    work.committed(&output);
                    return Ok(output);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Events can be written twice without harm: their second writing finds the first. So when a connection has
    /// died while it was idle, they are tried again on a fresh one.
    async fn on_events_connection<W: Write>(&self, work: &W) -> Result<W::Output, StoreError> {
        let mut place = self.events.lock().await;
        if let Some(mut conn) = place.take() {
            match self.transact(&mut conn, work).await {
                Ended::Known(outcome) => {
                    *place = Some(conn);
                    return outcome;
                }
                Ended::Unknown(_connection_lost) => {}
            }
        }
        let mut conn = self.connector.writer().await?;
        match self.transact(&mut conn, work).await {
            Ended::Known(outcome) => {
                *place = Some(conn);
                outcome
            }
            Ended::Unknown(error) => Err(error),
        }
    }

    async fn on_pooled_connection<W: Write>(&self, work: &W) -> Result<W::Output, StoreError> {
        let mut conn = self.begin_on_pooled_connection().await?;
        match self.finish(&mut conn, work).await {
            Ended::Known(outcome) => outcome,
            Ended::Unknown(error) => {
                conn.close_on_drop();
                Err(error)
            }
        }
    }

    /// A connection inside a transaction. One that died while it was idle shows here, and the next is taken.
    async fn begin_on_pooled_connection(&self) -> Result<PoolConnection<Any>, StoreError> {
        let mut last = StoreError::Busy;
        for _ in 0..=self.pool.options().get_max_connections() {
            let mut conn = self.pool.acquire().await?;
            match self.execute(&mut conn, Engine::MySql.begin()).await {
                Ok(()) => return Ok(conn),
                Err(error) => {
                    conn.close_on_drop();
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn transact<W: Write>(&self, conn: &mut AnyConnection, work: &W) -> Ended<W::Output> {
        if work.is_one_statement() {
            return match self.in_time(work.run(conn)).await {
                Err(error @ StoreError::Unavailable(_)) => Ended::Unknown(error),
                outcome => Ended::Known(outcome),
            };
        }
        match self.execute(conn, Engine::MySql.begin()).await {
            Ok(()) => self.finish(conn, work).await,
            Err(error) => Ended::Unknown(error),
        }
    }

    /// Runs `work` in the transaction that has begun, and ends it.
    async fn finish<W: Write>(&self, conn: &mut AnyConnection, work: &W) -> Ended<W::Output> {
        let outcome = self.in_time(work.run(conn)).await;
        let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
        match (outcome, self.execute(conn, end).await) {
            (Err(error @ StoreError::Unavailable(_)), _) | (_, Err(error)) => Ended::Unknown(error),
            (outcome, Ok(())) => Ended::Known(outcome),
        }
    }

    async fn execute(&self, conn: &mut AnyConnection, sql: &'static str) -> Result<(), StoreError> {
        self.in_time(async { conn.execute(sql).await.map(drop).map_err(Engine::explain) }).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::time::timeout(self.statement_timeout, work)
            .await
            .unwrap_or_else(|_elapsed| Err(StoreError::Unavailable("no answer in time".to_owned())))
    }
}

/// How a transaction ended.
enum Ended<T> {
    /// Committed or rolled back, and the connection is fine.
    Known(Result<T, StoreError>),
    /// The connection is not to be used again.
    Unknown(StoreError),
}
