//! The fake platform's routes: requests → the world → answers in the platform's form.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::faults::{Fault, FaultKind};
use super::world::ApiReply;
use super::{Shared, app_routes};
use crate::cli::dev::listener::HangUp;
use crate::cli::dev::platform::{Forgery, Platform};
use crate::domain::event::Format;

pub(super) type World = State<Arc<Shared>>;

/// Every route.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/cgi-bin/webhook/send", post(send))
        .route("/_fake/inbox", get(inbox))
        .route("/_fake/requests", get(requests).delete(forget))
        .route("/_fake/robots", post(add_robot).delete(remove_robot))
        .route("/_fake/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/_fake/callback", post(callback))
        .merge(super::addresses::routes())
        .merge(super::figures::routes())
        .merge(super::rules::routes())
        .merge(super::smart_robots::routes())
        .merge(app_routes::router())
        .with_state(shared)
}

#[derive(Debug, Deserialize)]
struct Key {
    #[serde(default)]
    key: Option<String>,
}

async fn send(State(shared): World, Query(Key { key }): Query<Key>, body: Bytes) -> Response {
    let key = key.unwrap_or_default();
    let fault = shared.world().faults.take(&key);
    let now_ms = shared.now_ms();
    let take = |refused: Option<ApiReply>| shared.world().send(&key, &body, now_ms, refused);
    match fault {
        None | Some(FaultKind::None) => answer(&take(None), &Map::new()),
        Some(FaultKind::CloseAfter) => {
            take(None);
            HangUp::response()
        }
        Some(FaultKind::Truncate) => truncated(&take(None)),
        Some(FaultKind::Slow { delay_ms }) => {
            let reply = take(None);
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            answer(&reply, &Map::new())
        }
        Some(FaultKind::Errcode { code }) => {
            answer(&take(Some(ApiReply::error(code, "a fault was asked for"))), &Map::new())
        }
        Some(FaultKind::CloseBefore) => {
            shared.world().note_unread(&key, now_ms);
            HangUp::response()
        }
        Some(FaultKind::Http { status }) => {
            shared.world().note_unread(&key, now_ms);
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
        Some(FaultKind::Html) => {
            shared.world().note_unread(&key, now_ms);
            axum::response::Html("<html><body>please log in</body></html>").into_response()
        }
    }
}

/// The platform answers 200 whatever happened, and says it twice.
pub(super) fn answer(reply: &ApiReply, more: &Map<String, Value>) -> Response {
    let mut body = json!({"errcode": reply.errcode, "errmsg": reply.errmsg});
    if let Some(body) = body.as_object_mut() {
        body.extend(more.clone());
    }
    let headers = [
        ("error-code", reply.errcode.to_string()),
        ("error-msg", reply.errmsg.clone()),
        ("content-type", "application/json; charset=UTF-8".to_owned()),
    ];
    (headers, body.to_string()).into_response()
}

/// An answer that promises more bytes than it has.
pub(super) fn truncated(reply: &ApiReply) -> Response {
    let mut response = answer(reply, &Map::new());
    let half = Body::from(r#"{"errcode":0,"#);
    response.headers_mut().insert("content-length", 512.into());
    *response.body_mut() = Body::new(http_body_util::BodyExt::boxed_unsync(half));
    response
}

async fn inbox(State(shared): World, Query(Key { key }): Query<Key>) -> Json<Value> {
    let seen = shared.world().requests(key.as_deref());
    Json(json!(seen.into_iter().filter(|request| request.shown).collect::<Vec<_>>()))
}

async fn requests(State(shared): World, Query(Key { key }): Query<Key>) -> Json<Value> {
    Json(json!(shared.world().requests(key.as_deref())))
}

async fn forget(State(shared): World) -> StatusCode {
    shared.world().forget_requests();
    StatusCode::NO_CONTENT
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RobotOrder {
    key: String,
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

async fn add_robot(State(shared): World, Json(RobotOrder { key, enabled }): Json<RobotOrder>) -> StatusCode {
    let mut world = shared.world();
    world.add_robot(&key);
    world.enable_robot(&key, enabled);
    StatusCode::CREATED
}

async fn remove_robot(State(shared): World, Query(Key { key }): Query<Key>) -> StatusCode {
    shared.world().remove_robot(&key.unwrap_or_default());
    StatusCode::NO_CONTENT
}

async fn faults(State(shared): World) -> Json<Value> {
    Json(json!(shared.world().faults.all()))
}

async fn add_fault(State(shared): World, Json(fault): Json<Fault>) -> StatusCode {
    shared.world().faults.add(fault);
    StatusCode::CREATED
}

async fn clear_faults(State(shared): World) -> StatusCode {
    shared.world().faults.clear();
    StatusCode::NO_CONTENT
}

/// What to tell which gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallbackOrder {
    url: String,
    token: String,
    encoding_aes_key: String,
    #[serde(default)]
    receive_id: String,
    plaintext: String,
    #[serde(default)]
    forge: Option<Forgery>,
}

async fn callback(State(shared): World, Json(order): Json<CallbackOrder>) -> Response {
    match deliver(&shared, order).await {
        Ok(answered) => Json(answered).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, Json(json!({"error": format!("{error:#}")}))).into_response(),
    }
}

async fn deliver(shared: &Shared, order: CallbackOrder) -> anyhow::Result<Value> {
    let platform = Platform::new(&order.token, &order.encoding_aes_key, &order.receive_id)?;
    let format = if order.plaintext.starts_with('{') { Format::Json } else { Format::Xml };
    let plaintext = order.plaintext.as_bytes();
    let now_s = shared.now_ms().div_euclid(1_000);
    let request = platform.callback(plaintext, format, now_s, &shared.entropy, order.forge);
    let answer = shared.caller.post(&order.url, request).await?;
    Ok(json!({
        "http_status": answer.http_status,
        "request_id": answer.request_id,
        "reply": platform.open_reply(&answer),
        "body": answer.body,
    }))
}
