//! What anybody may ask: health, and the platform's proof of domain ownership. No database, no secret, no version.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::health::Health;
use crate::http::problem::{Meant, Problem};
use crate::http::state::HttpState;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(overall)).routes(routes!(live)).routes(routes!(ready))
}

/// Whether the gateway can do its work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
struct HealthView {
    /// `ok`, `unavailable`, `stopping`.
    status: &'static str,
    /// What it depends on.
    checks: Checks,
}

/// What the gateway depends on.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    /// The database: `ok` or `unavailable`.
    store: &'static str,
    /// Callbacks while it is away: `in_use`, or `idle`.
    spool: &'static str,
    /// The queue in front of it: `ok` or `full`.
    queue: &'static str,
    /// `strict`; `relaxed` if the configuration lets acknowledged callbacks be lost in a power cut.
    durability: &'static str,
    /// What replicas share: `ok`, `unavailable` (each works by itself) or `off`.
    redis: &'static str,
}

fn answer(health: &Health) -> impl IntoResponse + use<> {
    let status = if health.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks = Checks {
        store: if health.store_answers() { "ok" } else { "unavailable" },
        spool: if health.spool_takes() { "in_use" } else { "idle" },
        queue: if health.queue_full() { "full" } else { "ok" },
        durability: if health.relaxed() { "relaxed" } else { "strict" },
        redis: health.redis().as_str(),
    };
    (status, Extension(Meant), Json(HealthView { status: health.word(), checks }))
}

/// Whether the gateway can do its work
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, description = "It can", body = HealthView),
              (status = 503, description = "It cannot, and why", body = HealthView)))]
async fn overall(State(health): State<Health>) -> impl IntoResponse {
    answer(&health)
}

/// Whether the process runs
#[utoipa::path(get, path = "/health/live", tag = "health",
    responses((status = 200, description = "It runs", body = String, content_type = "text/plain")))]
async fn live() -> &'static str {
    "ok"
}

/// Whether callbacks are accepted
///
/// Says no before the listener closes.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses((status = 200, description = "They are", body = HealthView),
              (status = 503, description = "They are not, and why", body = HealthView)))]
async fn ready(State(health): State<Health>) -> impl IntoResponse {
    answer(&health)
}

/// Files that prove the ownership of a domain, by name: `WW_verify_….txt`.
pub(crate) type VerifyFiles = Arc<BTreeMap<String, String>>;

/// Answers what no route knows: a proof of ownership, or 404. The router cannot match a name's beginning, and the
/// name is the operator's.
pub(crate) async fn verify_file(
    State(files): State<VerifyFiles>,
    request: Request,
) -> Result<Response, Problem> {
    let name = request.uri().path().strip_prefix('/').unwrap_or_default();
    let text = files.get(name).ok_or_else(Problem::not_found)?;
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return Ok(text.clone().into_response());
    }
    let mut refused = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED).into_response();
    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    Ok(refused)
}
