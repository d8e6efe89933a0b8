//! `/api/v1/deliveries`: what goes out, where it stands, and every try.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::listing::Listing;
use crate::clock::rfc3339_ms;
use crate::domain::delivery::{Attempt, Cargo, Delivery, DeliveryState};
use crate::forwarding::Forwarding;
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::query::{self, PageLimits, Query};
use crate::http::state::HttpState;
use crate::ids::{DeliveryId, EventId, MessageId};
use crate::store::{ByHand, DeliveryFilter, Store};

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

/// Routes for whoever may act.
pub(crate) fn acting() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(retry)).routes(routes!(drop_one))
}

/// Which deliveries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only to this channel or endpoint.
    target: Option<String>,
    /// Only in this state: `queued`, `succeeded`, `failed`, `dead`, `uncertain`, `expired`, `cancelled`.
    state: Option<String>,
    /// Only of this message.
    message_id: Option<String>,
    /// Only of this event.
    event_id: Option<String>,
    /// Rows in the page: 1 to 1000, 100 if not said.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One event to one endpoint, or one message to one channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryView {
    /// Our id.
    id: String,
    /// The channel or endpoint it goes to.
    target: String,
    /// The message it carries.
    message_id: Option<String>,
    /// The event it carries.
    event_id: Option<String>,
    /// 0 for live traffic; a replay has a number of its own.
    run: i64,
    /// Higher goes first.
    priority: i64,
    /// Where it stands.
    state: &'static str,
    /// Tries so far.
    attempts: i64,
    /// When it is tried next; `null`: finished.
    #[schema(format = DateTime)]
    due_at: Option<String>,
    /// After this it is not sent.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
}

/// One delivery with its tries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
struct DeliveryDetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// Every try, first to last.
    tries: Vec<AttemptView>,
}

/// One try.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptView {
    /// 1 for the first.
    number: i64,
    /// When it began.
    #[schema(format = DateTime)]
    timestamp: String,
    /// How long it took.
    duration_ms: i64,
    /// The HTTP status of the answer, if there was one.
    http_status: Option<i64>,
    /// WeCom's errcode, if the answer had one.
    errcode: Option<i64>,
    /// What went wrong.
    error: Option<String>,
    /// The beginning of the answer.
    answer: Option<String>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let (message_id, event_id) = match delivery.cargo {
            Cargo::Message(id) => (Some(id.to_string()), None),
            Cargo::Event(id) => (None, Some(id.to_string())),
        };
        Self {
            id: delivery.id.to_string(),
            target: delivery.target_id,
            message_id,
            event_id,
            run: delivery.run,
            priority: delivery.priority,
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            // What is urgent is due long ago.
            due_at: delivery.due_ms.map(|due_ms| rfc3339_ms(due_ms.max(delivery.created_ms))),
            expires_at: delivery.expires_ms.map(rfc3339_ms),
            created_at: rfc3339_ms(delivery.created_ms),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            timestamp: rfc3339_ms(attempt.at_ms),
            duration_ms: attempt.duration_ms,
            http_status: attempt.http_status,
            errcode: attempt.errcode,
            error: attempt.error,
            answer: attempt.answer,
        }
    }
}

/// List deliveries
///
/// Newest first.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "deliveries", params(Filter),
    responses((status = 200, description = "A page of deliveries", body = Listing<DeliveryView>)))]
async fn list(
    State(store): State<Store>,
    caller: Caller,
    State(pages): State<PageLimits>,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<DeliveryView>>, Problem> {
    let message =
        query::word("message_id", filter.message_id.as_deref(), MessageId::parse)?.map(Cargo::Message);
    let event = query::word("event_id", filter.event_id.as_deref(), EventId::parse)?.map(Cargo::Event);
    if message.is_some() && event.is_some() {
        return Err(Problem::parameter("parameter", "event_id", "does not go together with `message_id`"));
    }
    let filter = DeliveryFilter {
        target_id: filter.target,
        allowed_targets: caller.sources,
        state: query::word("state", filter.state.as_deref(), DeliveryState::parse)?,
        cargo: message.or(event),
        limit: pages.rows(filter.limit.as_deref())?,
        cursor: filter.cursor,
    };
    Ok(Json(Listing::of(store.deliveries(&filter).await?)))
}

/// Read a delivery
///
/// With every try.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "deliveries",
    params(("id" = String, Path, description = "The delivery's id: `dlv_…`")),
    responses((status = 200, description = "The delivery", body = DeliveryDetailView)))]
async fn one(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetailView>, Problem> {
    let id = DeliveryId::parse(&id).ok_or_else(Problem::not_found)?;
    let found = store.delivery(&id).await?.filter(|delivery| caller.may_see(&delivery.target_id));
    let delivery = found.ok_or_else(Problem::not_found)?;
    let tries = store.attempts(&id).await?.into_iter().map(AttemptView::from).collect();
    Ok(Json(DeliveryDetailView { delivery: delivery.into(), tries }))
}

/// Try a delivery again
///
/// Of an event, and not one that succeeded: once, now.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/retry", tag = "deliveries",
    params(("id" = String, Path, description = "The delivery's id: `dlv_…`")),
    responses((status = 200, description = "The delivery now", body = DeliveryDetailView)))]
async fn retry(
    State(desk): State<Desk>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetailView>, Problem> {
    by_hand(desk, caller, &origin, id, (ByHand::Retry, "delivery.retried")).await
}

/// Give a delivery up
///
/// Of an event: one that waits, or a dead letter; what waits behind it goes on.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/drop", tag = "deliveries",
    params(("id" = String, Path, description = "The delivery's id: `dlv_…`")),
    responses((status = 200, description = "The delivery now", body = DeliveryDetailView)))]
async fn drop_one(
    State(desk): State<Desk>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetailView>, Problem> {
    by_hand(desk, caller, &origin, id, (ByHand::Drop, "delivery.dropped")).await
}

/// What acting on a delivery by hand takes.
type Desk = (Store, Forwarding, Audit);

/// Does `what` to a delivery, notes it as `action`, and shows the delivery as it is then.
async fn by_hand(
    (store, forwarding, audit): Desk,
    caller: Caller,
    origin: &Origin,
    id: String,
    (what, action): (ByHand, &'static str),
) -> Result<Json<DeliveryDetailView>, Problem> {
    let parsed = event_delivery(&store, &caller, &id).await?;
    forwarding.by_hand(what, &parsed).await?;
    audit.note(origin, &caller.actor, action, &id);
    one(State(store), caller, Path(id)).await
}

/// The id of a delivery of an event that `caller` may act on.
async fn event_delivery(store: &Store, caller: &Caller, id: &str) -> Result<DeliveryId, Problem> {
    let id = DeliveryId::parse(id).ok_or_else(Problem::not_found)?;
    let found = store.delivery(&id).await?.filter(|delivery| caller.may_see(&delivery.target_id));
    match found.ok_or_else(Problem::not_found)?.cargo {
        Cargo::Event(_) => Ok(id),
        Cargo::Message(_) => Err(Problem::conflict("the delivery carries a message; send it again instead")),
    }
}
