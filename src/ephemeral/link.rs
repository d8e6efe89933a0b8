//! The way to Redis: one connection for all, short time-outs, and a rest after each failure.
//!
//! Whoever asks during a rest is told at once that nobody is there. A rest begins with a second and doubles up to
//! ten; then one caller, or the look that is taken each second, tries again.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sabotage::{self, Protection};
use crate::secret::Secret;

/// How often it is looked whether Redis answers, and takes what is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The first rest after a failure, and the longest.
const REST_MS_MIN: i64 = 1_000;
const REST_MS_MAX: i64 = 10_000;

/// How Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://:password@host:port`, or `rediss://…`; `None` keeps short-lived state in the process.
    pub url: Option<Secret>,
    /// What every key begins with: gateways that must not share have different ones.
    pub prefix: String,
    /// Longest wait for a connection.
    pub connect_timeout_ms: u64,
    /// Longest wait for an answer.
    pub timeout_ms: u64,
    /// How often request budgets are shared.
    pub share_every_ms: u64,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "wecom-gateway".to_owned(),
            connect_timeout_ms: 500,
            timeout_ms: 250,
            share_every_ms: 200,
        }
    }
}

/// Redis did not answer, or not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away;

/// The connection.
pub(super) struct Link {
    client: redis::Client,
    settings: RedisSettings,
    clock: Clock,
    connection: AsyncMutex<Option<MultiplexedConnection>>,
    rest: Mutex<Rest>,
    up: AtomicBool,
}

#[derive(Debug)]
struct Rest {
    until_ms: i64,
    length_ms: i64,
}

impl Link {
    pub(super) fn new(url: &Secret, settings: RedisSettings, clock: Clock) -> Result<Self, String> {
        // A program that links the gateway as a library may have chosen another provider; then that one stays.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let client = redis::Client::open(url.expose())
            .map_err(|error| format!("the address of Redis cannot be used: {}", explain(&error)))?;
        Ok(Self {
            client,
            settings,
            clock,
            connection: AsyncMutex::new(None),
            rest: Mutex::new(Rest { until_ms: i64::MIN, length_ms: 0 }),
            up: AtomicBool::new(false),
        })
    }

    pub(super) fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    /// Whether the last question was answered.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// The full name of a key or channel.
    pub(super) fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.settings.prefix)
    }

    /// The channel on which something is said each second.
    pub(super) fn pulse(&self) -> String {
        self.key("pulse")
    }

    /// Asks `command`, unless Redis has just failed.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        if self.rests() {
            return Err(Away);
        }
        let asked = async {
            let mut connection = self.connect().await?;
            command.query_async(&mut connection).await
        };
        let longest_ms = self.settings.connect_timeout_ms.saturating_add(self.settings.timeout_ms);
        match self.within(longest_ms, asked).await {
            Ok(answer) => {
                self.succeeded();
                Ok(answer)
            }
            Err(why) => {
                *self.connection.lock().await = None;
                self.failed(&why);
                Err(Away)
            }
        }
    }

    /// A connection of its own, for listening.
    pub(super) async fn listen(&self) -> Result<PubSub, Away> {
        if self.rests() {
            return Err(Away);
        }
        let longest_ms = self.settings.connect_timeout_ms.saturating_add(self.settings.timeout_ms);
        let opened = self.within(longest_ms, self.client.get_async_pubsub()).await;
        opened.map_err(|why| {
            self.failed(&why);
            Away
        })
    }

    /// Looks each second whether Redis answers and takes what is written, until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        loop {
            // A write, because a full Redis still answers questions.
            let mut look = redis::cmd("SET");
            look.arg(self.key("alive")).arg(1).arg("PX").arg(60_000);
            if self.ask::<redis::Value>(&look).await.is_ok() {
                // For those who listen on a connection of their own.
                let mut pulse = redis::cmd("PUBLISH");
                pulse.arg(self.pulse()).arg(1);
                let _noted = self.ask::<i64>(&pulse).await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn within<T>(
        &self,
        longest_ms: u64,
        asked: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, String> {
        if sabotage::off(Protection::RedisTimeout) {
            return asked.await.map_err(|error| explain(&error));
        }
        match timeout(Duration::from_millis(longest_ms), asked).await {
            Ok(answered) => answered.map_err(|error| explain(&error)),
            Err(_late) => Err("no answer in time".to_owned()),
        }
    }

    /// The connection, made if there is none; those who come meanwhile wait for it.
    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let limit = |ms| Some(Duration::from_millis(ms)).filter(|_| !sabotage::off(Protection::RedisTimeout));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(limit(self.settings.connect_timeout_ms))
            .set_response_timeout(limit(self.settings.timeout_ms));
        let fresh = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    fn rests(&self) -> bool {
        self.clock.steady_ms() < self.rest().until_ms
    }

    fn succeeded(&self) {
        *self.rest() = Rest { until_ms: i64::MIN, length_ms: 0 };
        if !self.up.swap(true, Ordering::Relaxed) {
            tracing::info!("Redis answers");
        }
    }

    fn failed(&self, why: &str) {
        metrics::counter!("wecom_redis_errors_total").increment(1);
        let now_ms = self.clock.steady_ms();
        let mut rest = self.rest();
        let is_first = rest.length_ms == 0;
        // Several that failed together are one failure.
        if now_ms >= rest.until_ms {
            rest.length_ms = rest.length_ms.saturating_mul(2).clamp(REST_MS_MIN, REST_MS_MAX);
            rest.until_ms = now_ms.saturating_add(rest.length_ms);
        }
        drop(rest);
        if self.up.swap(false, Ordering::Relaxed) || is_first {
            tracing::warn!(error = why, "Redis is away; this replica works by itself until it is back");
        }
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, Rest> {
        // Whole after every statement, so a panic elsewhere has not spoiled it.
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

/// What went wrong, for people.
fn explain(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
