//! Streams of events: server-sent events from the store, at the pace of whoever reads them.
//!
//! A stream reads the store behind its own cursor, so a slow reader holds up nobody and loses nothing, and one that
//! comes back with `Last-Event-ID` goes on where it was, at whichever replica. It ends after a while, when the
//! gateway stops, and when its reader has gone.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::dispatch::content;
use crate::domain::endpoint::PayloadForm;
use crate::domain::filter::KindPattern;
use crate::endpoint::payload::body;
use crate::http::health::Health;
use crate::store::{EventTail, Store, StoredEvent};

/// After news from this process, how long others may join before the store is read.
const GATHER: Duration = Duration::from_millis(20);

/// The version of the body of an event.
const PAYLOAD_VERSION: i64 = 1;

/// Bounds of streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Streams at once.
    pub streams_max: usize,
    /// Events that wait in one stream for its reader.
    pub buffer_events: usize,
    /// A stream that has nothing to say says so this often.
    pub heartbeat_ms: u64,
    /// A stream ends after this time; its reader comes back.
    pub lifetime_ms: i64,
    /// How often the store is read when this process has no news.
    pub poll_ms: u64,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { streams_max: 32, buffer_events: 64, heartbeat_ms: 15_000, lifetime_ms: 600_000, poll_ms: 500 }
    }
}

/// The streams of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Streams {
    store: Store,
    health: Health,
    clock: Clock,
    limits: StreamLimits,
    open: Arc<Semaphore>,
}

/// Which events a stream has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) kinds: Option<KindPattern>,
    pub(crate) source: Option<String>,
    /// What the caller's key allows; empty: all.
    pub(crate) allowed_sources: Vec<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) since_ms: Option<i64>,
}

impl Wanted {
    fn matches(&self, event: &StoredEvent) -> bool {
        // An erased event has nothing to say any more.
        !event.payload.is_empty()
            && self.kinds.as_ref().is_none_or(|kinds| kinds.matches(event.kind.as_str()))
            && self.source.as_ref().is_none_or(|source| *source == event.source)
            && (self.allowed_sources.is_empty() || self.allowed_sources.contains(&event.source))
            && self.user_id.as_ref().is_none_or(|user| event.user_id.as_ref() == Some(user))
            && self.since_ms.is_none_or(|since_ms| event.accepted_ms >= since_ms)
    }
}

/// The reader has gone.
struct Gone;

impl Streams {
    /// Streams of what `store` has, within `limits`.
    pub fn new(store: Store, health: Health, clock: Clock, limits: StreamLimits) -> Self {
        Self { store, health, clock, limits, open: Arc::new(Semaphore::new(limits.streams_max)) }
    }

    /// A place among the streams; `None`: there are too many.
    pub(crate) fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.open).try_acquire_owned().ok()
    }

    /// The body of a stream of what `tail` reads and `wanted` lets through.
    pub(crate) fn body(&self, tail: EventTail, wanted: Wanted, place: OwnedSemaphorePermit) -> Body {
        let (sender, body) = Channel::<Bytes>::new(self.limits.buffer_events.max(1));
        let streams = self.clone();
        tokio::spawn(async move {
            let _reader_gone = streams.run(sender, tail, wanted).await;
            drop(place);
        });
        Body::new(body)
    }

    async fn run(&self, mut out: Sender<Bytes>, mut tail: EventTail, wanted: Wanted) -> Result<(), Gone> {
        let mut arrivals = self.store.arrivals();
        let ends_ms = self.clock.steady_ms().saturating_add(self.limits.lifetime_ms);
        let mut spoke_ms = self.clock.steady_ms();
        say(&mut out, format!("id: {}\n: begins\n\n", tail.cursor())).await?;
        while !self.health.stopping() && self.clock.steady_ms() < ends_ms {
            arrivals.mark_unchanged();
            let events = tail.next().await.unwrap_or_else(|error| {
                tracing::debug!(%error, "a stream waits for the database");
                Vec::new()
            });
            let is_idle = events.is_empty();
            for one in events.iter().filter(|one| wanted.matches(&one.event)) {
                say(&mut out, frame(&one.cursor, &one.event)).await?;
                spoke_ms = self.clock.steady_ms();
            }
            let silent_ms = self.clock.steady_ms().saturating_sub(spoke_ms);
            if u64::try_from(silent_ms).unwrap_or(0) >= self.limits.heartbeat_ms {
                say(&mut out, format!("id: {}\n: nothing new\n\n", tail.cursor())).await?;
                spoke_ms = self.clock.steady_ms();
            }
            if is_idle
                && timeout(Duration::from_millis(self.limits.poll_ms), arrivals.changed()).await.is_ok()
            {
                sleep(GATHER).await;
            }
        }
        Ok(())
    }
}

async fn say(out: &mut Sender<Bytes>, text: String) -> Result<(), Gone> {
    out.send_data(Bytes::from(text)).await.map_err(|_closed| Gone)
}

/// One event as endpoints get it, in one line.
fn frame(cursor: &str, event: &StoredEvent) -> String {
    let body = body(&content(event), PayloadForm::Json, PAYLOAD_VERSION, &[]);
    let mut text = String::with_capacity(body.bytes.len() + 64);
    // JSON has no line breaks of its own, so one `data` line holds it.
    let _infallible = write!(text, "id: {cursor}\ndata: {}\n\n", String::from_utf8_lossy(&body.bytes));
    text
}
