//! Looks around once a second: whether the database answers, how much waits, what has to be written or forgotten.
//!
//! So `/health` and `/metrics` answer from memory, and nobody's question reaches the database by way of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::http::audit::Audit;
use crate::http::auth::ApiKeys;
use crate::http::budget::ByteBudget;
use crate::http::gate::Gate;
use crate::http::rejections::Rejections;
use crate::intake::Intake;
use crate::store::Store;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Every how many looks the rows are counted, and idle addresses forgotten.
const COUNT_EVERY: u32 = 5;
const FORGET_EVERY: u32 = 5;

/// The queue counts as full from this share of its rows on: readiness says no before callbacks are refused.
const QUEUE_FULL_PERCENT: usize = 90;

/// Everything that is looked at.
#[derive(Debug)]
pub struct Watch {
    /// The database.
    pub store: Store,
    /// The queue in front of it.
    pub intake: Intake,
    /// Rows the queue takes.
    pub queue_rows_max: usize,
    /// The gate, for the addresses it remembers.
    pub gate: Arc<Gate>,
    /// The keys, for the addresses they remember.
    pub keys: ApiKeys,
    /// The budget over all bodies.
    pub budget: ByteBudget,
    /// Where refusals wait to be written.
    pub rejections: Rejections,
    /// Where acts wait to be written.
    pub audit: Audit,
    /// The time.
    pub clock: Clock,
}

impl Watch {
    /// Looks until `stop`; what still waits is written then.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            let stopping = tokio::select! {
                _ = ticks.tick() => false,
                () = stop.cancelled() => true,
            };
            self.tidy(looks);
            self.look(looks.is_multiple_of(COUNT_EVERY)).await;
            self.write(stopping).await;
            if stopping {
                return;
            }
            looks = looks.wrapping_add(1);
        }
    }

    fn tidy(&self, looks: u32) {
        let metrics = self.gate.metrics();
        metrics.fold();
        metrics.body_bytes.set(count(self.budget.taken()));
        metrics.queue_depth.set(count(self.intake.depth()));
        self.gate
            .health()
            .set_queue_full(self.intake.depth() * 100 >= self.queue_rows_max * QUEUE_FULL_PERCENT);
        if let Some(spool) = self.intake.spool() {
            self.gate.health().set_spool_takes(spool.in_use && !spool.full);
            metrics.spool.set(spool, self.clock.wall_ms());
        }
        if looks.is_multiple_of(FORGET_EVERY) {
            self.gate.forget_addresses();
            self.keys.forget_addresses();
        }
    }

    async fn look(&self, count_rows: bool) {
        let metrics = self.gate.metrics();
        let answers = self.store.ping().await.is_ok();
        self.gate.health().set_store(answers);
        metrics.store_up.set(if answers { 1.0 } else { 0.0 });
        if !answers || !count_rows {
            return;
        }
        if let Ok(counts) = self.store.counts().await {
            metrics.deliveries_due.set(count(usize::try_from(counts.deliveries_due).unwrap_or(0)));
            for (status, rows) in counts.messages_by_status {
                metrics.set_messages(status, rows);
            }
        }
    }

    async fn write(&self, all: bool) {
        for (what, written) in [
            ("rejections", self.rejections.write(&self.store).await),
            ("audit rows", self.audit.write(&self.store, all).await),
        ] {
            if let Err(error) = written {
                tracing::warn!(%error, "{what} could not be written; they wait");
            }
        }
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
