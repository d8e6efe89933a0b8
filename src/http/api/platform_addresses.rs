//! `/api/v1/platform-addresses`: where the platform says its callbacks come from.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock::rfc3339_ms;
use crate::http::platform_addresses::PlatformAddresses;
use crate::http::state::HttpState;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(show))
}

/// What the platform says of its addresses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlatformAddresses)]
struct AddressesView {
    /// The networks; empty until they were heard once.
    networks: Vec<String>,
    /// When they were last heard.
    #[schema(format = DateTime)]
    heard_at: Option<String>,
    /// Whether callbacks from elsewhere are refused.
    enforced: bool,
    /// Why the last question had no answer.
    problem: Option<String>,
}

/// Where callbacks come from
///
/// For a firewall. Empty unless `webhook.platform_addresses` is `show` or `enforce`.
#[utoipa::path(get, path = "/api/v1/platform-addresses", tag = "operation",
    responses((status = 200, description = "What the platform says", body = AddressesView)))]
async fn show(State(addresses): State<PlatformAddresses>) -> Json<AddressesView> {
    let known = addresses.known();
    Json(AddressesView {
        networks: known.networks.iter().map(ToString::to_string).collect(),
        heard_at: known.heard_ms.map(rfc3339_ms),
        enforced: addresses.enforced(),
        problem: known.problem.clone(),
    })
}
