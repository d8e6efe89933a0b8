//! `/api/v1/events`: what the platform told us.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::listing::Listing;
use crate::clock::rfc3339_ms;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::{self, PageLimits, Query};
use crate::http::state::HttpState;
use crate::ids::{EventId, MessageId};
use crate::store::{EventFilter, Page, Store, StoredEvent};
use crate::wecom::event;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

/// Which events to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// An exact kind such as `message.text`, or a branch such as `message.*`.
    kind: Option<String>,
    /// Only what came in through this channel.
    source: Option<String>,
    /// Only events of this member.
    user_id: Option<String>,
    /// Only events about this customer.
    external_user_id: Option<String>,
    /// Only events that say something about this message.
    message_id: Option<String>,
    /// `true`: only events that no endpoint wanted. A page may then hold fewer rows than asked for.
    unmatched: Option<String>,
    /// Accepted at this time or later: RFC 3339, or seconds or milliseconds since 1970.
    since: Option<String>,
    /// Accepted before this time.
    until: Option<String>,
    /// Rows in the page: 1 to 1000, 100 if not said.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
struct EventView {
    /// Our id.
    #[schema(example = "evt_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    id: String,
    /// The channel it came in through.
    source: String,
    /// What happened, as dotted words.
    #[schema(example = "message.text")]
    kind: String,
    /// How the plaintext is written: `xml`, `json`, `opaque`.
    format: &'static str,
    /// The corp it is about.
    corp_id: Option<String>,
    /// The member who caused it.
    user_id: Option<String>,
    /// The customer it is about.
    external_user_id: Option<String>,
    /// The group chat it is about.
    chat_id: Option<String>,
    /// When it was accepted.
    #[schema(format = DateTime)]
    timestamp: String,
    /// Deliveries it became; 0: no endpoint wanted it.
    deliveries: i64,
}

/// One event with what it says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventDetail)]
struct EventDetailView {
    #[serde(flatten)]
    event: EventView,
    /// The whole plaintext as JSON, without loss: leaves are strings, repeated elements lists.
    #[schema(value_type = Object)]
    body: serde_json::Value,
    /// The plaintext word for word; `null` if it is not UTF-8 (`body` then has it in base64).
    raw: Option<String>,
}

impl EventView {
    fn of(event: StoredEvent, deliveries: i64) -> Self {
        Self {
            id: event.id.to_string(),
            source: event.source,
            kind: event.kind.to_string(),
            format: event.format.as_str(),
            corp_id: event.corp_id,
            user_id: event.user_id,
            external_user_id: event.external_user_id,
            chat_id: event.chat_id,
            timestamp: rfc3339_ms(event.accepted_ms),
            deliveries,
        }
    }
}

/// List events
///
/// Newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(Filter),
    responses((status = 200, description = "A page of events", body = Listing<EventView>)))]
async fn list(
    State(store): State<Store>,
    caller: Caller,
    State(pages): State<PageLimits>,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<EventView>>, Problem> {
    let message_id = query::word("message_id", filter.message_id.as_deref(), MessageId::parse)?;
    let unmatched = query::word("unmatched", filter.unmatched.as_deref(), |word| match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })?;
    let filter = EventFilter {
        kind: filter.kind,
        source: filter.source,
        allowed_sources: caller.sources,
        user_id: filter.user_id,
        external_user_id: filter.external_user_id,
        message_id,
        since_ms: query::time_ms("since", filter.since.as_deref())?,
        until_ms: query::time_ms("until", filter.until.as_deref())?,
        limit: pages.rows(filter.limit.as_deref())?,
        cursor: filter.cursor,
    };
    let page = store.events(&filter).await?;
    let ids: Vec<EventId> = page.items.iter().map(|event| event.id.clone()).collect();
    let counts = store.delivery_counts(&ids).await?;
    let count = |event: &StoredEvent| counts.get(&event.id).copied().unwrap_or(0);
    let shown = page.items.into_iter().filter(|event| unmatched != Some(true) || count(event) == 0);
    let items = shown.map(|event| (count(&event), event)).map(|(count, event)| EventView::of(event, count));
    Ok(Json(Listing::of(Page { items: items.collect::<Vec<_>>(), next_cursor: page.next_cursor })))
}

/// Read an event
///
/// With its body as JSON and word for word.
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "events",
    params(("id" = String, Path, description = "The event's id: `evt_…`")),
    responses((status = 200, description = "The event", body = EventDetailView)))]
async fn one(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EventDetailView>, Problem> {
    let id = EventId::parse(&id).ok_or_else(Problem::not_found)?;
    let found = store.event(&id).await?.filter(|event| caller.may_see(&event.source));
    let event = found.ok_or_else(Problem::not_found)?;
    let body = event::body_json(&event.payload, event.format);
    let raw = String::from_utf8(event.payload.to_vec()).ok();
    let counts = store.delivery_counts(std::slice::from_ref(&event.id)).await?;
    let count = counts.get(&event.id).copied().unwrap_or(0);
    Ok(Json(EventDetailView { event: EventView::of(event, count), body, raw }))
}
