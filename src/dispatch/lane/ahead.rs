//! What deliveries of events carry, read before their turn comes: many events in one read, while others are sent.

use std::collections::HashMap;
use std::future;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::Lane;
use crate::ids::EventId;
use crate::store::{Store, StoreError, StoredEvent};

/// Events that are read at once.
const AT_ONCE: usize = 64;

/// With fewer at hand for the next deliveries, more are read.
const AT_HAND_MIN: usize = 48;

type Events = HashMap<EventId, Arc<StoredEvent>>;

/// The read that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Ahead(Option<JoinHandle<Result<Events, StoreError>>>);

impl Ahead {
    pub(super) fn is_reading(&self) -> bool {
        self.0.is_some()
    }

    fn begin(&mut self, store: Store, ids: Vec<EventId>) {
        self.0 = Some(tokio::spawn(async move { store.events_of(&ids).await }));
    }

    /// Waits for the end of the read; for ever if none is under way.
    pub(super) async fn end(&mut self) -> Result<Events, StoreError> {
        let Some(reading) = &mut self.0 else { return future::pending().await };
        let read = reading.await;
        self.0 = None;
        // A read that broke off has read nothing; each delivery then reads for itself.
        read.unwrap_or_else(|_broken_off| Ok(Events::new()))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(reading) = &self.0 {
            reading.abort();
        }
    }
}

impl Lane {
    /// Begins to read what the next deliveries carry, unless enough is at hand.
    pub(super) fn read_ahead(&mut self, now_ms: i64) {
        if self.ahead.is_reading() {
            return;
        }
        let unread = self.queue.unread_events(now_ms, AT_HAND_MIN, AT_ONCE);
        if !unread.is_empty() {
            self.ahead.begin(self.shared.store.clone(), unread);
        }
    }

    /// Hands out what was read.
    pub(super) fn have_read(&mut self, read: Result<Events, StoreError>) {
        match read {
            Ok(events) => self.queue.give_events(&events),
            Err(error) => tracing::warn!(target = self.target_id, %error, "events cannot be read ahead"),
        }
    }
}
