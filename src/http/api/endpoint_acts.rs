//! Acting on an endpoint: pause, resume, test, its dead letters; and trying a filter.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::endpoints::{EndpointView, allowed, parse};
use crate::domain::endpoint::EndpointState;
use crate::forwarding::Forwarding;
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::store::ByHand;

/// Routes for whoever may look.
pub(super) fn looking() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(dry_run))
}

/// Routes for whoever may act.
pub(crate) fn acting() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(test))
        .routes(routes!(retry_dead))
        .routes(routes!(drop_dead))
}

/// What a test became.
#[derive(Debug, Serialize, ToSchema)]
struct Tested {
    /// The event that was sent; its delivery is listed under it.
    event_id: String,
}

/// How many deliveries something was done to.
#[derive(Debug, Serialize, ToSchema)]
struct Done {
    /// How many.
    deliveries: usize,
}

/// Whoever acts, and with what.
struct Acting<'r> {
    forwarding: &'r Forwarding,
    audit: &'r Audit,
    caller: &'r Caller,
    origin: &'r Origin,
}

impl Acting<'_> {
    async fn switch(
        &self,
        id: &str,
        state: EndpointState,
        action: &'static str,
    ) -> Result<Json<EndpointView>, Problem> {
        allowed(self.caller)?;
        let id = parse(id)?;
        let endpoint = self.forwarding.switch(&id, state).await?;
        self.audit.note(self.origin, &self.caller.actor, action, id.as_str());
        Ok(Json(endpoint.into()))
    }

    async fn dead(&self, id: &str, what: ByHand, action: &'static str) -> Result<Json<Done>, Problem> {
        allowed(self.caller)?;
        let id = parse(id)?;
        let deliveries = self.forwarding.by_hand_to_dead(what, &id).await?;
        self.audit.note(self.origin, &self.caller.actor, action, id.as_str());
        Ok(Json(Done { deliveries }))
    }
}

/// Pause an endpoint
///
/// Events go on becoming deliveries, which wait.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/pause", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    responses((status = 200, description = "The endpoint now", body = EndpointView)))]
async fn pause(
    State(forwarding): State<Forwarding>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<EndpointView>, Problem> {
    let acting = Acting { forwarding: &forwarding, audit: &audit, caller: &caller, origin: &origin };
    acting.switch(&id, EndpointState::Paused, "endpoint.paused").await
}

/// Resume an endpoint
///
/// Also one that was disabled: what waits is sent.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/resume", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    responses((status = 200, description = "The endpoint now", body = EndpointView)))]
async fn resume(
    State(forwarding): State<Forwarding>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<EndpointView>, Problem> {
    let acting = Acting { forwarding: &forwarding, audit: &audit, caller: &caller, origin: &origin };
    acting.switch(&id, EndpointState::Active, "endpoint.resumed").await
}

/// Send an endpoint a test event
///
/// Of kind `test.ping`, before everything that waits for it.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/test", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    responses((status = 202, description = "On its way", body = Tested)))]
async fn test(
    State(forwarding): State<Forwarding>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Tested>), Problem> {
    allowed(&caller)?;
    let event_id = forwarding.test(&parse(&id)?).await?.to_string();
    Ok((StatusCode::ACCEPTED, Json(Tested { event_id })))
}

/// Try an endpoint's dead letters again
///
/// Each once, now. They are listed by `GET /api/v1/deliveries?target=…&state=dead`.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/dead-letters/retry", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    responses((status = 200, description = "How many", body = Done)))]
async fn retry_dead(
    State(forwarding): State<Forwarding>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<Done>, Problem> {
    let acting = Acting { forwarding: &forwarding, audit: &audit, caller: &caller, origin: &origin };
    acting.dead(&id, ByHand::Retry, "endpoint.dead_retried").await
}

/// Drop an endpoint's dead letters
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/dead-letters/drop", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    responses((status = 200, description = "How many", body = Done)))]
async fn drop_dead(
    State(forwarding): State<Forwarding>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<Done>, Problem> {
    let acting = Acting { forwarding: &forwarding, audit: &audit, caller: &caller, origin: &origin };
    acting.dead(&id, ByHand::Drop, "endpoint.dead_dropped").await
}

/// Which stored events a filter would take.
#[derive(Debug, Serialize, ToSchema)]
struct DryRun {
    /// The newest events, as many as were looked at.
    looked_at: usize,
    /// How many of them would be delivered.
    matched: usize,
    /// The ids of those, newest first.
    data: Vec<String>,
}

/// Try a filter on stored events
///
/// `{"events": [...], "sources": [...], "match": {...}}` against the newest 1,000 events. Nothing is sent.
#[utoipa::path(post, path = "/api/v1/endpoints/dry-run", tag = "endpoints",
    request_body(content = Object, content_type = "application/json",
        example = json!({"events": ["message.*"], "match": {"field": "user_id", "equals": "zhangsan"}})),
    responses((status = 200, description = "What would match", body = DryRun)))]
async fn dry_run(
    State(forwarding): State<Forwarding>,
    State(bodies): State<JsonBodies>,
    caller: Caller,
    request: Request,
) -> Result<Json<DryRun>, Problem> {
    allowed(&caller)?;
    let (looked_at, found) = forwarding.dry_run(bodies.read(request).await?).await?;
    let data: Vec<String> = found.into_iter().map(|id| id.to_string()).collect();
    Ok(Json(DryRun { looked_at, matched: data.len(), data }))
}
