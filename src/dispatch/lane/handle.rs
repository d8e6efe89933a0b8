//! How others speak to a lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};

use crate::dispatch::queue::Waiting;

/// The way to one lane. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct LaneHandle {
    offers: mpsc::Sender<Waiting>,
    signal: Arc<Signal>,
}

/// What a lane is told; told twice, it is told once.
#[derive(Debug, Default)]
pub(super) struct Signal {
    ring: Notify,
    /// The table has unfinished deliveries.
    look: AtomicBool,
    /// The table has deliveries that memory does not.
    more: AtomicBool,
    /// Deliveries in memory have been changed in the table.
    changed: AtomicBool,
}

impl LaneHandle {
    /// A handle, and what the lane holds of it: offers, at most `offers_max`, and signals.
    pub(super) fn new(offers_max: usize) -> (Self, mpsc::Receiver<Waiting>, Arc<Signal>) {
        let (offers, offered) = mpsc::channel(offers_max);
        let signal = Arc::new(Signal::default());
        (Self { offers, signal: Arc::clone(&signal) }, offered, signal)
    }

    /// Offers a delivery that was just committed; if the lane has no room, it finds it in the table.
    pub(in crate::dispatch) fn offer(&self, waiting: Waiting) {
        if self.offers.try_send(waiting).is_err() {
            self.signal.more.store(true, Ordering::Release);
            self.signal.ring.notify_one();
        }
    }

    /// Tells it to look at the table.
    pub(in crate::dispatch) fn look(&self) {
        self.signal.look.store(true, Ordering::Release);
        self.signal.ring.notify_one();
    }

    /// Tells it that somebody has changed what it holds in memory: the table knows better.
    pub(in crate::dispatch) fn look_again(&self) {
        self.signal.changed.store(true, Ordering::Release);
        self.signal.ring.notify_one();
    }

    /// Tells it to look at the clock.
    pub(in crate::dispatch) fn wake(&self) {
        self.signal.ring.notify_one();
    }
}

impl Signal {
    /// Waits until it is told something.
    pub(super) async fn rung(&self) {
        self.ring.notified().await;
    }

    pub(super) fn take_look(&self) -> bool {
        self.look.swap(false, Ordering::AcqRel)
    }

    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    pub(super) fn take_more(&self) -> bool {
        self.more.swap(false, Ordering::AcqRel)
    }
}
