//! `/api/v1/shadow/differences`: where an old system answered in another way.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::listing::Listing;
use crate::clock::rfc3339_ms;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::state::HttpState;
use crate::shadow::{Difference, Shadow};

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which differences to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only callbacks of this channel.
    source: Option<String>,
}

/// One callback that the old system answered in another way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShadowDifference)]
struct DifferenceView {
    /// When.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The channel.
    source: String,
    /// The callback's event.
    event_id: Option<String>,
    /// `reply`: it said something else; `status`: not 200; `late`; `failed`: no answer, a redirect, too long.
    difference: &'static str,
    /// What the gateway said, opened; empty: nothing.
    ours: String,
    /// What the old system said, opened; or why there is nothing.
    theirs: String,
    /// Its status.
    http_status: Option<u16>,
    /// How long it took.
    duration_ms: i64,
}

impl From<Difference> for DifferenceView {
    fn from(one: Difference) -> Self {
        Self {
            timestamp: rfc3339_ms(one.at_ms),
            source: one.source.to_string(),
            event_id: one.event_id.map(|id| id.to_string()),
            difference: one.outcome,
            ours: one.ours,
            theirs: one.theirs,
            http_status: one.http_status,
            duration_ms: one.took_ms,
        }
    }
}

/// List differences to an old system
///
/// The newest that this replica saw, newest first; they are not kept over a restart.
#[utoipa::path(get, path = "/api/v1/shadow/differences", tag = "operation", params(Filter),
    responses((status = 200, description = "The differences", body = Listing<DifferenceView>)))]
async fn list(
    State(shadow): State<Shadow>,
    caller: Caller,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<DifferenceView>>, Problem> {
    let is_wanted = |one: &Difference| {
        caller.may_see(&one.source) && filter.source.as_deref().is_none_or(|source| source == &*one.source)
    };
    let data = shadow.differences().into_iter().filter(is_wanted).map(DifferenceView::from).collect();
    Ok(Json(Listing { data, next_cursor: None }))
}
