//! What every request passes before routing, and every answer after it.
//!
//! In: the length of the URL, the client's address, who may come at all, the address's budget, the coding of the
//! body. Out: problems written out, the request's id, metrics, the last resort for a panic. It is one plain function
//! rather than a stack of layers, because it is on the path of every callback.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::DerefMut;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;
use tower::Service;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::http::callbacks::{self, CallbackState};
use crate::http::health::Health;
use crate::http::limits::HttpLimits;
use crate::http::metrics::Metrics;
use crate::http::origin::Origin;
use crate::http::peer::{self, PeerRules};
use crate::http::problem::{Meant, Problem};
use crate::http::progress::{Progress, Stage};
use crate::http::rate::AddressRate;
use crate::http::rejections::{Refused, Rejections};
use crate::http::request_id::{RequestId, RequestIds, X_REQUEST_ID};
use crate::http::route_class::RouteClass;
use crate::http::wire::WatchedBody;
use crate::sabotage::{self, Protection};

/// What the gate is made of.
#[derive(Clone, Debug)]
pub struct GateSettings {
    /// The limits.
    pub limits: HttpLimits,
    /// Who may come, and who is believed about others.
    pub peers: PeerRules,
}

/// What a listener is for. Health is everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Everything.
    All,
    /// Callbacks, not the API.
    Callbacks,
    /// The API, no callbacks.
    Management,
}

impl Serves {
    fn has(self, class: RouteClass) -> bool {
        match class {
            RouteClass::Callback => self != Self::Management,
            RouteClass::Api => self != Self::Callbacks || sabotage::off(Protection::ManagementApart),
            RouteClass::Public => true,
        }
    }
}

/// The gate in front of the router.
#[derive(Debug)]
pub struct Gate {
    router: Router,
    callbacks: Option<Arc<CallbackState>>,
    settings: GateSettings,
    serves: Serves,
    callback_rate: Arc<AddressRate>,
    api_rate: Arc<AddressRate>,
    ids: Arc<RequestIds>,
    health: Health,
    metrics: Arc<Metrics>,
    rejections: Rejections,
    clock: Clock,
}

impl Gate {
    /// A gate in front of `router`.
    pub fn new(
        router: Router,
        settings: GateSettings,
        health: Health,
        metrics: Arc<Metrics>,
        rejections: Rejections,
        clock: Clock,
        entropy: &Entropy,
    ) -> Self {
        let limits = &settings.limits;
        let rate =
            |per_s, burst| Arc::new(AddressRate::new(per_s, Duration::from_secs(1), burst, clock.clone()));
        Self {
            router,
            callbacks: None,
            serves: Serves::All,
            callback_rate: rate(limits.rate_per_address_per_s, limits.rate_burst),
            api_rate: rate(limits.api_rate_per_address_per_s, limits.api_rate_burst),
            settings,
            ids: Arc::new(RequestIds::new(entropy)),
            health,
            metrics,
            rejections,
            clock,
        }
    }

    /// Hands callbacks straight to `callbacks`, if there are any, where the router would come to the same end.
    #[must_use]
    pub fn with_callbacks(self, callbacks: Option<CallbackState>) -> Self {
        Self { callbacks: callbacks.map(Arc::new), ..self }
    }

    /// A gate for another listener, with the same budgets.
    #[must_use]
    pub fn serving(&self, serves: Serves) -> Self {
        Self {
            router: self.router.clone(),
            callbacks: self.callbacks.clone(),
            settings: self.settings.clone(),
            serves,
            callback_rate: self.callback_rate.clone(),
            api_rate: self.api_rate.clone(),
            ids: self.ids.clone(),
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            rejections: self.rejections.clone(),
            clock: self.clock.clone(),
        }
    }

    pub(crate) fn limits(&self) -> &HttpLimits {
        &self.settings.limits
    }

    pub(crate) fn peers(&self) -> &PeerRules {
        &self.settings.peers
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn callback_rate(&self) -> &AddressRate {
        &self.callback_rate
    }

    pub(crate) fn api_rate(&self) -> &AddressRate {
        &self.api_rate
    }

    /// Forgets addresses that have not come for a while.
    pub(crate) fn forget_addresses(&self) {
        self.callback_rate.forget();
        self.api_rate.forget();
    }

    /// Notes that `peer` was turned away before there was a request; the id under which.
    pub(crate) fn turn_away(&self, peer: SocketAddr, step: &'static str) -> RequestId {
        let request_id = self.ids.make(self.clock.steady_ms());
        let address = peer.ip().to_canonical();
        self.rejections.turned_away(&Origin { request_id, client: address, peer: address }, step);
        request_id
    }

    /// Answers one request. Never fails: hyper would close the connection without a word.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        progress: &Arc<Progress>,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        let began_us = self.clock.steady_us();
        let class = RouteClass::of(request.uri().path());
        let request_id = self.ids.make(began_us / 1000);
        let origin = Origin {
            request_id,
            client: self.settings.peers.client(peer.ip(), request.headers()),
            peer: peer.ip().to_canonical(),
        };
        let client = origin.client;
        let seen = Seen::of(&request);

        progress.enter(
            if request.body().is_end_stream() { Stage::Handling } else { Stage::Body },
            began_us / 1000,
        );
        let answered = if let Err(problem) = self.admit(&request, class, &origin) {
            problem.into_response()
        } else {
            self.in_time(class, pin!(self.route(request, origin, progress))).await
        };

        let mut response = written_out(answered, class, request_id);
        // The platform does nothing with the id of a callback it need not worry about.
        if class != RouteClass::Callback || !response.status().is_success() {
            response.headers_mut().insert(X_REQUEST_ID, request_id.header_value());
        }
        if class != RouteClass::Callback {
            protect(&mut response);
        }
        if self.health.stopping() {
            // Clients leave by themselves then, and few connections are closed under a request on its way.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let ended_us = self.clock.steady_us();
        progress.answered(ended_us / 1000);
        let (status, took_us) = (response.status().as_u16(), ended_us - began_us);
        self.metrics.answered(class, status, took_us);
        if let Some(seen) = seen {
            tracing::debug!(%request_id, method = %seen.method, path = %seen.path, %client, status, took_us, "request");
        }
        Ok(response)
    }

    /// Whether the request may go on to the router.
    fn admit(&self, request: &Request<Incoming>, class: RouteClass, origin: &Origin) -> Result<(), Problem> {
        let outcome = self.check(request, class, origin);
        match (&outcome, class) {
            (Err((step, problem)), RouteClass::Callback) => self
                .rejections
                .note(origin, Refused { status: problem.status().as_u16(), step, ..Refused::default() }),
            (Err((step, _)), _) => self.rejections.turned_away(origin, step),
            (Ok(()), _) => {}
        }
        outcome.map_err(|(_, problem)| problem)
    }

    fn check(
        &self,
        request: &Request<Incoming>,
        class: RouteClass,
        origin: &Origin,
    ) -> Result<(), (&'static str, Problem)> {
        let (limits, peers, client) = (&self.settings.limits, &self.settings.peers, origin.client);
        if !self.serves.has(class) {
            return Err(("route", Problem::not_found()));
        }
        let uri = request.uri();
        let url_bytes = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
        if url_bytes > limits.uri_bytes_max {
            return Err(("url", Problem::url_too_long()));
        }
        let (allowed, rate) = match class {
            RouteClass::Callback => (peers.may_call_back(client), &self.callback_rate),
            RouteClass::Api => (peer::allows(&peers.api_allow, client), &self.api_rate),
            RouteClass::Public => (true, &self.api_rate),
        };
        if !allowed {
            return Err(("address", Problem::of_status(StatusCode::FORBIDDEN)));
        }
        if !peer::contains(&peers.rate_exempt, client) && !peers.platform.hold(client) {
            rate.take(client).map_err(|seconds| ("rate", Problem::too_many(seconds)))?;
        }
        let coded = request.headers().get(header::CONTENT_ENCODING);
        if coded.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(("coding", Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)));
        }
        Ok(())
    }

    /// Gives up what takes too long. Callbacks know their own deadline, and are spared the timer.
    async fn in_time(
        &self,
        class: RouteClass,
        answer: Pin<&mut impl Future<Output = Response<Body>>>,
    ) -> Response<Body> {
        if class == RouteClass::Callback {
            return answer.await;
        }
        let limit = Duration::from_millis(self.settings.limits.handling_timeout_ms);
        timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Problem::busy("the work took too long").into_response())
    }

    /// Lets the router answer, or the callbacks.
    async fn route(
        &self,
        request: Request<Incoming>,
        origin: Origin,
        progress: &Arc<Progress>,
    ) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let body = if incoming.is_end_stream() {
            Body::empty()
        } else {
            Body::new(WatchedBody { incoming, progress: progress.clone() })
        };
        let mut request = Request::from_parts(parts, body);
        match &self.callbacks {
            // In a box, as the router's: a connection that waits should not hold the memory of a callback.
            Some(callbacks) if callbacks::is_straight(&request) => {
                self.survive(Box::pin(callbacks.take(origin, request))).await
            }
            _ => {
                request.extensions_mut().insert(origin);
                let mut router = self.router.clone();
                self.survive(pin!(async move {
                    let Ok(response) = router.call(request).await;
                    response
                }))
                .await
            }
        }
    }

    /// A panic becomes a 500 and harms nobody else.
    async fn survive(
        &self,
        mut answer: Pin<impl DerefMut<Target: Future<Output = Response<Body>>>>,
    ) -> Response<Body> {
        let outcome = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
            Err(_panic) => Poll::Ready(None),
        })
        .await;
        outcome.unwrap_or_else(|| {
            self.metrics.panics.increment(1);
            Problem::internal("a handler panicked").into_response()
        })
    }
}

/// What the debug line tells of a request. Never the query: it may hold a key.
struct Seen {
    method: axum::http::Method,
    path: String,
}

impl Seen {
    fn of(request: &Request<Incoming>) -> Option<Self> {
        tracing::enabled!(tracing::Level::DEBUG)
            .then(|| Self { method: request.method().clone(), path: request.uri().path().to_owned() })
    }
}

/// Writes out the problem that an answer carries. An error answer without one is a refusal of the framework (no
/// such route, no such method, a path that is not UTF-8): it gets the usual words of its status.
fn written_out(response: Response<Body>, class: RouteClass, request_id: RequestId) -> Response<Body> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<Meant>().is_some() {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let problem = parts.extensions.remove::<Problem>().unwrap_or_else(|| Problem::of_status(status));
    if let Some(cause) = problem.cause() {
        let status = status.as_u16();
        if status == 500 {
            tracing::error!(%request_id, status, cause, "a request failed");
        } else if class != RouteClass::Callback {
            // A refused callback has its line already, see `rejections.rs`.
            tracing::warn!(%request_id, status, cause, "a request was turned away");
        }
    }
    let mut response = match class {
        RouteClass::Callback => problem.to_fixed_text(),
        RouteClass::Api | RouteClass::Public => problem.to_json(request_id),
    };
    if let Some(allow) = parts.headers.remove(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Answers of the API belong to nobody's cache and to no page.
fn protect(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
