//! `message/send`, `message/recall` and `webhook/send` as the platform has them.

use axum::extract::{Query, Request, State};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Compat;
use super::answer::QyAnswer;
use super::token::Bearer;
use crate::channel::wecom_app::App;
use crate::channel::wecom_robot::Robot;
use crate::http::body;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::messages::Caller;

/// Fields of the platform's form beside the message itself. Others it ignores, and so do we here.
const BESIDE: [&str; 9] = [
    "msgtype",
    "touser",
    "toparty",
    "totag",
    "agentid",
    "safe",
    "enable_id_trans",
    "enable_duplicate_check",
    "duplicate_check_interval",
];

/// The same for robots.
const BESIDE_ROBOT: [&str; 4] = ["msgtype", "chatid", "post_id", "visible_to_user"];

#[derive(Debug, Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    pub(super) access_token: String,
}

/// `POST /cgi-bin/message/send`.
pub(super) async fn app(
    State(compat): State<Compat>,
    origin: Origin,
    Query(Token { access_token }): Query<Token>,
    request: Request,
) -> Result<QyAnswer, QyAnswer> {
    let bearer = compat.bearer(&access_token).await?;
    let mut message = compat.read(request).await?;
    let (channel, _) = chosen(&bearer, message.get("agentid"))?;
    let word = message.get("msgtype").and_then(Value::as_str).unwrap_or_default().to_owned();
    message.retain(|name, value| {
        // Some SDKs send every field of an envelope, and empty those they do not use.
        (BESIDE.contains(&name.as_str()) && *value != Value::String(String::new())) || *name == word
    });
    // The platform cuts a text that is too long without a word; here a notice says so.
    message.insert("long_text".to_owned(), "truncate".into());
    let channel = channel.clone();
    compat.send(message, &channel, bearer.actor, &origin).await
}

/// `POST /cgi-bin/message/recall`.
pub(super) async fn recall(
    State(compat): State<Compat>,
    origin: Origin,
    Query(Token { access_token }): Query<Token>,
    request: Request,
) -> Result<QyAnswer, QyAnswer> {
    let bearer = compat.bearer(&access_token).await?;
    let order = compat.read(request).await?;
    let msgid = order.get("msgid").and_then(Value::as_str).unwrap_or_default();
    let allowed = bearer.apps.iter().map(|(name, _)| name.clone()).collect();
    let caller = Caller { scope: bearer.actor.clone(), allowed };
    let id = compat.messages.recall(msgid, &caller).await?;
    compat.audit.note(&origin, &bearer.actor, "message.recalled", id.as_str());
    Ok(QyAnswer::ok())
}

#[derive(Debug, Deserialize)]
pub(super) struct Key {
    #[serde(default)]
    key: String,
}

/// `POST /cgi-bin/webhook/send`.
pub(super) async fn robot(
    State(compat): State<Compat>,
    origin: Origin,
    Query(Key { key }): Query<Key>,
    request: Request,
) -> Result<QyAnswer, QyAnswer> {
    let (channel, _, actor) = compat.robot(&key, &origin).await?;
    let mut message = compat.read(request).await?;
    let word = message.get("msgtype").and_then(Value::as_str).unwrap_or_default().to_owned();
    message.retain(|name, _| BESIDE_ROBOT.contains(&name.as_str()) || *name == word);
    compat.send(message, &channel, actor, &origin).await
}

/// The app that a request is for.
pub(super) fn chosen<'b>(
    bearer: &'b Bearer,
    agent_id: Option<&Value>,
) -> Result<&'b (String, App), QyAnswer> {
    let number = match agent_id {
        None => None,
        Some(Value::Number(number)) => number.as_u64(),
        Some(other) => other.as_str().and_then(|text| text.parse().ok()),
    };
    let mut fit = bearer.apps.iter().filter(|(_, app)| agent_id.is_none() || Some(app.agent_id()) == number);
    match (fit.next(), fit.next()) {
        (Some(one), None) => Ok(one),
        _ if agent_id.is_some() => {
            Err(QyAnswer::error(301_002, "the app of this agentid is not the token's"))
        }
        _ => Err(QyAnswer::error(40056, "invalid agentid")),
    }
}

impl Compat {
    pub(super) async fn read(&self, request: Request) -> Result<Map<String, Value>, QyAnswer> {
        let bodies = &self.bodies.0;
        // Old scripts send every type of content, or none.
        let received = body::receive(request.into_body(), bodies.bytes_max, &bodies.budget).await;
        let received = received.map_err(Problem::from)?;
        serde_json::from_slice(&received.bytes)
            .map_err(|_not_an_object| QyAnswer::error(40058, "Warning: wrong json format"))
    }

    /// The robot that `key` opens: its own key, or an API key that may use exactly one robot.
    pub(super) async fn robot(
        &self,
        key: &str,
        origin: &Origin,
    ) -> Result<(String, Robot, String), QyAnswer> {
        let mut robots = self.messages.robots();
        if let Some(at) = robots.iter().position(|(_, robot)| robot.has_key(key)) {
            let (name, robot) = robots.swap_remove(at);
            let actor = format!("channel:{name}");
            return Ok((name, robot, actor));
        }
        let known = self.keys.known_operator(key).await.map_err(Problem::from)?;
        let Some((_, caller)) = known else {
            let refused = self.keys.refuse(origin);
            let is_flood = refused.status().as_u16() == 429;
            return Err(if is_flood {
                refused.into()
            } else {
                QyAnswer::error(93000, "invalid webhook url")
            });
        };
        robots.retain(|(name, _)| caller.may_see(name));
        match (robots.pop(), robots.pop()) {
            (Some((name, robot)), None) => Ok((name, robot, caller.actor)),
            _ => Err(QyAnswer::error(93000, "invalid webhook url: the key may use no robot, or several")),
        }
    }

    pub(super) async fn send(
        &self,
        mut message: Map<String, Value>,
        channel: &str,
        actor: String,
        origin: &Origin,
    ) -> Result<QyAnswer, QyAnswer> {
        message.insert("channel".to_owned(), channel.into());
        let caller = Caller { scope: actor.clone(), allowed: vec![channel.to_owned()] };
        let ended = self.messages.ended();
        let accepted = self.messages.send(Value::Object(message), &caller, None).await?;
        self.audit.note(origin, &actor, "message.sent", accepted.id.as_str());
        Ok(self.outcome(&accepted, ended).await)
    }
}
