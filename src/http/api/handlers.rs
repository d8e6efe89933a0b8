//! `/api/v1/webhooks/handlers`: which callback addresses there are.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::auth::Caller;
use crate::http::state::HttpState;
use crate::source::{HandlerInfo, Sources};

type Shared = Arc<ArcSwap<Sources>>;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Every callback address.
#[derive(Debug, Serialize, ToSchema)]
struct Handlers {
    /// One for each address.
    handlers: Vec<HandlerView>,
    /// How many there are.
    total: usize,
}

/// One callback address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Handler)]
struct HandlerView {
    /// The last part of the address.
    #[schema(example = "api")]
    name: String,
    /// The kind of source.
    #[schema(example = "wechat")]
    kind: String,
    /// The address.
    #[schema(example = "/api/v1/webhooks/wechat/api")]
    path: String,
    /// The channels that are called there.
    sources: Vec<String>,
    /// Whether one of them is on.
    enabled: bool,
}

impl From<HandlerInfo> for HandlerView {
    fn from(handler: HandlerInfo) -> Self {
        Self {
            path: format!("/api/v1/webhooks/{}/{}", handler.kind, handler.handler),
            name: handler.handler,
            kind: handler.kind,
            sources: handler.sources,
            enabled: handler.enabled,
        }
    }
}

/// List callback addresses
#[utoipa::path(get, path = "/api/v1/webhooks/handlers", tag = "operation",
    responses((status = 200, description = "Every callback address", body = Handlers)))]
async fn list(State(sources): State<Shared>, caller: Caller) -> Json<Handlers> {
    let mut handlers: Vec<HandlerView> =
        sources.load().handlers().into_iter().map(HandlerView::from).collect();
    for handler in &mut handlers {
        handler.sources.retain(|source| caller.may_see(source));
    }
    handlers.retain(|handler| !handler.sources.is_empty());
    Json(Handlers { total: handlers.len(), handlers })
}
