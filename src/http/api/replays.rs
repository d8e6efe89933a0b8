//! `/api/v1/replays`: stored events, delivered once more.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::listing::Listing;
use crate::clock::rfc3339_ms;
use crate::domain::replay::Replay;
use crate::forwarding::{Asked, Forwarding};
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::query::{PageLimits, Query};
use crate::http::state::HttpState;
use crate::ids::ReplayId;
use crate::store::Store;

/// Routes for whoever may look.
pub(crate) fn looking() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

/// Routes for whoever may act.
pub(crate) fn acting() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(cancel))
}

/// Which replays to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Rows in the page: 1 to 1000, 100 if not said.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One replay.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
struct ReplayView {
    /// Our id.
    #[schema(example = "rpl_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    id: String,
    /// To whom.
    endpoint: String,
    /// `running`, `done`, `cancelled`.
    state: &'static str,
    /// The run of its deliveries.
    run: i64,
    /// Events accepted at this time or later.
    #[schema(format = DateTime)]
    since: String,
    /// Events accepted before this time.
    #[schema(format = DateTime)]
    until: String,
    /// Deliveries a second at most.
    per_s: i64,
    /// Events looked at so far.
    looked_at: i64,
    /// Deliveries made so far.
    queued: i64,
    /// When it was started.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it last moved.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// What a replay would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayPreview)]
struct PreviewView {
    /// Events looked at.
    looked_at: usize,
    /// Events that would be delivered.
    matched: usize,
    /// Whether everything was looked at.
    complete: bool,
}

impl From<Replay> for ReplayView {
    fn from(replay: Replay) -> Self {
        Self {
            id: replay.id.to_string(),
            endpoint: replay.endpoint.to_string(),
            state: replay.state.as_str(),
            run: replay.run,
            since: rfc3339_ms(replay.of.since_ms),
            until: rfc3339_ms(replay.of.until_ms),
            per_s: replay.per_s_max,
            looked_at: replay.looked_at,
            queued: replay.queued,
            created_at: rfc3339_ms(replay.created_ms),
            updated_at: rfc3339_ms(replay.updated_ms),
        }
    }
}

fn allowed(caller: &Caller) -> Result<(), Problem> {
    if caller.may_see_all() { Ok(()) } else { Err(Problem::forbidden("the key is for some sources only")) }
}

/// Start a replay
///
/// `{"endpoint": "ep_…", "since": …, "until": …, "filter": {"events": …, "match": …}, "per_s": 100}`, or one event by
/// `event_id`. With `"preview": true` nothing is started, and the answer is a count. Receivers see the same
/// `webhook-id` and `X-Webhook-Replay: true`.
#[utoipa::path(post, path = "/api/v1/replays", tag = "replays",
    request_body(content = Object, content_type = "application/json",
        example = json!({"endpoint": "ep_06f0jxk2m0e1v8s2y7q9c4h3ab", "since": "2026-11-22T08:00:00Z"})),
    responses((status = 200, description = "What it would do", body = PreviewView),
              (status = 202, description = "It runs", body = ReplayView)))]
async fn start(
    State(forwarding): State<Forwarding>,
    State(bodies): State<JsonBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    request: Request,
) -> Result<Response, Problem> {
    allowed(&caller)?;
    match forwarding.replay(bodies.read(request).await?).await? {
        Asked::Preview(preview) => {
            let view = PreviewView {
                looked_at: preview.looked_at,
                matched: preview.matched,
                complete: preview.complete,
            };
            Ok(Json(view).into_response())
        }
        Asked::Running(replay) => {
            audit.note(&origin, &caller.actor, "replay.started", replay.id.as_str());
            Ok((StatusCode::ACCEPTED, Json(ReplayView::from(*replay))).into_response())
        }
    }
}

/// List replays
///
/// Newest first.
#[utoipa::path(get, path = "/api/v1/replays", tag = "replays", params(Filter),
    responses((status = 200, description = "A page of replays", body = Listing<ReplayView>)))]
async fn list(
    State(store): State<Store>,
    caller: Caller,
    State(pages): State<PageLimits>,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<ReplayView>>, Problem> {
    allowed(&caller)?;
    let limit = pages.rows(filter.limit.as_deref())?;
    Ok(Json(Listing::of(store.replays(limit, filter.cursor.as_deref()).await?)))
}

/// Read a replay
#[utoipa::path(get, path = "/api/v1/replays/{id}", tag = "replays",
    params(("id" = String, Path, description = "The replay's id: `rpl_…`")),
    responses((status = 200, description = "The replay", body = ReplayView)))]
async fn one(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    allowed(&caller)?;
    let id = ReplayId::parse(&id).ok_or_else(Problem::not_found)?;
    Ok(Json(store.replay(&id).await?.ok_or_else(Problem::not_found)?.into()))
}

/// Stop a replay
///
/// What was queued before goes out; drop it with `dead-letters/drop` or by pausing the endpoint.
#[utoipa::path(post, path = "/api/v1/replays/{id}/cancel", tag = "replays",
    params(("id" = String, Path, description = "The replay's id: `rpl_…`")),
    responses((status = 200, description = "The replay now", body = ReplayView)))]
async fn cancel(
    State(store): State<Store>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    allowed(&caller)?;
    let parsed = ReplayId::parse(&id).ok_or_else(Problem::not_found)?;
    if !store.cancel_replay(&parsed).await? && store.replay(&parsed).await?.is_some() {
        return Err(Problem::conflict("the replay is not running"));
    }
    audit.note(&origin, &caller.actor, "replay.cancelled", &id);
    one(State(store), caller, Path(id)).await
}
