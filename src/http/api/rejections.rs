//! `/api/v1/rejections`: refused callbacks, and what was wrong with them.

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
use crate::http::query::{self, PageLimits, Query};
use crate::http::state::HttpState;
use crate::store::{Rejection, RejectionFilter, Store};

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which rejections to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only what was meant for this source.
    source: Option<String>,
    /// Refused at this time or later: RFC 3339, or seconds or milliseconds since 1970.
    since: Option<String>,
    /// Refused before this time.
    until: Option<String>,
    /// Rows in the page: 1 to 1000, 100 if not said.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One refused callback, or several alike within a second.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rejection)]
struct RejectionView {
    /// Our id.
    id: String,
    /// When; of several, the first.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The source it was for, where one was found.
    source: Option<String>,
    /// The client's address.
    address: String,
    /// The step that failed.
    #[schema(example = "signature")]
    step: String,
    /// The HTTP status it was answered with.
    status: i64,
    /// What was wrong.
    detail: String,
    /// The receive id the source is set up for, on a mismatch.
    expected_receive_id: Option<String>,
    /// The receive id that stood in the message, on a mismatch.
    found_receive_id: Option<String>,
    /// How many.
    count: i64,
}

impl From<Rejection> for RejectionView {
    fn from(rejection: Rejection) -> Self {
        Self {
            id: rejection.id.to_string(),
            timestamp: rfc3339_ms(rejection.at_ms),
            source: rejection.source,
            address: rejection.address,
            step: rejection.step,
            status: rejection.status,
            detail: rejection.detail,
            expected_receive_id: rejection.expected_receive_id,
            found_receive_id: rejection.found_receive_id,
            count: rejection.count,
        }
    }
}

/// List refused callbacks
///
/// Newest first. Here, and in the log, it says what was wrong; the answer to the sender does not.
#[utoipa::path(get, path = "/api/v1/rejections", tag = "events", params(Filter),
    responses((status = 200, description = "A page of rejections", body = Listing<RejectionView>)))]
async fn list(
    State(store): State<Store>,
    caller: Caller,
    State(pages): State<PageLimits>,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<RejectionView>>, Problem> {
    let filter = RejectionFilter {
        source: filter.source,
        allowed_sources: caller.sources,
        since_ms: query::time_ms("since", filter.since.as_deref())?,
        until_ms: query::time_ms("until", filter.until.as_deref())?,
        limit: pages.rows(filter.limit.as_deref())?,
        cursor: filter.cursor,
    };
    Ok(Json(Listing::of(store.rejections(&filter).await?)))
}
