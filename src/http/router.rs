//! Every route, and the role it asks for.

use axum::extract::FromRef;
use axum::{Extension, Router};
use bytes::Bytes;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;

use crate::http::api::{
    audit, channels, deliveries, endpoint_acts, endpoints, event_stream, events, files, handlers, keys,
    messages, metrics, platform_addresses, rejections, reload, replays, schemas, shadow, smart_robots,
    status, suites, users,
};
use crate::http::auth::guarded;
use crate::http::json_body::SendBodies;
use crate::http::openapi::{self, DocumentText};
use crate::http::state::HttpState;
use crate::http::{callbacks, compat, follow, public};
use crate::store::Role;

/// Routes that ask for a key.
fn api() -> OpenApiRouter<HttpState> {
    let reader = OpenApiRouter::new()
        .merge(messages::looking())
        .merge(channels::routes())
        .merge(event_stream::routes())
        .merge(events::routes())
        .merge(rejections::routes())
        .merge(platform_addresses::routes())
        .merge(deliveries::routes())
        .merge(endpoints::looking())
        .merge(replays::looking())
        .merge(schemas::routes())
        .merge(shadow::routes())
        .merge(handlers::routes())
        .merge(status::routes())
        .merge(metrics::routes())
        .merge(openapi::routes());
    OpenApiRouter::new()
        .merge(guarded(Role::Reader, reader))
        .merge(guarded(Role::Operator, messages::acting().merge(files::routes())))
        .merge(guarded(Role::Operator, endpoint_acts::acting()))
        .merge(guarded(Role::Operator, replays::acting()))
        .merge(guarded(Role::Operator, deliveries::acting()))
        .merge(guarded(Role::Operator, suites::routes().merge(smart_robots::routes())))
        .merge(guarded(Role::Admin, endpoints::configuring()))
        .merge(guarded(
            Role::Admin,
            reload::routes().merge(keys::routes()).merge(audit::routes()).merge(users::routes()),
        ))
}

/// The OpenAPI document.
pub fn document() -> Document {
    openapi::completed(public::routes().merge(follow::routes()).merge(api()).into_openapi())
}

/// The router. What it answers goes out through the gate.
pub fn router(state: HttpState) -> Router {
    let text = document().to_pretty_json().unwrap_or_default();
    let (api, _) = api().split_for_parts();
    let (public, _) = public::routes().merge(follow::routes()).split_for_parts();
    let compat = compat::routes(&state, SendBodies::from_ref(&state));
    let callbacks = state.callbacks.clone().map(callbacks::routes).unwrap_or_default();
    api.layer(Extension(state.keys.clone()))
        .layer(Extension(DocumentText(Bytes::copy_from_slice(text.as_bytes()))))
        .merge(public)
        .fallback(public::verify_file)
        .with_state(state)
        .merge(compat)
        .merge(callbacks)
}
