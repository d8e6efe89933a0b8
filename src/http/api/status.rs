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
use crate::spool::SpoolState;
use crate::store::{Store, StoreError};
use crate::upkeep::resealing::Resealing;

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
    pub(crate) resealing: Resealing,
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
    /// `ok`, `degraded` (the database is away, callbacks go to the spool), `unavailable`, `stopping`.
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
    /// What waits for the database on the local disk; absent where there is no spool.
    spool: Option<SpoolView>,
    /// What seals rows; absent where nothing does.
    encryption: Option<EncryptionView>,
    /// Events, as the database estimates them. As the figures below, `null` while the database is away.
    events_estimate: Option<i64>,
    /// Messages not yet sent, up to 10,000.
    messages_pending: Option<i64>,
    /// Messages of which nobody knows whether they were sent, up to 10,000.
    messages_uncertain: Option<i64>,
    /// Deliveries under way, up to 10,000.
    deliveries_due: Option<i64>,
}

/// Callbacks accepted while the database was away.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SpoolStatus)]
struct SpoolView {
    /// Whether callbacks go there now.
    in_use: bool,
    /// Callbacks that wait for the database.
    rows: u64,
    /// About how many bytes they take.
    bytes: u64,
    /// When the oldest was accepted.
    #[schema(format = DateTime)]
    oldest_at: Option<String>,
    /// Callbacks that the database refused; they lie in the file.
    set_aside: u64,
    /// Callbacks sealed with a key that is not here; they lie in the file.
    withheld: u64,
}

/// Rows sealed at rest.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EncryptionStatus)]
struct EncryptionView {
    /// The id of the key that seals what is written; `null`: it is written clear.
    key: Option<String>,
    /// The ids of keys that only open what was written before.
    previous: Vec<String>,
    /// Values that are not sealed with the key yet, as last counted; 0: previous keys can be dropped. `null` until they
    /// were counted.
    left: Option<u64>,
    /// Values sealed anew since the start.
    resealed: u64,
    /// Values that cannot be opened: their key is not here, or they are damaged.
    unreadable: u64,
}

impl EncryptionView {
    fn of(resealing: &Resealing) -> Option<Self> {
        let ((key, previous), state) = (resealing.keys(), resealing.state());
        let is_on = key.is_some() || !previous.is_empty();
        is_on.then_some(Self {
            key,
            previous,
            left: state.left,
            resealed: state.resealed,
            unreadable: state.unreadable,
        })
    }
}

impl SpoolView {
    fn of(state: SpoolState) -> Self {
        let size = state.size;
        Self {
            in_use: state.in_use,
            rows: size.rows,
            bytes: size.bytes,
            oldest_at: (size.rows > 0).then(|| rfc3339_ms(size.oldest_ms)),
            set_aside: size.set_aside,
            withheld: size.withheld,
        }
    }
}

/// How the gateway is doing
#[utoipa::path(get, path = "/api/v1/status", tag = "operation",
    responses((status = 200, description = "How the gateway is doing", body = StatusView)))]
async fn show(State(state): State<StatusState>) -> Result<Json<StatusView>, Problem> {
    let counts = match state.store.counts().await {
        Ok(counts) => Some(counts),
        Err(StoreError::Unavailable(_) | StoreError::Busy) => None,
        Err(error) => return Err(error.into()),
    };
    let counts = counts.as_ref();
    let messages = |status: Status| {
        let of_status = counts?.messages_by_status.iter().find(|(known, _)| *known == status);
        Some(of_status.map_or(0, |(_, count)| *count))
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
        spool: state.intake.spool().map(SpoolView::of),
        encryption: EncryptionView::of(&state.resealing),
        events_estimate: counts.map(|counts| counts.events_estimate),
        messages_pending: messages(Status::Pending),
        messages_uncertain: messages(Status::Uncertain),
        deliveries_due: counts.map(|counts| counts.deliveries_due),
    }))
}
