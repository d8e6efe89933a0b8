//! Shadow mode: the sealed request of a verified callback goes, unchanged, to an old callback address too.
//!
//! A copy is made beside the answer, from a bounded queue that nobody waits for; or, while one migrates, the old
//! system is asked first and the platform gets its answer. Either way the event is on disk before, what the old
//! system fails to do hurts nothing, and where its answer differs from ours is counted and shown.

mod compare;
mod differences;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::sync::Semaphore;
use url::Url;

pub use differences::Difference;

use crate::clock::Clock;
use crate::endpoint::http::{WebAnswer, WebClient, WebFault, WebRequest};
use crate::ids::EventId;
use crate::source::{Answer, ReplyKeys};
use compare::{Verdict, compare};
use differences::Differences;

/// What is left of the callback's time for sending the answer.
const RESERVE_MS: i64 = 100;

/// Whose answer the platform gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Ours; the old system gets a copy.
    #[default]
    Copy,
    /// The old system's, if it has one in time; else ours.
    Answer,
}

impl Mode {
    /// Reads the word of the configuration.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "copy" => Some(Self::Copy),
            "answer" => Some(Self::Answer),
            _ => None,
        }
    }
}

/// Bounds of shadow mode.
#[derive(Clone, Copy, Debug)]
pub struct ShadowLimits {
    /// Copies that wait or are on their way; more are dropped, and counted.
    pub queue_max: usize,
    /// Their bytes.
    pub queue_bytes_max: usize,
    /// Requests under way at once.
    pub in_flight_max: usize,
    /// Longest answer that is read.
    pub answer_bytes_max: usize,
    /// Differences remembered, the newest.
    pub differences_max: usize,
}

impl Default for ShadowLimits {
    fn default() -> Self {
        Self {
            queue_max: 1_024,
            queue_bytes_max: 16 << 20,
            in_flight_max: 16,
            answer_bytes_max: 65_536,
            differences_max: 100,
        }
    }
}

/// An old callback address.
#[derive(Clone)]
pub struct Old {
    /// Where.
    pub url: Url,
    /// Whose answer the platform gets.
    pub mode: Mode,
    /// Longest time for one request.
    pub timeout_ms: u64,
}

impl fmt::Debug for Old {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Old").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Old addresses by the names of their sources.
pub type ShadowsBySource = HashMap<String, Arc<Old>>;

/// A verified callback as it came.
#[derive(Clone, Debug)]
pub struct SealedRequest {
    /// The query, without `?`.
    pub query: String,
    /// `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub struct About {
    /// The source.
    pub source: Arc<str>,
    /// The event, as the first of its callback.
    pub event_id: Option<EventId>,
    /// What opens an answer; `None`: answers are not sealed.
    pub keys: Option<ReplyKeys>,
}

/// The shadow. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shadow(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    by_source: ArcSwap<ShadowsBySource>,
    client: WebClient,
    limits: ShadowLimits,
    permits: Semaphore,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    differences: Differences,
    clock: Clock,
}

/// How the old system answered.
type Asked = Result<WebAnswer, WebFault>;

impl Shadow {
    /// Copies as `by_source` says, through `client`.
    pub fn new(by_source: ShadowsBySource, client: WebClient, limits: ShadowLimits, clock: Clock) -> Self {
        Self(Arc::new(Parts {
            by_source: ArcSwap::from_pointee(by_source),
            client,
            permits: Semaphore::new(limits.in_flight_max),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            differences: Differences::new(limits.differences_max),
            limits,
            clock,
        }))
    }

    /// From now on copies as `by_source` says.
    pub fn reload(&self, by_source: ShadowsBySource) {
        self.0.by_source.store(Arc::new(by_source));
    }

    /// The old address of `source`.
    pub fn of(&self, source: &str) -> Option<Arc<Old>> {
        self.0.by_source.load().get(source).cloned()
    }

    /// Where answers differed, newest first.
    pub fn differences(&self) -> Vec<Difference> {
        self.0.differences.list()
    }

    /// Sends a copy, soon, and compares its answer with `ours`.
    pub fn copy(&self, old: Arc<Old>, request: SealedRequest, about: About, ours: Answer) {
        let Some(place) = Place::take(&self.0, request.body.len()) else {
            return counted(&about.source, "dropped");
        };
        let parts = Arc::clone(&self.0);
        tokio::spawn(async move {
            let (asked, took_ms) = parts.send(&old, request, old.timeout_ms).await;
            parts.judge(&about, &asked, &ours, took_ms);
            drop(place);
        });
    }

    /// Asks the old system before `deadline_ms` (steady).
    pub async fn ask(&self, old: &Old, request: SealedRequest, deadline_ms: i64) -> Theirs {
        let left_ms = deadline_ms.saturating_sub(self.0.clock.steady_ms()).saturating_sub(RESERVE_MS);
        let timeout_ms = u64::try_from(left_ms).unwrap_or(0).min(old.timeout_ms);
        let (asked, took_ms) = self.0.send(old, request, timeout_ms).await;
        Theirs { shadow: self.clone(), asked, took_ms }
    }
}

/// What the old system said.
pub struct Theirs {
    shadow: Shadow,
    asked: Asked,
    took_ms: i64,
}

impl Theirs {
    /// Compares it with `ours`, and gives what the platform is to get.
    pub fn or(self, about: &About, ours: Answer) -> Answer {
        self.shadow.0.judge(about, &self.asked, &ours, self.took_ms);
        match self.asked {
            Ok(answer) if answer.http_status == 200 => {
                let content_type = media_type(answer.content_type.as_deref());
                Answer::Body { content_type, body: answer.body }
            }
            _ => ours,
        }
    }
}

/// The media types that callbacks are answered in.
fn media_type(given: Option<&str>) -> &'static str {
    let given = given.unwrap_or_default().to_ascii_lowercase();
    if given.starts_with("application/json") {
        "application/json; charset=utf-8"
    } else if given.ends_with("xml") || given.contains("xml;") {
        "text/xml; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    }
}

impl Parts {
    async fn send(&self, old: &Old, request: SealedRequest, timeout_ms: u64) -> (Asked, i64) {
        let begun_ms = self.clock.steady_ms();
        let sent = async {
            let _permit = self.permits.acquire().await;
            let mut url = old.url.clone();
            let query = match url.query() {
                Some(own) if !own.is_empty() => format!("{own}&{}", request.query),
                _ => request.query,
            };
            url.set_query(Some(&query));
            let headers = request.content_type.map(|value| (header::CONTENT_TYPE, value));
            let request =
                WebRequest { url, headers: headers.into_iter().collect(), body: request.body, timeout_ms };
            self.client.ask(request, self.limits.answer_bytes_max).await
        };
        // Waiting for a turn counts: the answer of a callback has no more time than this.
        let asked = tokio::time::timeout(Duration::from_millis(timeout_ms), sent).await;
        let took_ms = self.clock.steady_ms().saturating_sub(begun_ms);
        (asked.unwrap_or(Err(WebFault::Late(timeout_ms))), took_ms)
    }

    fn judge(&self, about: &About, asked: &Asked, ours: &Answer, took_ms: i64) {
        let Verdict { outcome, ours, theirs, http_status } = compare(asked, ours, about.keys.as_ref());
        counted(&about.source, outcome);
        if outcome == "same" {
            return;
        }
        tracing::warn!(source = &*about.source, outcome, "the old system answered in another way");
        self.differences.add(Difference {
            at_ms: self.clock.wall_ms(),
            source: Arc::clone(&about.source),
            event_id: about.event_id.clone(),
            outcome,
            ours,
            theirs,
            http_status,
            took_ms,
        });
    }
}

fn counted(source: &str, outcome: &'static str) {
    let source = source.to_owned();
    metrics::counter!("wecom_shadow_total", "source" => source, "outcome" => outcome).increment(1);
}

/// One copy's place in the queue.
struct Place {
    parts: Arc<Parts>,
    bytes: usize,
}

impl Place {
    fn take(parts: &Arc<Parts>, bytes: usize) -> Option<Self> {
        let place = Self { parts: Arc::clone(parts), bytes };
        let waiting = parts.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting_bytes = parts.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = waiting < parts.limits.queue_max
            && waiting_bytes.saturating_add(bytes) <= parts.limits.queue_bytes_max;
        fits.then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.parts.waiting.fetch_sub(1, Ordering::AcqRel);
        self.parts.waiting_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::guard::{Guard, GuardRules};
    use crate::endpoint::http::WebSettings;

    #[tokio::test]
    async fn the_queue_ends_at_its_edges() {
        let limits = ShadowLimits { queue_max: 2, queue_bytes_max: 10, ..ShadowLimits::default() };
        let client = WebClient::new(WebSettings::default(), Guard::new(GuardRules::default())).unwrap();
        let shadow = Shadow::new(HashMap::new(), client, limits, Clock::manual(0));
        let (first, second) = (Place::take(&shadow.0, 5), Place::take(&shadow.0, 5));
        assert!(first.is_some() && second.is_some());
        assert!(Place::take(&shadow.0, 0).is_none(), "two copies are all there may be");
        drop(second);
        assert!(Place::take(&shadow.0, 6).is_none(), "eleven bytes are one too many");
        assert!(Place::take(&shadow.0, 5).is_some());
        drop(first);
        assert_eq!(shadow.0.waiting.load(Ordering::Acquire), 0);
        assert_eq!(shadow.0.waiting_bytes.load(Ordering::Acquire), 0);
    }

    #[test]
    fn an_answer_keeps_its_kind() {
        for (given, kept) in [
            (None, "text/plain; charset=utf-8"),
            (Some("application/xml"), "text/xml; charset=utf-8"),
            (Some("Text/XML; charset=gbk"), "text/xml; charset=utf-8"),
            (Some("application/json"), "application/json; charset=utf-8"),
            (Some("text/html"), "text/plain; charset=utf-8"),
        ] {
            assert_eq!(media_type(given), kept, "{given:?}");
        }
    }
}
