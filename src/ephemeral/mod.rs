//! Short-lived state that replicas share: access tokens, request budgets, rings of the bell. It lies in Redis.
//!
//! Losing it loses nothing: without Redis, or while it is away, wrong or slow, every replica works by itself, asks
//! for its own tokens, keeps its own budgets and finds by looking what it would have been told. Nothing that a
//! callback's answer waits for asks Redis.

mod bell;
mod budgets;
mod link;
mod tokens;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use bell::{Bell, Rung, Topic};
pub use budgets::Use;
pub use link::RedisSettings;
pub use tokens::{Shelf, Taken};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::secret::Secret;
use link::Link;

/// Whether there is shared state, and whether it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// None is configured.
    #[default]
    Off,
    /// It answers.
    Ok,
    /// It does not; each replica works by itself.
    Away,
}

impl Reach {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ok => "ok",
            Self::Away => "unavailable",
        }
    }
}

/// The shared state, or its absence. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ephemeral {
    link: Option<Arc<Link>>,
    bell: Bell,
    entropy: Entropy,
}

impl Ephemeral {
    /// Shares by way of Redis, if there is one in `settings`. Connects later: a start does not wait for it.
    ///
    /// # Errors
    /// The address cannot be one; without the password.
    pub fn new(settings: &RedisSettings, clock: &Clock, entropy: &Entropy) -> Result<Self, String> {
        let link = match &settings.url {
            None => None,
            Some(url) => Some(Arc::new(Link::new(url, settings.clone(), clock.clone())?)),
        };
        Ok(Self { bell: Bell::new(link.is_some()), link, entropy: entropy.clone() })
    }

    /// Shares nothing.
    pub fn local() -> Self {
        Self { link: None, bell: Bell::new(false), entropy: Entropy::system() }
    }

    /// Whether it answered when it was last asked.
    pub fn reach(&self) -> Reach {
        self.link.as_ref().map_or(Reach::Off, |link| if link.is_up() { Reach::Ok } else { Reach::Away })
    }

    /// Tells other replicas, and hears them.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Where the token of the app `secret` lies; `whom` tells apart who may use one secret.
    pub fn shelf(&self, whom: &[&str], secret: &Secret) -> Option<Shelf> {
        Shelf::new(self.link.clone()?, whom, secret, &self.entropy)
    }

    /// Charges `uses` of the budget `kind`; how far each is ahead of its budget now, in µs, over all replicas.
    /// `None`: nobody knows.
    pub async fn charge(&self, kind: &'static str, uses: &[Use]) -> Option<Vec<i64>> {
        budgets::charge(self.link.as_deref()?, kind, uses).await
    }

    /// How often budgets are shared; `None`: never.
    pub fn share_every_ms(&self) -> Option<u64> {
        self.link.as_ref().map(|link| link.settings().share_every_ms)
    }

    /// Looks after the connection until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Some(link) = self.link else { return };
        tokio::join!(link.watch(stop.clone()), self.bell.run(&link, stop));
    }
}
