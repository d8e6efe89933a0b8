//! `/api/v1/schemas/{kind}`: what business systems get, as JSON Schema.

use axum::Json;
use axum::extract::Path;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::endpoint::PAYLOAD_VERSION;
use crate::endpoint::schema;
use crate::http::problem::Problem;
use crate::http::query::{self, Query};
use crate::http::state::HttpState;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(one))
}

/// Which form of the payload.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// `1`, which is the default, or `2`.
    version: Option<String>,
}

/// Read the schema of a kind of event
///
/// JSON Schema 2020-12 of the JSON payload that endpoints get.
#[utoipa::path(get, path = "/api/v1/schemas/{kind}", tag = "endpoints",
    params(("kind" = String, Path, description = "A kind such as `message.text`"), Asked),
    responses((status = 200, description = "The schema", body = Object)))]
async fn one(Path(kind): Path<String>, Query(asked): Query<Asked>) -> Result<Json<Value>, Problem> {
    let version = query::word("version", asked.version.as_deref(), |text| text.parse().ok())?;
    schema::schema(&kind, version.unwrap_or(PAYLOAD_VERSION)).map(Json).ok_or_else(Problem::not_found)
}
