//! The fake platform's routes for apps.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::apps::AppReply;
use super::faults::FaultKind;
use super::routes::{World, answer, truncated};
use super::world::ApiReply;
use crate::cli::dev::listener::HangUp;

/// Every route.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/cgi-bin/gettoken", get(token))
        .route("/cgi-bin/{room}/{method}", post(call))
        .route("/cgi-bin/appchat/get", get(chat))
        .route("/cgi-bin/media/upload", post(upload).layer(DefaultBodyLimit::max(32 << 20)))
        .route("/cgi-bin/webhook/upload_media", post(upload).layer(DefaultBodyLimit::max(32 << 20)))
        .route("/_fake/people", get(shown).post(people))
        .route("/_fake/calls", get(calls))
        .route("/_fake/tokens", axum::routing::delete(revoke))
}

#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Credentials {
    corpid: String,
    corpsecret: String,
}

async fn token(State(shared): World, Query(asked): Query<Credentials>) -> Response {
    let now_ms = shared.now_ms();
    let fault = shared.world().faults.take_named("gettoken");
    let done = |refused: Option<ApiReply>| {
        let mut world = shared.world();
        if let Some(reply) = refused {
            world.apps.note("gettoken", now_ms, reply.errcode, Value::Null);
            return reply.into();
        }
        match world.apps.token(&asked.corpid, &asked.corpsecret, now_ms) {
            Ok((token, expires_s)) => {
                let mut reply = AppReply::from(ApiReply::ok());
                reply.more.insert("access_token".to_owned(), token.into());
                reply.more.insert("expires_in".to_owned(), expires_s.into());
                reply
            }
            Err(reply) => reply.into(),
        }
    };
    let unread = || shared.world().apps.note("gettoken", now_ms, -1, Value::Null);
    meet(fault, done, unread).await
}

/// Calls that take a token and JSON.
const METHODS: [&str; 6] = [
    "message/send",
    "message/recall",
    "message/update_template_card",
    "appchat/send",
    "appchat/create",
    "appchat/update",
];

#[derive(Debug, Deserialize)]
struct Token {
    #[serde(default)]
    access_token: String,
}

async fn call(
    State(shared): World,
    Path((room, method)): Path<(String, String)>,
    Query(Token { access_token }): Query<Token>,
    body: Bytes,
) -> Response {
    let method = format!("{room}/{method}");
    if !METHODS.contains(&method.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let now_ms = shared.now_ms();
    let fault = shared.world().faults.take(&method);
    let done = |refused| shared.world().apps.call(&method, &access_token, &body, now_ms, refused);
    let unread = || shared.world().apps.note(&method, now_ms, -1, Value::Null);
    meet(fault, done, unread).await
}

#[derive(Debug, Deserialize)]
struct Chat {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    chatid: String,
}

async fn chat(State(shared): World, Query(asked): Query<Chat>) -> Response {
    let now_ms = shared.now_ms();
    let fault = shared.world().faults.take("appchat/get");
    let body = json!({"chatid": asked.chatid}).to_string();
    let done = |refused| {
        shared.world().apps.call("appchat/get", &asked.access_token, body.as_bytes(), now_ms, refused)
    };
    meet(fault, done, || shared.world().apps.note("appchat/get", now_ms, -1, Value::Null)).await
}

#[derive(Debug, Deserialize)]
struct Upload {
    access_token: Option<String>,
    #[serde(default)]
    key: String,
    #[serde(default, rename = "type")]
    kind: String,
}

async fn upload(State(shared): World, Query(asked): Query<Upload>, form: Bytes) -> Response {
    let now_ms = shared.now_ms();
    let fault = shared.world().faults.take_named("media/upload");
    let done = |refused: Option<ApiReply>| {
        let mut world = shared.world();
        let admitted = match (&asked.access_token, refused) {
            (_, Some(reply)) => Err(reply),
            (Some(token), None) => world.apps.admit(token, now_ms),
            (None, None) if world.has_robot(&asked.key) => Ok(()),
            (None, None) => Err(ApiReply::error(93000, "invalid webhook url")),
        };
        let reply = match admitted {
            Ok(()) => world.apps.files.upload(&asked.key, &asked.kind, &form, now_ms),
            Err(reply) => reply.into(),
        };
        world.apps.note("media/upload", now_ms, reply.reply.errcode, Value::Null);
        reply
    };
    let unread = || shared.world().apps.note("media/upload", now_ms, -1, Value::Null);
    meet(fault, done, unread).await
}

/// Answers a call, or does what the fault says instead. `done` does what the call asks for; `unread` notes one that
/// was not.
pub(super) async fn meet(
    fault: Option<FaultKind>,
    done: impl Fn(Option<ApiReply>) -> AppReply,
    unread: impl Fn(),
) -> Response {
    let said = |reply: &AppReply| answer(&reply.reply, &reply.more);
    match fault {
        None | Some(FaultKind::None) => said(&done(None)),
        Some(FaultKind::CloseAfter) => {
            done(None);
            HangUp::response()
        }
        Some(FaultKind::Truncate) => truncated(&done(None).reply),
        Some(FaultKind::Slow { delay_ms }) => {
            let reply = done(None);
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            said(&reply)
        }
        Some(FaultKind::Errcode { code }) => {
            said(&done(Some(ApiReply::error(code, "a fault was asked for"))))
        }
        Some(FaultKind::CloseBefore) => {
            unread();
            HangUp::response()
        }
        Some(FaultKind::Http { status }) => {
            unread();
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
        Some(FaultKind::Html) => {
            unread();
            axum::response::Html("<html><body>please log in</body></html>").into_response()
        }
    }
}

#[derive(Debug, Deserialize)]
struct Person {
    user: Option<String>,
}

async fn shown(State(shared): World, Query(Person { user }): Query<Person>) -> Json<Value> {
    Json(json!(shared.world().apps.shown(user.as_deref())))
}

/// Who does not exist, and who has no licence.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct People {
    missing: Vec<String>,
    unlicensed: Vec<String>,
    accounts: Option<u64>,
}

async fn people(State(shared): World, Json(people): Json<People>) -> StatusCode {
    let mut world = shared.world();
    world.apps.miss(&people.missing);
    world.apps.unlicense(&people.unlicensed);
    if people.accounts.is_some() {
        world.apps.quota.accounts = people.accounts;
    }
    StatusCode::CREATED
}

#[derive(Debug, Deserialize)]
struct Method {
    method: Option<String>,
}

async fn calls(State(shared): World, Query(Method { method }): Query<Method>) -> Json<Value> {
    let world = shared.world();
    Json(json!({"calls": world.apps.calls(method.as_deref()), "dropped": world.apps.dropped()}))
}

async fn revoke(State(shared): World) -> StatusCode {
    shared.world().apps.revoke_tokens();
    StatusCode::NO_CONTENT
}
