//! Who calls us: a request at a handler's address becomes verified events, a deduplication key and an answer.
//!
//! Several sources may share one address; they are told apart by what only the right one can explain: signature,
//! then receive id, then `AgentID`. A refusal is explained to the operator in full and to the caller by a status
//! only. Nothing here waits, stores or reads a clock; a running gateway keeps one [`Sources`] and swaps it whole.

mod custom;
mod plain;
mod reply_keys;
mod sealed;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use custom::CustomSource;
pub use reply_keys::ReplyKeys;
pub use settings::{CallbackKeys, PLAIN_WINDOW_MS, SealedSettings, SourceSettings, WINDOW_MS};

use crate::domain::event::{DedupKey, Event};
use crate::wecom::dedup;
use crate::wecom::event::{self, Reading};
use crate::wecom::limits::ReadLimits;
use crate::wecom::refusal::{Refusal, Step};
use settings::WecomSource;

/// The part of the address under which apps and robots of WeCom call: `/api/v1/webhooks/wechat/{handler}`.
pub const WECHAT: &str = "wechat";

/// A request as far as sources look at it.
#[derive(Clone, Copy, Debug)]
pub struct RawCallback<'a> {
    /// The raw query string, without `?`.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a http::HeaderMap,
    /// The body, within the size limit.
    pub body: &'a Bytes,
    /// How much of it is read.
    pub limits: ReadLimits,
}

/// A request that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The source's name.
    pub source: Arc<str>,
    /// What it says; usually one event.
    pub events: Vec<AcceptedEvent>,
    /// What to answer once the events are kept.
    pub answer: Answer,
}

/// One event of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// What it says.
    pub event: Event,
    /// Equal for every repeat.
    pub dedup_key: DedupKey,
    /// The plaintext, word for word.
    pub payload: Bytes,
}

impl AcceptedEvent {
    /// An event of another system, for the source called `source`: repeats are known by the whole payload.
    pub fn new(source: &str, event: Event, payload: Bytes) -> Self {
        let dedup_key = dedup::key_of_identity(source, event.created_s, &payload);
        Self { event, dedup_key, payload }
    }

    /// Reads a plaintext of WeCom's for the source called `source`.
    pub fn read(source: &str, payload: Bytes, limits: &ReadLimits) -> Self {
        Self::of_reading(source, event::reading(&payload, limits), payload)
    }

    /// The same, of what was read already.
    fn of_reading(source: &str, reading: Reading, payload: Bytes) -> Self {
        let dedup_key = dedup::key(source, &reading, &payload);
        Self { event: reading.event, dedup_key, payload }
    }
}

/// The answer to an accepted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 without a body: nothing to say.
    Empty,
    /// 200, empty unless there is something to say; that is then sealed with these.
    Passive(ReplyKeys),
    /// 200 with the word `success`.
    Success,
    /// 200 with a body.
    Body {
        /// Its media type.
        content_type: &'static str,
        /// Its bytes.
        body: Bytes,
    },
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The source, where it is known.
    pub source: Option<Arc<str>>,
    /// Why, for the operator.
    pub refusal: Refusal,
}

impl Refused {
    /// Refused, with the status that belongs to the step.
    pub fn new(source: Option<Arc<str>>, refusal: Refusal) -> Self {
        Self { status: refusal.step.status(), source, refusal }
    }
}

/// One address and who listens there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerInfo {
    /// `wechat`, or a custom source's kind.
    pub kind: String,
    /// The last part of the address.
    pub handler: String,
    /// The names of its sources.
    pub sources: Vec<String>,
    /// Whether one of them is on.
    pub enabled: bool,
}

/// All sources of a gateway, immutable.
#[derive(Clone, Default)]
pub struct Sources {
    handlers: BTreeMap<String, Vec<WecomSource>>,
    custom: Vec<Arc<dyn CustomSource>>,
}

impl Sources {
    /// Checks keys and builds the sources.
    ///
    /// # Errors
    /// Every problem, each with the source's name and without any secret: a key of a wrong form, two sources at one
    /// address that nothing tells apart.
    pub fn build(settings: Vec<SourceSettings>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut handlers: BTreeMap<String, Vec<WecomSource>> = BTreeMap::new();
        for one in settings {
            let handler = one.handler.clone();
            match WecomSource::build(one) {
                Ok(source) if source.can_be_called() => handlers.entry(handler).or_default().push(source),
                Ok(_sends_only) => {}
                Err(found) => problems.extend(found),
            }
        }
        for (handler, sources) in &handlers {
            problems.extend(settings::indistinguishable(handler, sources));
        }
        if problems.is_empty() { Ok(Self { handlers, custom: Vec::new() }) } else { Err(problems) }
    }

    /// Adds a source of the user's own.
    #[must_use]
    pub fn with_custom(mut self, source: Arc<dyn CustomSource>) -> Self {
        self.custom.push(source);
        self
    }

    /// Answers a URL check: the bytes to send back, and nothing around them.
    ///
    /// # Errors
    /// No such address, or the check does not prove itself.
    pub fn handshake(
        &self,
        kind: &str,
        handler: &str,
        raw: &RawCallback<'_>,
        now_s: i64,
    ) -> Result<Bytes, Refused> {
        match self.listener(kind, handler)? {
            Listener::Wecom(sources) => sealed::handshake(&sources, raw),
            Listener::Custom(source) => source.handshake(raw, now_s),
        }
    }

    /// Verifies a delivery and reads its events. `now_s` is wall time in seconds.
    ///
    /// # Errors
    /// No such address, or the delivery does not prove itself.
    pub fn receive(
        &self,
        kind: &str,
        handler: &str,
        raw: &RawCallback<'_>,
        now_s: i64,
    ) -> Result<Accepted, Refused> {
        match self.listener(kind, handler)? {
            Listener::Wecom(sources) if plain::is_plain(raw.headers) => plain::receive(&sources, raw, now_s),
            Listener::Wecom(sources) => sealed::receive(&sources, raw, now_s),
            Listener::Custom(source) => source.receive(raw, now_s),
        }
    }

    /// Every address, in order.
    pub fn handlers(&self) -> Vec<HandlerInfo> {
        let wecom = self.handlers.iter().map(|(handler, sources)| HandlerInfo {
            kind: WECHAT.to_owned(),
            handler: handler.clone(),
            sources: sources.iter().map(|source| source.name.to_string()).collect(),
            enabled: sources.iter().any(|source| source.enabled),
        });
        let custom = self.custom.iter().map(|source| HandlerInfo {
            kind: source.kind().to_owned(),
            handler: source.handler().to_owned(),
            sources: vec![source.name().to_owned()],
            enabled: true,
        });
        wecom.chain(custom).collect()
    }

    /// Who listens at an address.
    fn listener(&self, kind: &str, handler: &str) -> Result<Listener<'_>, Refused> {
        let no_route = |detail: &str| Err(Refused::new(None, Refusal::new(Step::Route, detail)));
        if let Some(source) = self.custom.iter().find(|own| own.kind() == kind && own.handler() == handler) {
            return Ok(Listener::Custom(source.as_ref()));
        }
        let Some(sources) = self.handlers.get(handler).filter(|_| kind == WECHAT) else {
            return no_route("no source listens at this address");
        };
        let enabled: Vec<&WecomSource> = sources.iter().filter(|source| source.enabled).collect();
        if enabled.is_empty() {
            return no_route("every source at this address is switched off");
        }
        Ok(Listener::Wecom(enabled))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.handlers()).finish()
    }
}

/// Who listens at an address.
enum Listener<'a> {
    Wecom(Vec<&'a WecomSource>),
    Custom(&'a dyn CustomSource),
}
