//! `/api/v1/schemas/{kind}`: what business systems get, as JSON Schema.

use axum::Json;
use axum::extract::Path;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::endpoint::schema;
use crate::http::problem::Problem;
use crate::http::state::HttpState;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(one))
}

/// Read the schema of a kind of event
///
/// JSON Schema 2020-12 of the JSON payload that endpoints get.
#[utoipa::path(get, path = "/api/v1/schemas/{kind}", tag = "endpoints",
    params(("kind" = String, Path, description = "A kind such as `message.text`")),
    responses((status = 200, description = "The schema", body = Object)))]
async fn one(Path(kind): Path<String>) -> Result<Json<Value>, Problem> {
    schema::schema(&kind).map(Json).ok_or_else(Problem::not_found)
}
