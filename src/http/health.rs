//! Whether the gateway can do its work, kept fresh by `watch.rs`, read without touching the database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ephemeral::Reach;

/// The state of the gateway. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    stopping: AtomicBool,
    store_away: AtomicBool,
    queue_full: AtomicBool,
    spool_takes: AtomicBool,
    relaxed: AtomicBool,
    redis: Mutex<Reach>,
}

impl Health {
    /// From now on the gateway is not ready: it stops.
    pub fn begin_stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the database answers.
    pub fn set_store(&self, answers: bool) {
        self.0.store_away.store(!answers, Ordering::Relaxed);
    }

    /// Whether callbacks go to a spool that has room.
    pub fn set_spool_takes(&self, takes: bool) {
        self.0.spool_takes.store(takes, Ordering::Relaxed);
    }

    /// Whether the queue in front of the database is nearly full.
    pub fn set_queue_full(&self, full: bool) {
        self.0.queue_full.store(full, Ordering::Relaxed);
    }

    /// Acknowledged callbacks may be lost in a power cut, because the configuration says so.
    pub fn set_relaxed(&self, relaxed: bool) {
        self.0.relaxed.store(relaxed, Ordering::Relaxed);
    }

    /// Whether what replicas share can be reached. Callbacks are accepted either way.
    pub fn set_redis(&self, reach: Reach) {
        *self.0.redis.lock().unwrap_or_else(PoisonError::into_inner) = reach;
    }

    /// Whether what replicas share could be reached when it was last asked.
    pub fn redis(&self) -> Reach {
        *self.0.redis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stops.
    pub fn stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    /// Whether callbacks can be accepted.
    pub fn ready(&self) -> bool {
        !self.stopping() && (self.store_answers() || self.spool_takes()) && !self.queue_full()
    }

    /// `ok`, `degraded`, `unavailable` or `stopping`. Degraded: callbacks are accepted, without the database.
    pub fn word(&self) -> &'static str {
        match (self.stopping(), self.ready()) {
            (true, _) => "stopping",
            (false, true) if self.spool_takes() => "degraded",
            (false, true) => "ok",
            (false, false) => "unavailable",
        }
    }

    /// Whether callbacks went to the spool when it was last looked at.
    pub fn spool_takes(&self) -> bool {
        self.0.spool_takes.load(Ordering::Relaxed)
    }

    /// Whether the database answered when it was last asked.
    pub fn store_answers(&self) -> bool {
        !self.0.store_away.load(Ordering::Relaxed)
    }

    /// Whether the queue was nearly full when it was last looked at.
    pub fn queue_full(&self) -> bool {
        self.0.queue_full.load(Ordering::Relaxed)
    }

    /// Whether durability was relaxed by the configuration.
    pub fn relaxed(&self) -> bool {
        self.0.relaxed.load(Ordering::Relaxed)
    }
}
