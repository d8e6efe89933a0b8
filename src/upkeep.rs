//! Retention: what is older than its days is deleted, in slices with pauses, off the hot path.

pub mod alert_robot;
pub mod alerts;
pub mod callback_addresses;
pub mod resealing;

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::RetentionConfig;
use crate::sabotage::{self, Protection};
use crate::store::{Purge, Store, StoreError};

/// How long after one round the next begins.
const ROUND: Duration = Duration::from_mins(10);

/// A start that finds everything older than this may have found a wrong clock.
const GAP_MS: i64 = 7 * DAY_MS;

/// How long a clock that may be wrong is given to be set right.
const DOUBT: Duration = Duration::from_hours(24);

/// The pause between two slices: others write meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a file is kept for being sent: the platform keeps it for three days.
const FILE_DAYS: u32 = 4;

/// How long answers to smart robots are kept: the platform asks for six minutes, and takes one for an hour.
const STREAM_DAYS: u32 = 1;

const DAY_MS: i64 = 86_400_000;

/// Deletes what is old.
#[derive(Debug)]
pub struct Upkeep {
    store: Store,
    days: RetentionConfig,
    clock: Clock,
}

impl Upkeep {
    /// Keeps `store` to `days`.
    pub fn new(store: Store, days: RetentionConfig, clock: Clock) -> Self {
        Self { store, days, clock }
    }

    /// Deletes round after round until `stop`. What fails is tried again in the next round.
    ///
    /// A machine may start with a clock that is years ahead. Then nothing is deleted for a day, in which somebody sets
    /// it: from then on ages are measured by the earlier clock.
    pub async fn run(self, stop: CancellationToken) {
        if self.is_clock_doubtful().await {
            tracing::warn!(
                "the newest event is over a week old: either none came, or the clock is ahead; nothing is deleted for a day"
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(DOUBT) => {}
            }
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.round() => if let Err(error) = outcome {
                    tracing::warn!(%error, "old rows could not be deleted; they are tried again");
                },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(ROUND) => {}
            }
        }
    }

    /// Whether the newest event is so old that the clock may be wrong. A database that does not answer says nothing.
    async fn is_clock_doubtful(&self) -> bool {
        if sabotage::off(Protection::ClockJumps) {
            return false;
        }
        let newest_ms = self.store.newest_event_ms().await.unwrap_or_default();
        newest_ms.is_some_and(|newest_ms| self.clock.age_ms().saturating_sub(newest_ms) > GAP_MS)
    }

    async fn round(&self) -> Result<(), StoreError> {
        for (what, days) in [
            (Purge::Deliveries, self.days.events_days),
            (Purge::Events, self.days.events_days),
            (Purge::LateEvents, self.days.events_days),
            (Purge::Messages, self.days.messages_days),
            (Purge::Evidence, self.days.messages_days),
            (Purge::Rejections, self.days.rejections_days),
            (Purge::Audit, self.days.audit_days),
            (Purge::Files, FILE_DAYS),
            (Purge::SmartRobots, STREAM_DAYS),
        ] {
            let before_ms = self.clock.age_ms().saturating_sub(i64::from(days).saturating_mul(DAY_MS));
            let mut rows: u64 = 0;
            loop {
                let purged = self.store.purge_before(what, before_ms).await?;
                rows = rows.saturating_add(purged.rows);
                if !purged.more {
                    break;
                }
                sleep(PAUSE).await;
            }
            if rows > 0 {
                tracing::info!(?what, rows, "old rows deleted");
            }
        }
        Ok(())
    }
}
