//! The fake platform's own addresses: `getcallbackip`, and how a test changes what it says.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;

/// Its routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/cgi-bin/getcallbackip", axum::routing::get(list))
        .route("/_fake/callback_ips", axum::routing::put(set))
}

#[derive(Debug, Deserialize)]
struct Token {
    #[serde(default)]
    access_token: String,
}

async fn list(State(shared): State<Arc<Shared>>, Query(Token { access_token }): Query<Token>) -> Json<Value> {
    if !access_token.starts_with("fake-access-token-") {
        return Json(json!({"errcode": 40014, "errmsg": "invalid access_token", "ip_list": []}));
    }
    Json(json!({"errcode": 0, "errmsg": "ok", "ip_list": shared.world().callback_ips}))
}

async fn set(State(shared): State<Arc<Shared>>, Json(addresses): Json<Vec<String>>) {
    shared.world().callback_ips = addresses;
}
