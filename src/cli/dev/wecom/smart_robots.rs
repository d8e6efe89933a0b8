//! Late answers to smart robots' callbacks on the fake platform: `POST /cgi-bin/aibot/response?response_code=…` takes
//! each code once; `GET /_fake/responses` shows what was said. Source: document 101138 at developer.work.weixin.qq.com.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Shared;
use super::app_routes::meet;
use super::world::ApiReply;

/// One late answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// The code under which it came.
    pub response_code: String,
    /// When, ms since 1970.
    pub at_ms: i64,
    /// What was said.
    pub body: Value,
}

/// Its routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/cgi-bin/aibot/response", post(respond)).route("/_fake/responses", get(list))
}

#[derive(Debug, Deserialize)]
struct Code {
    #[serde(default)]
    response_code: String,
}

async fn respond(
    State(shared): State<Arc<Shared>>,
    Query(Code { response_code }): Query<Code>,
    body: Bytes,
) -> Response {
    let at_ms = shared.now_ms();
    let fault = shared.world().faults.take_named("aibot/response");
    let done = |refused: Option<ApiReply>| {
        let mut world = shared.world();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let is_said = |word: &str| body.get("msgtype").is_some_and(|given| given == word);
        let reply = if let Some(reply) = refused {
            reply
        } else if response_code.is_empty()
            || world.responses.iter().any(|said| said.response_code == response_code)
        {
            ApiReply::error(60140, "invalid response_code")
        } else if is_said("markdown") || is_said("template_card") {
            world.responses.push(Said { response_code: response_code.clone(), at_ms, body });
            ApiReply::ok()
        } else {
            ApiReply::error(40008, "invalid message type")
        };
        reply.into()
    };
    meet(fault, done, || {}).await
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<Said>> {
    Json(shared.world().responses.clone())
}
