//! `/api/v1/suites/{id}/ticket`: what a third-party suite's own programs ask the platform with.
//!
//! The platform calls with a new `suite_ticket` every ten minutes, and the last one is good for thirty. It is kept as
//! the event it came with; here the newest is read out of it.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock::rfc3339_ms;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::store::{EventFilter, Store, StoreError, StoredEvent};
use crate::wecom::event;

/// The kind of the callback that brings one.
const KIND: &str = "command.suite_ticket";

/// Tickets of other suites that are passed over.
const LOOK_MAX: usize = 500;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(ticket))
}

/// The newest ticket of a suite.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SuiteTicket)]
struct SuiteTicketView {
    /// The suite.
    suite_id: String,
    /// The ticket.
    suite_ticket: String,
    /// When it came; it is good for thirty minutes from then.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The event that brought it.
    event_id: String,
}

/// Read a suite's ticket
///
/// The newest that the platform has called with. For programs that fetch a `suite_access_token`.
#[utoipa::path(get, path = "/api/v1/suites/{id}/ticket", tag = "operation",
    params(("id" = String, Path, description = "The suite's id")),
    responses((status = 200, description = "The newest ticket", body = SuiteTicketView)))]
async fn ticket(
    State(store): State<Store>,
    caller: Caller,
    Path(suite_id): Path<String>,
) -> Result<Json<SuiteTicketView>, Problem> {
    let found = newest(&store, &caller, &suite_id).await?;
    let event = found.ok_or_else(Problem::not_found)?;
    if let Some(why) = event.unopened {
        return Err(StoreError::from(why).into());
    }
    let body = event::body_json(&event.payload, event.format);
    let ticket = body.get("SuiteTicket").and_then(serde_json::Value::as_str);
    let suite_ticket = ticket.ok_or_else(Problem::not_found)?.to_owned();
    let (timestamp, event_id) = (rfc3339_ms(event.accepted_ms), event.id.to_string());
    Ok(Json(SuiteTicketView { suite_id, suite_ticket, timestamp, event_id }))
}

/// The newest event that brought a ticket for this suite.
async fn newest(store: &Store, caller: &Caller, suite_id: &str) -> Result<Option<StoredEvent>, StoreError> {
    let mut filter = EventFilter {
        kind: Some(KIND.to_owned()),
        allowed_sources: caller.sources.clone(),
        limit: 50,
        ..EventFilter::default()
    };
    let mut looked = 0;
    while looked < LOOK_MAX {
        let page = store.events(&filter).await?;
        looked += page.items.len().max(1);
        if let Some(event) = page.items.into_iter().find(|event| event.corp_id.as_deref() == Some(suite_id)) {
            return Ok(Some(event));
        }
        if page.next_cursor.is_none() {
            break;
        }
        filter.cursor = page.next_cursor;
    }
    Ok(None)
}
