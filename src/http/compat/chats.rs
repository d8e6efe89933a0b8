//! `appchat/…`: group chats that an app makes.
//!
//! A message to a chat is one like others. Making, changing and showing a chat is handed through: the platform alone
//! knows the rules, and its answer is given back as it came.

use axum::extract::{Query, Request, State};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Compat;
use super::answer::QyAnswer;
use super::send::{Token, chosen};
use crate::http::origin::Origin;
use crate::wecom::api::recipients::chat_id;

/// Fields of the platform's form beside the message itself.
const BESIDE: [&str; 3] = ["chatid", "msgtype", "safe"];

/// `POST /cgi-bin/appchat/send`.
pub(super) async fn send(
    State(compat): State<Compat>,
    origin: Origin,
    Query(Token { access_token }): Query<Token>,
    request: Request,
) -> Result<QyAnswer, QyAnswer> {
    let bearer = compat.bearer(&access_token).await?;
    let mut message = compat.read(request).await?;
    let (channel, _) = chosen(&bearer, None)?;
    let word = message.get("msgtype").and_then(Value::as_str).unwrap_or_default().to_owned();
    message.retain(|name, _| BESIDE.contains(&name.as_str()) || *name == word);
    if !message.contains_key("chatid") {
        return Err(QyAnswer::error(86001, "invalid chat id"));
    }
    let channel = channel.clone();
    compat.send(message, &channel, bearer.actor, &origin).await
}

/// `POST /cgi-bin/appchat/create`.
pub(super) async fn create(
    state: State<Compat>,
    origin: Origin,
    token: Query<Token>,
    request: Request,
) -> Result<QyAnswer, QyAnswer> {
    hand_through(&state, "appchat/create", &token.access_token, request, &origin).await
}

/// `POST /cgi-bin/appchat/update`.
pub(super) async fn update(
    state: State<Compat>,
    origin: Origin,
    token: Query<Token>,
    request: Request,
) -> Result<QyAnswer, QyAnswer> {
    hand_through(&state, "appchat/update", &token.access_token, request, &origin).await
}

async fn hand_through(
    compat: &Compat,
    method: &'static str,
    access_token: &str,
    request: Request,
    origin: &Origin,
) -> Result<QyAnswer, QyAnswer> {
    let bearer = compat.bearer(access_token).await?;
    let order = Value::Object(compat.read(request).await?);
    let (channel, app) = chosen(&bearer, None)?;
    compat.audit.note(origin, &bearer.actor, method, channel);
    let (tried, body) = app.chat(method, Some(&order.to_string())).await;
    said(&body).ok_or_else(|| unreachable_now(tried.error.as_deref()))
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    chatid: String,
}

/// `GET /cgi-bin/appchat/get`.
pub(super) async fn get(
    State(compat): State<Compat>,
    Query(asked): Query<Asked>,
) -> Result<QyAnswer, QyAnswer> {
    let bearer = compat.bearer(&asked.access_token).await?;
    let id = chat_id(&asked.chatid).ok_or_else(|| QyAnswer::error(86001, "invalid chat id"))?;
    let (_, app) = chosen(&bearer, None)?;
    let (tried, body) = app.chat(&format!("appchat/get?chatid={id}"), None).await;
    said(&body).ok_or_else(|| unreachable_now(tried.error.as_deref()))
}

/// The platform's answer; `None`: there is none.
fn said(body: &[u8]) -> Option<QyAnswer> {
    let mut answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let errcode = answer.remove("errcode")?.as_i64()?;
    let errmsg = answer.remove("errmsg");
    let errmsg = errmsg.as_ref().and_then(Value::as_str).unwrap_or_default();
    let given = answer.into_iter();
    Some(given.fold(QyAnswer::error(errcode, errmsg), |answer, (name, value)| answer.with(&name, value)))
}

fn unreachable_now(why: Option<&str>) -> QyAnswer {
    tracing::warn!(why, "a group chat could not be handed through");
    QyAnswer::error(-1, "system busy")
}
