//! Whom the sender tells what happens: for metrics.

use std::fmt;
use std::sync::Arc;

use crate::domain::delivery::DeliveryState;

/// Called with a target and, in one word, how an attempt at it ended.
type AttemptHook = dyn Fn(&str, &'static str) + Send + Sync;

/// Called with what happened in the queue, and how often.
type QueueHook = dyn Fn(QueueEvent, usize) + Send + Sync;

/// What happens in the queue beside attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueEvent {
    /// A delivery has arrived.
    Completed,
    /// A delivery is given up, or refused for good.
    Failed,
    /// A part of the queue whose owner was silent was taken over.
    Stalled,
}

impl QueueEvent {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Stalled];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
        }
    }

    /// What the end of a delivery in `state` is; `None`: nobody's success or failure.
    pub fn of(state: DeliveryState) -> Option<Self> {
        match state {
            DeliveryState::Succeeded => Some(Self::Completed),
            DeliveryState::Failed | DeliveryState::Dead | DeliveryState::Uncertain => Some(Self::Failed),
            DeliveryState::Queued | DeliveryState::Expired | DeliveryState::Cancelled => None,
        }
    }
}

/// Told how attempts ended, and what became of deliveries. Must not block.
#[derive(Clone, Default)]
pub struct Observer {
    attempts: Option<Arc<AttemptHook>>,
    queue: Option<Arc<QueueHook>>,
}

impl Observer {
    /// Calls `tell` for each attempt.
    pub fn new(tell: impl Fn(&str, &'static str) + Send + Sync + 'static) -> Self {
        Self { attempts: Some(Arc::new(tell)), queue: None }
    }

    /// Calls `tell` for what happens in the queue as well.
    #[must_use]
    pub fn with_queue(mut self, tell: impl Fn(QueueEvent, usize) + Send + Sync + 'static) -> Self {
        self.queue = Some(Arc::new(tell));
        self
    }

    pub(super) fn tell(&self, target_id: &str, ending: &'static str) {
        if let Some(tell) = &self.attempts {
            tell(target_id, ending);
        }
    }

    pub(super) fn tell_queue(&self, event: QueueEvent, times: usize) {
        if let Some(tell) = &self.queue {
            tell(event, times);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.attempts.is_some()).field(&self.queue.is_some()).finish()
    }
}
