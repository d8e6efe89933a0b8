//! The callback routes: what the platform and other senders call, from bytes to verified events.
//!
//! What was wrong with a refused one goes to the log and to its rejection record, never into the answer. What an
//! accepted one is answered stands in `accepted.rs`.
//!
//! The future of `receive` is allocated for every callback and held while its body drips in, so what few callbacks
//! need (a reply, an old address) is in boxes of its own: without them it had 15 KiB.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;

use crate::clock::Clock;
use crate::http::body::{self, BodyRefusal};
use crate::http::budget::ByteBudget;
use crate::http::metrics::Metrics;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::rejections::{self, Rejections};
use crate::http::route_class::callback_address;
use crate::ids::IdMaker;
use crate::intake::Intake;
use crate::replies::Replies;
use crate::sabotage::{self, Protection};
use crate::shadow::{SealedRequest, Shadow};
use crate::source::{Accepted, RawCallback, Refused, Sources};
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

/// One callback, from bytes to a flushed row, by way of the router.
async fn receive(
    State(state): State<Arc<CallbackState>>,
    Path((kind, handler)): Path<(String, String)>,
    origin: Origin,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let (parts, body) = request.into_parts();
    state.receive(&kind, &handler, &origin, &parts, body).await
}

/// Whether [`CallbackState::take`] answers this request as the router would.
pub(crate) fn is_straight(request: &Request) -> bool {
    request.method() == Method::POST && callback_address(request.uri().path()).is_some()
}

impl CallbackState {
    /// A request that [`is_straight`]. The router would come to the same function; the way there is a twentieth of what
    /// a callback costs.
    pub(crate) async fn take(&self, origin: Origin, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        match callback_address(parts.uri.path()) {
            Some((kind, handler)) => self.receive(kind, handler, &origin, &parts, body).await.into_response(),
            None => Problem::not_found().into_response(),
        }
    }

    async fn receive(
        &self,
        kind: &str,
        handler: &str,
        origin: &Origin,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Body>, Problem> {
        let received = body::receive(body, self.limits.body_bytes_max, &self.budget)
            .await
            .map_err(|refusal| self.refuse_body(origin, refusal))?;
        let query = parts.uri.query().unwrap_or_default();
        let accepted = self
            .open(kind, handler, query, &parts.headers, &received.bytes)
            .map_err(|refused| self.refuse(origin, &refused))?;
        let copied = self.shadow.of(&accepted.source).map(|old| {
            let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
            (old, SealedRequest { query: query.to_owned(), content_type, body: received.bytes.clone() })
        });
        // The payloads are shared slices of what was decrypted; the body itself is no longer needed.
        drop(received);
        self.record(origin, accepted, copied).await
    }

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

    pub(super) fn busy(&self, origin: &Origin, source: &str, detail: &str, step: &'static str) -> Problem {
        let refused =
            rejections::Refused { status: 503, source: Some(source), step, detail, ..Default::default() };
        self.rejections.note(origin, refused);
        Problem::busy(detail)
    }
}

/// 200 with a body.
pub(super) fn plain(body: Bytes, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
