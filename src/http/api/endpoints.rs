//! `/api/v1/endpoints`: business systems that get events.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::endpoint_acts;
use super::listing::Listing;
use crate::clock::rfc3339_ms;
use crate::domain::endpoint::Endpoint;
use crate::forwarding::{ForwardError, Forwarding, Made};
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::query::{self, PageLimits, Query};
use crate::http::state::HttpState;
use crate::ids::EndpointId;
use crate::store::{Page, Store};

/// Routes for whoever may look.
pub(crate) fn looking() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).merge(endpoint_acts::looking())
}

/// Routes for whoever may configure.
pub(crate) fn configuring() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(change, remove)).routes(routes!(rotate))
}

/// Which endpoints to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Rows in the page: 1 to 1000, 100 if not said.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One endpoint. Beside these fields it has those it was made with; the secret is never shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(super) struct EndpointView {
    /// Our id.
    #[schema(example = "ep_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    id: String,
    /// The address, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Whether events become deliveries.
    active: bool,
    /// `active`, `paused` (deliveries wait), `inactive`, `disabled` (the other side answered 410).
    state: &'static str,
    /// Why it is disabled.
    reason: Option<String>,
    /// `api`, or `file`: kept in the configuration file.
    origin: &'static str,
    /// The form of its payloads, fixed when it was made.
    version: i64,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// What was asked for.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    spec: Value,
}

/// An endpoint with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct EndpointMade {
    #[serde(flatten)]
    endpoint: EndpointView,
    /// What requests are signed with, or a broker is logged in with. Keep it: it is not shown again.
    #[serde(skip_serializing_if = "String::is_empty")]
    secret: String,
    /// With an Ed25519 secret: what receivers check with.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

impl From<Endpoint> for EndpointView {
    fn from(endpoint: Endpoint) -> Self {
        let url = match endpoint.spec.targets.as_slice() {
            [one] => Some(one.url.clone()),
            _ => None,
        };
        Self {
            id: endpoint.id.to_string(),
            url,
            active: endpoint.state.takes_events(),
            state: endpoint.state.as_str(),
            reason: endpoint.reason,
            origin: endpoint.origin.as_str(),
            version: endpoint.payload_version,
            created_at: rfc3339_ms(endpoint.created_ms),
            updated_at: rfc3339_ms(endpoint.updated_ms),
            spec: endpoint.spec.to_json(),
        }
    }
}

impl From<Made> for EndpointMade {
    fn from(made: Made) -> Self {
        Self {
            endpoint: made.endpoint.into(),
            secret: made.secret.expose().to_owned(),
            public_key: made.public_key,
        }
    }
}

impl From<ForwardError> for Problem {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::Field(wrong) => Self::parameter("field", &wrong.field, &wrong.reason),
            ForwardError::NotFound => Self::not_found(),
            ForwardError::Conflict(why) => Self::conflict(why),
            ForwardError::Store(error) => Self::from(error),
        }
    }
}

/// Endpoints get events of every source, so a key for some sources has nothing to do with them.
pub(super) fn allowed(caller: &Caller) -> Result<(), Problem> {
    if caller.may_see_all() { Ok(()) } else { Err(Problem::forbidden("the key is for some sources only")) }
}

pub(super) fn parse(id: &str) -> Result<EndpointId, Problem> {
    EndpointId::parse(id).ok_or_else(Problem::not_found)
}

/// List endpoints
///
/// Newest first.
#[utoipa::path(get, path = "/api/v1/endpoints", tag = "endpoints", params(Filter),
    responses((status = 200, description = "A page of endpoints", body = Listing<EndpointView>)))]
async fn list(
    State(store): State<Store>,
    caller: Caller,
    State(pages): State<PageLimits>,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<EndpointView>>, Problem> {
    allowed(&caller)?;
    let limit = pages.rows(filter.limit.as_deref())?;
    let before = query::word("cursor", filter.cursor.as_deref(), EndpointId::parse)?;
    let mut items: Vec<Endpoint> = store.endpoints().await?.into_iter().map(|row| row.endpoint).collect();
    items.reverse();
    items.retain(|endpoint| before.as_ref().is_none_or(|before| endpoint.id < *before));
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = if more { items.last().map(|endpoint| endpoint.id.to_string()) } else { None };
    Ok(Json(Listing::of(Page { items, next_cursor })))
}

/// Read an endpoint
#[utoipa::path(get, path = "/api/v1/endpoints/{id}", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    responses((status = 200, description = "The endpoint", body = EndpointView)))]
async fn one(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EndpointView>, Problem> {
    allowed(&caller)?;
    let row = store.endpoint(&parse(&id)?).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(row.endpoint.into()))
}

/// Make an endpoint
///
/// `url` (or `targets`) and `events` are enough. Without a `secret` one is made and shown once. Every event that is
/// accepted after the answer is delivered to it.
#[utoipa::path(post, path = "/api/v1/endpoints", tag = "endpoints",
    request_body(content = Object, content_type = "application/json",
        example = json!({"url": "https://erp.example.com/hooks/wecom", "events": ["message.*"], "active": true})),
    responses((status = 201, description = "Made", body = EndpointMade)))]
async fn create(
    State(forwarding): State<Forwarding>,
    State(bodies): State<JsonBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    request: Request,
) -> Result<(StatusCode, Json<EndpointMade>), Problem> {
    allowed(&caller)?;
    let made = forwarding.create(bodies.read(request).await?).await?;
    audit.note(&origin, &caller.actor, "endpoint.created", made.endpoint.id.as_str());
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Change an endpoint
///
/// Only the fields that are named change.
#[utoipa::path(patch, path = "/api/v1/endpoints/{id}", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    request_body(content = Object, content_type = "application/json", example = json!({"active": false})),
    responses((status = 200, description = "The endpoint now", body = EndpointView)))]
async fn change(
    State(forwarding): State<Forwarding>,
    State(bodies): State<JsonBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<EndpointView>, Problem> {
    allowed(&caller)?;
    let id = parse(&id)?;
    let endpoint = forwarding.change(&id, bodies.read(request).await?).await?;
    audit.note(&origin, &caller.actor, "endpoint.changed", id.as_str());
    Ok(Json(endpoint.into()))
}

/// Delete an endpoint
///
/// What waits for it is taken back.
#[utoipa::path(delete, path = "/api/v1/endpoints/{id}", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    responses((status = 204, description = "Deleted")))]
async fn remove(
    State(forwarding): State<Forwarding>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    allowed(&caller)?;
    let id = parse(&id)?;
    forwarding.remove(&id).await?;
    audit.note(&origin, &caller.actor, "endpoint.deleted", id.as_str());
    Ok(StatusCode::NO_CONTENT)
}

/// Exchange an endpoint's secret
///
/// `{"secret": …, "overlap_s": 86400}`, both optional: for that time the secret before it signs as well.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/secret", tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id: `ep_…`")),
    request_body(content = Object, content_type = "application/json", example = json!({"overlap_s": 86400})),
    responses((status = 200, description = "The new secret", body = EndpointMade)))]
async fn rotate(
    State(forwarding): State<Forwarding>,
    State(bodies): State<JsonBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<EndpointMade>, Problem> {
    allowed(&caller)?;
    let id = parse(&id)?;
    let made = forwarding.rotate(&id, bodies.read(request).await?).await?;
    audit.note(&origin, &caller.actor, "endpoint.secret_changed", id.as_str());
    Ok(Json(made.into()))
}
