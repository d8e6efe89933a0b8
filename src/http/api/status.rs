//! `/api/v1/status`: how the gateway is doing, for those who may know.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock::{Clock, rfc3339_ms};
use crate::domain::status::Status;
use crate::http::health::Health;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::intake::Intake;
use crate::source::Sources;
use crate::store::Store;

/// What the service is called and since when it runs.
#[derive(Clone, Debug)]
pub struct ServiceFacts {
    /// `service.name` of the configuration.
    pub name: String,
    /// The gateway's own version.
    pub version: &'static str,
    /// `production` or `development`.
    pub environment: String,
    /// When the process started, wall ms.
    pub started_ms: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct StatusState {
    pub(crate) service: ServiceFacts,
    pub(crate) store: Store,
    pub(crate) intake: Intake,
    pub(crate) sources: Arc<ArcSwap<Sources>>,
    pub(crate) health: Health,
    pub(crate) clock: Clock,
}

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(show))
}

/// How the gateway is doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceStatus)]
struct StatusView {
    /// The service's name.
    service: String,
    /// The gateway's version.
    version: &'static str,
    /// `production` or `development`.
    environment: String,
    /// `ok`, `unavailable`, `stopping`.
    status: &'static str,
    /// When it started.
    #[schema(format = DateTime)]
    started_at: String,
    /// Seconds since then.
    uptime_s: i64,
    /// Now.
    #[schema(format = DateTime)]
    timestamp: String,
    /// `sqlite` or `mysql`.
    database: &'static str,
    /// `strict`, or `relaxed`: acknowledged callbacks may then be lost in a power cut.
    durability: &'static str,
    /// Callback addresses.
    handlers: usize,
    /// Accepted callbacks that wait for their commit.
    queue_depth: usize,
    /// Events, as the database estimates them.
    events_estimate: i64,
    /// Messages not yet sent, up to 10,000.
    messages_pending: i64,
    /// Messages of which nobody knows whether they were sent, up to 10,000.
    messages_uncertain: i64,
    /// Deliveries under way, up to 10,000.
    deliveries_due: i64,
}

/// How the gateway is doing
#[utoipa::path(get, path = "/api/v1/status", tag = "operation",
    responses((status = 200, description = "How the gateway is doing", body = StatusView)))]
async fn show(State(state): State<StatusState>) -> Result<Json<StatusView>, Problem> {
    let counts = state.store.counts().await?;
    let messages = |status: Status| {
        counts.messages_by_status.iter().find(|(known, _)| *known == status).map_or(0, |(_, count)| *count)
    };
    let now_ms = state.clock.wall_ms();
    Ok(Json(StatusView {
        service: state.service.name,
        version: state.service.version,
        environment: state.service.environment,
        status: state.health.word(),
        started_at: rfc3339_ms(state.service.started_ms),
        uptime_s: (now_ms - state.service.started_ms).max(0) / 1000,
        timestamp: rfc3339_ms(now_ms),
        database: state.store.engine().as_str(),
        durability: if state.health.relaxed() { "relaxed" } else { "strict" },
        handlers: state.sources.load().handlers().len(),
        queue_depth: state.intake.depth(),
        events_estimate: counts.events_estimate,
        messages_pending: messages(Status::Pending),
        messages_uncertain: messages(Status::Uncertain),
        deliveries_due: counts.deliveries_due,
    }))
}
