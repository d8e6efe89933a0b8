//! What is said in the answer to a callback: by a rule of the configuration, or by asking a business system.
//!
//! The event is on disk first, and is delivered as usual whatever comes of this. A rule answers every repeat of a
//! callback alike. A business system is asked once, by the call that inserted the event, in a task of its own that a
//! client's hang-up does not stop; a repeat on this replica waits for the same reply, and one that comes later or
//! elsewhere gets an empty answer. What is late, broken or not allowed is an empty answer too.

mod asking;
mod memory;
mod rule;
mod stream;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use url::Url;

pub use rule::{Rule, When};

use crate::clock::Clock;
use crate::domain::event::Format;
use crate::domain::filter::KindPattern;
use crate::endpoint::http::WebClient;
use crate::endpoint::signing::SigningKey;
use crate::entropy::Entropy;
use crate::ids::EventId;
use crate::sabotage::{self, Protection};
use crate::source::{Answer, ReplyKeys};
use crate::store::{NewEvent, Recorded, Store};
use crate::wecom::api::passive::{Frame, Occasion, PassiveReply};
use asking::Question;
use memory::{Memory, Seat};

/// Bounds of asking.
#[derive(Clone, Copy, Debug)]
pub struct ReplyLimits {
    /// Questions under way at once; beyond them callbacks are answered empty.
    pub asks_in_flight_max: usize,
    /// Longest answer of a business system.
    pub answer_bytes_max: usize,
    /// Replies remembered for repeats of their callbacks.
    pub remembered_max: usize,
    /// For how long.
    pub remembered_ms: i64,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self {
            asks_in_flight_max: 256,
            answer_bytes_max: 32_768,
            remembered_max: 1_024,
            remembered_ms: 60_000,
        }
    }
}

/// Who is asked what to say.
pub struct Ask {
    /// Where.
    pub url: Url,
    /// What requests are signed with.
    pub key: SigningKey,
    /// About which events.
    pub kinds: Vec<KindPattern>,
    /// Longest time; never more than is left until the callback's deadline.
    pub timeout_ms: u64,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

/// How one source answers.
#[derive(Debug, Default)]
pub struct SourceReplies {
    /// The first that fits decides.
    pub rules: Vec<Rule>,
    /// Asked if no rule fits.
    pub ask: Option<Arc<Ask>>,
}

/// How sources answer, by their names.
pub type RepliesBySource = HashMap<String, SourceReplies>;

/// Answers callbacks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Replies(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    by_source: ArcSwap<RepliesBySource>,
    client: WebClient,
    memory: Memory,
    permits: Semaphore,
    limits: ReplyLimits,
    store: Store,
    clock: Clock,
    entropy: Entropy,
}

impl Replies {
    /// Answers as `by_source` says, asking through `client`.
    pub fn new(
        by_source: RepliesBySource,
        client: WebClient,
        limits: ReplyLimits,
        store: Store,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        Self(Arc::new(Parts {
            by_source: ArcSwap::from_pointee(by_source),
            client,
            memory: Memory::new(limits.remembered_max, limits.remembered_ms),
            permits: Semaphore::new(limits.asks_in_flight_max),
            limits,
            store,
            clock,
            entropy,
        }))
    }

    /// From now on answers as `by_source` says.
    pub fn reload(&self, by_source: RepliesBySource) {
        self.0.by_source.store(Arc::new(by_source));
    }

    /// What may be said to a callback that is about to be recorded; `None`: nothing. Until `deadline_ms` (steady) a
    /// business system may be asked.
    pub fn begin(&self, answer: &Answer, events: &[NewEvent], deadline_ms: i64) -> Option<Reply> {
        let (Answer::Passive(keys), [event]) = (answer, events) else { return None };
        if let Some(id) = stream::asked_for(&event.event, &event.payload).filter(|_| keys.is_robot()) {
            let what = What::Fed(id);
            return Some(Reply { replies: self.clone(), keys: keys.clone(), event: event.clone(), what });
        }
        let by_source = self.0.by_source.load();
        let own = by_source.get(&*event.source)?;
        let occasion = Occasion { event: &event.event, is_robot: keys.is_robot() };
        if occasion.accepts().is_empty() {
            return None;
        }
        let found = own.rules.iter().find(|rule| rule.fits(&occasion, &event.payload));
        let what = if let Some(rule) = found {
            What::Said(rule.reply().clone())
        } else {
            let kind = event.event.kind.as_str();
            let ask = own.ask.as_ref().filter(|ask| ask.kinds.iter().any(|pattern| pattern.matches(kind)))?;
            let now_ms = self.0.clock.steady_ms();
            What::Asked(Box::new(Asked {
                seat: self.0.memory.take(event.dedup_key, now_ms),
                question: Question::new(Arc::clone(ask), event, keys.is_robot(), deadline_ms),
            }))
        };
        Some(Reply { replies: self.clone(), keys: keys.clone(), event: event.clone(), what })
    }
}

/// A reply in the making.
pub struct Reply {
    replies: Replies,
    keys: ReplyKeys,
    event: NewEvent,
    what: What,
}

enum What {
    Said(PassiveReply),
    /// The rest of a stream that we opened.
    Fed(EventId),
    Asked(Box<Asked>),
}

struct Asked {
    seat: Seat,
    question: Question,
}

impl Reply {
    /// Whether somebody is asked: the commit then belongs into a task of its own, so that whoever repeats the
    /// callback finds the reply even if this caller hangs up.
    pub fn asks(&self) -> bool {
        matches!(self.what, What::Asked(_))
    }

    /// The event is recorded, or could not be: asks, if it was new.
    pub fn committed(&mut self, recorded: Option<&Recorded>) {
        let What::Asked(asked) = &mut self.what else { return };
        if recorded != Some(&Recorded::New) && !sabotage::off(Protection::ReplyOnce) {
            asked.seat.leave();
            return;
        }
        let (slot, question, replies) = (asked.seat.start(), asked.question.clone(), self.replies.clone());
        tokio::spawn(async move {
            let reply = question.ask(&replies.0).await;
            slot.finish(reply);
        });
    }

    /// What to answer, within `patience`.
    pub async fn answer(self, recorded: &Recorded, patience: Duration) -> Answer {
        let source = Arc::clone(&self.event.source);
        let count = |outcome| counted(&source, outcome);
        let said = match self.what {
            What::Fed(id) => return self.replies.rest(&self.keys, &source, &id, patience).await,
            What::Said(reply) => {
                count("rule");
                Some(reply)
            }
            What::Asked(asked) => {
                let found = asked.seat.wait(patience).await;
                if found.is_some() && *recorded != Recorded::New {
                    count("repeated");
                }
                found
            }
        };
        let Some(reply) = said else { return Answer::Empty };
        let Parts { clock, entropy, .. } = &*self.replies.0;
        let now_s = clock.wall_s();
        let occasion = Occasion { event: &self.event.event, is_robot: self.keys.is_robot() };
        // A repeat speaks of the event that was there before.
        let event_id = if let Recorded::Repeat { id } = recorded { id } else { &self.event.id };
        if let Some(body) = reply.opens_stream() {
            let opened = self.replies.0.open(&source, event_id, body, self.event.accepted_ms);
            // Late or not: the member is told what there is.
            let _late = tokio::time::timeout(patience, opened).await;
        }
        match reply.plaintext(&occasion, &Frame { now_s, stream_id: event_id.as_str() }) {
            Ok(plaintext) => self.keys.seal(&plaintext, self.event.event.format, now_s, entropy),
            Err(wrong) => {
                count("wrong");
                tracing::warn!(%source, event = %self.event.id, %wrong, "a reply cannot be said; the answer is empty");
                Answer::Empty
            }
        }
    }
}

impl Replies {
    /// What the platform is told that asks for the rest of the stream `id`.
    async fn rest(&self, keys: &ReplyKeys, source: &str, id: &EventId, patience: Duration) -> Answer {
        match tokio::time::timeout(patience, self.0.told(source, id)).await {
            Ok(Ok(Some(plaintext))) => {
                counted(source, "stream");
                keys.seal(&plaintext, Format::Json, self.0.clock.wall_s(), &self.0.entropy)
            }
            Ok(Ok(None)) => Answer::Empty,
            Ok(Err(error)) => {
                tracing::warn!(source, event = %id, %error, "the rest of a stream cannot be read; the answer is empty");
                Answer::Empty
            }
            Err(_late) => Answer::Empty,
        }
    }
}

/// Counts how an answer came about.
fn counted(source: &str, outcome: &'static str) {
    let source = source.to_owned();
    metrics::counter!("wecom_replies_total", "source" => source, "outcome" => outcome).increment(1);
}
