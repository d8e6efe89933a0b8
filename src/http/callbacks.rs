//! The callback routes: what the platform and other senders call.
//!
//! A callback is answered 200 only when its events are on disk. The handler merely waits for that: a client that
//! hangs up, or the deadline, drops the wait and not the commit. What was wrong with a refused one goes to the log
//! and to its rejection record, never into the answer.
//!
//! The future of `receive` is allocated for every callback and held while its body drips in, so what few callbacks
//! need (a reply, an old address) is in boxes of its own: without them it had 15 KiB.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::domain::evidence;
use crate::http::body::{self, BodyRefusal};
use crate::http::budget::ByteBudget;
use crate::http::metrics::Metrics;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::rejections::{self, Rejections};
use crate::ids::{EventId, IdMaker};
use crate::intake::{Intake, IntakeError};
use crate::replies::{Replies, Reply};
use crate::sabotage::{self, Protection};
use crate::shadow::{About, Mode, Old, SealedRequest, Shadow};
use crate::source::{Accepted, Answer, RawCallback, Refused, Sources};
use crate::store::{NewEvent, Recorded};
use crate::wecom::limits::ReadLimits;
use crate::wecom::refusal::Step;

/// Limits of one callback.
#[derive(Clone, Copy, Debug)]
pub struct CallbackLimits {
    /// Largest body.
    pub body_bytes_max: usize,
    /// Longest time from the last byte of the request to the answer. The platform waits 5 s.
    pub deadline_ms: u64,
    /// How much of its parts is read.
    pub read: ReadLimits,
}

impl Default for CallbackLimits {
    fn default() -> Self {
        Self { body_bytes_max: 1 << 20, deadline_ms: 4_000, read: ReadLimits::default() }
    }
}

/// What the callback routes need.
#[derive(Clone, Debug)]
pub struct CallbackState {
    /// Who may call; swapped whole on reload.
    pub sources: Arc<ArcSwap<Sources>>,
    /// Where events go.
    pub intake: Intake,
    /// Where refusals go.
    pub rejections: Rejections,
    /// The budget over all bodies.
    pub budget: ByteBudget,
    /// What is said at once.
    pub replies: Replies,
    /// Who else gets callbacks as they came.
    pub shadow: Shadow,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The limits.
    pub limits: CallbackLimits,
    /// The time.
    pub clock: Clock,
    /// Makes event ids.
    pub ids: IdMaker,
}

/// The routes. WeCom uses one URL for both methods; PMC documented `/verify`.
pub fn routes(state: CallbackState) -> Router {
    Router::new()
        .route("/api/v1/webhooks/{kind}/{handler}", get(verify).post(receive))
        .route("/api/v1/webhooks/{kind}/{handler}/verify", get(verify))
        .with_state(Arc::new(state))
}

/// URL verification: answers the decrypted plaintext and nothing else.
async fn verify(
    State(state): State<Arc<CallbackState>>,
    Path((kind, handler)): Path<(String, String)>,
    origin: Origin,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let raw = RawCallback {
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
        body: &Bytes::new(),
        limits: state.limits.read,
    };
    match state.sources.load().handshake(&kind, &handler, &raw, state.clock.wall_s()) {
        Ok(plaintext) => Ok(plain(plaintext, "text/plain; charset=utf-8")),
        Err(refused) => Err(state.refuse(&origin, &refused)),
    }
}

/// One callback, from bytes to a flushed row.
async fn receive(
    State(state): State<Arc<CallbackState>>,
    Path((kind, handler)): Path<(String, String)>,
    origin: Origin,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let (parts, body) = request.into_parts();
    let received = body::receive(body, state.limits.body_bytes_max, &state.budget)
        .await
        .map_err(|refusal| state.refuse_body(&origin, refusal))?;
    let query = parts.uri.query().unwrap_or_default();
    let accepted = state
        .open(&kind, &handler, query, &parts.headers, &received.bytes)
        .map_err(|refused| state.refuse(&origin, &refused))?;
    let copied = state.shadow.of(&accepted.source).map(|old| {
        let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
        (old, SealedRequest { query: query.to_owned(), content_type, body: received.bytes.clone() })
    });
    // The payloads are shared slices of what was decrypted; the body itself is no longer needed.
    drop(received);
    state.record(&origin, accepted, copied).await
}

impl CallbackState {
    fn open(
        &self,
        kind: &str,
        handler: &str,
        query: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Accepted, Refused> {
        let raw = RawCallback { query, headers, body, limits: self.limits.read };
        let sources = self.sources.load();
        let received = sources.receive(kind, handler, &raw, self.clock.wall_s());
        match received {
            // A wall clock that was set wrongly, and one that was wrong at the start, turn no good callback away: of
            // the two clocks one is right. A replay is known by its key all the same.
            Err(refused)
                if refused.refusal.step == Step::Timestamp && !sabotage::off(Protection::ClockJumps) =>
            {
                sources.receive(kind, handler, &raw, self.clock.steady_s())
            }
            received => received,
        }
    }

    /// Answers when the events are on disk, or 503 when that takes too long or cannot be.
    async fn record(
        &self,
        origin: &Origin,
        accepted: Accepted,
        copied: Option<(Arc<Old>, SealedRequest)>,
    ) -> Result<Response<Body>, Problem> {
        let Accepted { source, events, answer } = accepted;
        let now_ms = self.clock.wall_ms();
        let deadline = Duration::from_millis(self.limits.deadline_ms);
        let deadline_ms = self.clock.steady_ms().saturating_add_unsigned(self.limits.deadline_ms);
        let new_events: Vec<NewEvent> = events
            .into_iter()
            .map(|read| {
                let id: EventId = self.ids.make();
                let evidence = evidence::from_event(&source, &read.event, &id, now_ms, &self.ids);
                NewEvent {
                    id,
                    source: source.clone(),
                    dedup_key: read.dedup_key,
                    event: read.event,
                    payload: read.payload,
                    accepted_ms: now_ms,
                    evidence,
                }
            })
            .collect();
        let event_id = new_events.first().map(|event| event.id.clone());
        let reply = self.replies.begin(&answer, &new_events, deadline_ms).map(Box::new);
        let (recorded, reply) = match timeout(deadline, self.commit(new_events, reply)).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return Err(self.busy(origin, &source, &error.to_string(), step_of(error))),
            Err(_elapsed) => return Err(self.busy(origin, &source, "the commit took too long", "deadline")),
        };
        let figures = self.metrics.source(&source);
        if recorded.iter().any(|one| matches!(one, Recorded::New)) {
            figures.accepted.increment(1);
        } else {
            figures.repeated.increment(1);
        }
        tracing::debug!(request_id = %origin.request_id, %source, events = recorded.len(), "a callback was accepted");
        let copied = copied.map(|copied| {
            let keys = if let Answer::Passive(keys) = &answer { Some(keys.clone()) } else { None };
            (copied, About { source, event_id, keys })
        });
        let ours = self.say(answer, reply, &recorded, deadline_ms);
        Ok(answer_of(match copied {
            None => ours.await,
            Some((copied, about)) => Box::pin(self.beside_the_old(copied, about, ours, deadline_ms)).await,
        }))
    }

    /// Records the events of one callback. Where somebody is to be asked for a reply, that happens in a task of its
    /// own: a client that hangs up does not keep the one who repeats its callback from the reply.
    async fn commit(
        &self,
        events: Vec<NewEvent>,
        reply: Option<Box<Reply>>,
    ) -> Result<(Vec<Recorded>, Option<Box<Reply>>), IntakeError> {
        let mut reply = match reply {
            Some(reply) if reply.asks() => reply,
            said_or_none => return Ok((self.intake.accept(events).await?, said_or_none)),
        };
        let intake = self.intake.clone();
        let work = tokio::spawn(async move {
            let recorded = intake.accept(events).await;
            reply.committed(recorded.as_ref().ok().and_then(|all| all.first()));
            Ok((recorded?, Some(reply)))
        });
        work.await.unwrap_or(Err(IntakeError::Unavailable))
    }

    /// What we answer.
    async fn say(
        &self,
        answer: Answer,
        reply: Option<Box<Reply>>,
        recorded: &[Recorded],
        deadline_ms: i64,
    ) -> Answer {
        let (Some(reply), Some(recorded)) = (reply, recorded.first()) else { return answer };
        let left_ms = deadline_ms.saturating_sub(self.clock.steady_ms());
        let patience = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        Box::pin(reply.answer(recorded, patience)).await
    }

    /// What is answered while the old address is asked too, or told.
    async fn beside_the_old(
        &self,
        (old, request): (Arc<Old>, SealedRequest),
        about: About,
        ours: impl Future<Output = Answer>,
        deadline_ms: i64,
    ) -> Answer {
        if old.mode == Mode::Answer {
            let (theirs, ours) = tokio::join!(self.shadow.ask(&old, request, deadline_ms), ours);
            return theirs.or(&about, ours);
        }
        let ours = ours.await;
        self.shadow.copy(old, request, about, ours.clone());
        ours
    }

    fn refuse(&self, origin: &Origin, refused: &Refused) -> Problem {
        let Refused { status, source, refusal } = refused;
        self.rejections.note(
            origin,
            rejections::Refused {
                status: *status,
                source: source.as_deref(),
                step: refusal.step.as_str(),
                detail: &refusal.detail,
                expected_receive_id: refusal.expected_receive_id.as_deref(),
                found_receive_id: refusal.found_receive_id.as_deref(),
            },
        );
        Problem::of_status(StatusCode::from_u16(*status).unwrap_or(StatusCode::FORBIDDEN))
    }

    fn refuse_body(&self, origin: &Origin, refusal: BodyRefusal) -> Problem {
        let problem = Problem::from(refusal);
        let status = problem.status().as_u16();
        let detail = refusal.to_string();
        self.rejections.note(
            origin,
            rejections::Refused { status, step: "body", detail: &detail, ..Default::default() },
        );
        Problem::of_status(problem.status())
    }

    fn busy(&self, origin: &Origin, source: &str, detail: &str, step: &'static str) -> Problem {
        let refused =
            rejections::Refused { status: 503, source: Some(source), step, detail, ..Default::default() };
        self.rejections.note(origin, refused);
        Problem::busy(detail)
    }
}

fn step_of(error: IntakeError) -> &'static str {
    match error {
        IntakeError::Busy => "queue",
        IntakeError::Unavailable => "store",
    }
}

fn answer_of(answer: Answer) -> Response<Body> {
    match answer {
        Answer::Empty | Answer::Passive(_) => StatusCode::OK.into_response(),
        Answer::Success => plain(Bytes::from_static(b"success"), "text/plain; charset=utf-8"),
        Answer::Body { content_type, body } => plain(body, content_type),
    }
}

fn plain(body: Bytes, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
