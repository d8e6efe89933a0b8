//! `/api/v1/audit`: who did what to the gateway, and who was turned away.

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
use crate::store::{AuditFilter, AuditRow, Store};

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which rows to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// At this time or later: RFC 3339, or seconds or milliseconds since 1970.
    since: Option<String>,
    /// Before this time.
    until: Option<String>,
    /// Rows in the page: 1 to 1000, 100 if not said.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One act, or one attempt at it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRow)]
struct AuditView {
    /// Its id.
    id: String,
    /// When.
    #[schema(format = DateTime)]
    timestamp: String,
    /// Who: a key's id, `config:NAME`, `local`, `anonymous`, `cli`.
    actor: String,
    /// From where.
    address: String,
    /// What: `api_key.created`, `callback.signature`, `request.rate` …
    #[schema(example = "api_key.created")]
    action: String,
    /// To what.
    subject: String,
    /// The request's id; how many more there were in the same minute.
    detail: String,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id.to_string(),
            timestamp: rfc3339_ms(row.at_ms),
            actor: row.actor,
            address: row.address,
            action: row.action,
            subject: row.subject,
            detail: row.detail,
        }
    }
}

/// List who did what
///
/// Acts of keys, and events of security: refused keys, roles, addresses, signatures and too many requests. Of what
/// repeats itself the first is a row, and the rest of the same minute another.
#[utoipa::path(get, path = "/api/v1/audit", tag = "operation", params(Filter),
    responses((status = 200, description = "A page of rows, newest first", body = Listing<AuditView>)))]
async fn list(
    State(store): State<Store>,
    caller: Caller,
    State(pages): State<PageLimits>,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<AuditView>>, Problem> {
    if !caller.may_see_all() {
        return Err(Problem::forbidden("the audit is for keys that may see all sources"));
    }
    let filter = AuditFilter {
        since_ms: query::time_ms("since", filter.since.as_deref())?,
        until_ms: query::time_ms("until", filter.until.as_deref())?,
        limit: pages.rows(filter.limit.as_deref())?,
        cursor: filter.cursor,
    };
    Ok(Json(Listing::of(store.audit(&filter).await?)))
}
