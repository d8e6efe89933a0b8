//! Budgets of addresses over all replicas: what this one gave out is told the others, and what they gave out is
//! charged here, some times a second. Without shared state each replica keeps its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ephemeral::{Ephemeral, Reach};
use crate::http::auth::ApiKeys;
use crate::http::gate::Gate;
use crate::http::rate::AddressRate;
use crate::sabotage::{self, Protection};

/// Most addresses of which others are told at once; the rest follows in the next turn.
const ADDRESSES_MAX: usize = 512;

/// Everything that is shared.
#[derive(Debug)]
pub struct Sharing {
    /// Where.
    pub ephemeral: Ephemeral,
    /// The gate, for the budgets of callers.
    pub gate: Arc<Gate>,
    /// The keys, for the budgets of wrong ones.
    pub keys: ApiKeys,
}

impl Sharing {
    /// Shares until `stop`, and looks after the way to where it is shared.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.ephemeral.clone().run(stop.clone()), self.share_all(stop));
    }

    async fn share_all(&self, stop: CancellationToken) {
        let Some(every_ms) = self.ephemeral.share_every_ms() else { return };
        let mut ticks = interval(Duration::from_millis(every_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            self.share("callbacks", self.gate.callback_rate()).await;
            self.share("api", self.gate.api_rate()).await;
            self.share("wrong-keys", self.keys.wrong_rate()).await;
            let reach = self.ephemeral.reach();
            self.gate.health().set_redis(reach);
            self.gate.metrics().redis_up.set(if reach == Reach::Ok { 1.0 } else { 0.0 });
        }
    }

    async fn share(&self, kind: &'static str, rate: &AddressRate) {
        let uses = rate.tell(ADDRESSES_MAX);
        if uses.is_empty() || sabotage::off(Protection::SharedBudget) {
            return;
        }
        let Some(ahead) = self.ephemeral.charge(kind, &uses).await else { return };
        for (one, ahead_us) in uses.iter().zip(ahead) {
            rate.hear(one.key, ahead_us);
        }
    }
}
