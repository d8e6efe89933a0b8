//! `/v1/webhook/…` as WeChatPadPro's clients speak it: each API key has one endpoint, made, changed, tested and taken
//! away without our own API.
//!
//! Everything is answered 200 with a `Code`, 200 when it was good. Names of fields and actions are read in either
//! letter case. The key stands in the address, as theirs does; a header works as well.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::pad_fields;
use crate::domain::endpoint::Endpoint;
use crate::domain::endpoint::wechatpadpro::types_of;
use crate::endpoint::signing::SigningKey;
use crate::forwarding::{ForwardError, Forwarding};
use crate::http::audit::Audit;
use crate::http::auth::{ApiKeys, Caller};
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::ids::EventId;
use crate::secret::Secret;
use crate::store::{DeliveryFilter, Role, Store};

/// What the names of these endpoints begin with.
const NAME: &str = "wechatpadpro-";

/// Longest name of an endpoint, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Between two looks for the answer to a test.
const LOOK: Duration = Duration::from_millis(20);

/// How long a test waits beyond the time-out of its request.
const TEST_SLACK_MS: i64 = 2_000;

/// What the routes need.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) forwarding: Forwarding,
    pub(super) store: Store,
    pub(super) keys: ApiKeys,
    pub(super) audit: Audit,
    pub(super) bodies: JsonBodies,
}

/// An answer in their form.
#[derive(Debug)]
pub(super) struct PadAnswer {
    code: i64,
    data: Value,
    text: String,
}

impl PadAnswer {
    fn good(data: Value) -> Self {
        Self { code: 200, data, text: String::new() }
    }

    pub(super) fn bad(code: i64, text: impl Into<String>) -> Self {
        Self { code, data: Value::Null, text: text.into() }
    }
}

impl IntoResponse for PadAnswer {
    fn into_response(self) -> Response {
        Json(json!({"Code": self.code, "Data": self.data, "Text": self.text})).into_response()
    }
}

impl From<ForwardError> for PadAnswer {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::Field(wrong) => {
                Self::bad(400, format!("{} {}", pad_fields::name_of(&wrong.field), wrong.reason))
            }
            ForwardError::NotFound => nothing_yet(),
            ForwardError::Conflict(why) => Self::bad(409, why),
            ForwardError::Store(error) => Problem::from(error).into(),
        }
    }
}

impl From<Problem> for PadAnswer {
    fn from(problem: Problem) -> Self {
        match problem.status().as_u16() {
            401 => Self::bad(-2, "该 key 无效"),
            status @ (400..=499) => Self::bad(i64::from(status), problem.detail()),
            status => {
                tracing::warn!(
                    cause = problem.cause().unwrap_or_default(),
                    "a drop-in call could not be served"
                );
                Self::bad(i64::from(status), "busy")
            }
        }
    }
}

fn nothing_yet() -> PadAnswer {
    PadAnswer::bad(404, "no webhook is configured for this key")
}

/// One call.
pub(super) async fn act(
    State(desk): State<Desk>,
    Path(action): Path<String>,
    origin: Origin,
    request: Request,
) -> PadAnswer {
    let action = action.to_ascii_lowercase();
    let (parts, body) = request.into_parts();
    let done = match (&parts.method, action.as_str()) {
        (&Method::POST, "config") => desk.configure(&origin, parts, body).await,
        (&Method::PUT | &Method::POST, "update") => desk.update(&origin, parts, body).await,
        (&Method::GET, "list") => desk.list(&origin, &parts).await,
        (&Method::GET, "status") => desk.status(&origin, &parts).await,
        (&Method::GET | &Method::POST, "test") => desk.test(&origin, &parts).await,
        (&Method::DELETE | &Method::POST, "delete") => desk.delete(&origin, &parts).await,
        (_, "config" | "update" | "list" | "status" | "test" | "delete") => {
            Err(PadAnswer::bad(405, "another method is for this"))
        }
        _ => Err(PadAnswer::bad(404, "there is no such call")),
    };
    done.map_or_else(|answer| answer, PadAnswer::good)
}

impl Desk {
    async fn configure(&self, origin: &Origin, parts: Parts, body: Body) -> Result<Value, PadAnswer> {
        let caller = self.caller(Role::Admin, origin, &parts).await?;
        let mut asked = self.asked(Request::from_parts(parts, body)).await?;
        let Some(endpoint) = self.own(&caller).await? else {
            let mut fields = pad_fields::defaults();
            fields.append(&mut asked.fields);
            fields.insert("name".to_owned(), name(&caller).into());
            if let Some(secret) = &asked.secret {
                fields.insert("secret".to_owned(), secret.expose().into());
            }
            let made = self.forwarding.create(Value::Object(fields)).await?;
            self.audit.note(origin, &caller.actor, "endpoint.created", made.endpoint.id.as_str());
            return Ok(Value::Null);
        };
        if !asked.fields.contains_key("url") {
            return Err(PadAnswer::bad(400, "URL is missing"));
        }
        // What is not said is as it was never said.
        let mut fields = pad_fields::defaults();
        fields.append(&mut asked.fields);
        self.put(origin, &caller, &endpoint, pad_fields::Asked { fields, ..asked }).await
    }

    async fn update(&self, origin: &Origin, parts: Parts, body: Body) -> Result<Value, PadAnswer> {
        let caller = self.caller(Role::Admin, origin, &parts).await?;
        let asked = self.asked(Request::from_parts(parts, body)).await?;
        let endpoint = self.own(&caller).await?.ok_or_else(nothing_yet)?;
        self.put(origin, &caller, &endpoint, asked).await
    }

    async fn put(
        &self,
        origin: &Origin,
        caller: &Caller,
        endpoint: &Endpoint,
        asked: pad_fields::Asked,
    ) -> Result<Value, PadAnswer> {
        self.forwarding.change(&endpoint.id, Value::Object(asked.fields)).await?;
        self.audit.note(origin, &caller.actor, "endpoint.changed", endpoint.id.as_str());
        if let Some(secret) = asked.secret {
            let exchange = json!({"secret": secret.expose(), "overlap_s": 0});
            self.forwarding.rotate(&endpoint.id, exchange).await?;
            self.audit.note(origin, &caller.actor, "endpoint.secret_changed", endpoint.id.as_str());
        }
        Ok(Value::Null)
    }

    async fn list(&self, origin: &Origin, parts: &Parts) -> Result<Value, PadAnswer> {
        self.caller(Role::Reader, origin, parts).await?;
        let rows = self.store.endpoints().await.map_err(Problem::from)?;
        let all = rows.into_iter().map(|row| row.endpoint).filter(is_of_them);
        Ok(all.map(|endpoint| Value::Object(shown(&endpoint))).collect())
    }

    async fn status(&self, origin: &Origin, parts: &Parts) -> Result<Value, PadAnswer> {
        let caller = self.caller(Role::Reader, origin, parts).await?;
        let endpoint = self.own(&caller).await?.ok_or_else(nothing_yet)?;
        let tally = self.store.tally(endpoint.id.as_str()).await.map_err(Problem::from)?;
        let mut data = shown(&endpoint);
        let last_s = tally.last.map(|(at_ms, _)| at_ms.div_euclid(1_000));
        data.insert("lastSendTime".to_owned(), last_s.unwrap_or(0).into());
        data.insert("lastSendStatus".to_owned(), tally.last.is_some_and(|(_, succeeded)| succeeded).into());
        data.insert("totalSent".to_owned(), tally.sent.into());
        data.insert("totalFailed".to_owned(), tally.failed.into());
        Ok(Value::Object(data))
    }

    /// One push, and what it came to. One that failed is not tried again.
    async fn test(&self, origin: &Origin, parts: &Parts) -> Result<Value, PadAnswer> {
        let caller = self.caller(Role::Operator, origin, parts).await?;
        let endpoint = self.own(&caller).await?.ok_or_else(nothing_yet)?;
        let event = self.forwarding.test(&endpoint.id).await?;
        let patience_ms = endpoint.spec.timeout_ms.saturating_add(TEST_SLACK_MS);
        let patience = Duration::from_millis(u64::try_from(patience_ms).unwrap_or(0));
        match tokio::time::timeout(patience, self.outcome(&event)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_elapsed) => Ok(
                json!({"Success": false, "Message": "not sent yet: it waits its turn", "Elapsed": patience_ms}),
            ),
        }
    }

    async fn outcome(&self, event: &EventId) -> Result<Value, Problem> {
        let cargo = Some(crate::domain::delivery::Cargo::Event(event.clone()));
        let filter = DeliveryFilter { cargo, ..DeliveryFilter::default() };
        loop {
            let found = self.store.deliveries(&filter).await?.items.into_iter().next();
            if let Some(delivery) = found
                && let Some(attempt) = self.store.attempts(&delivery.id).await?.into_iter().next()
            {
                let is_good = attempt.error.is_none();
                if !is_good {
                    // It may have ended already.
                    let _over = self.forwarding.by_hand(crate::store::ByHand::Drop, &delivery.id).await;
                }
                let message = attempt.error.unwrap_or_default();
                return Ok(json!({"Success": is_good, "Message": message, "Elapsed": attempt.duration_ms}));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn delete(&self, origin: &Origin, parts: &Parts) -> Result<Value, PadAnswer> {
        let caller = self.caller(Role::Admin, origin, parts).await?;
        let endpoint = self.own(&caller).await?.ok_or_else(nothing_yet)?;
        self.forwarding.remove(&endpoint.id).await?;
        self.audit.note(origin, &caller.actor, "endpoint.deleted", endpoint.id.as_str());
        Ok(Value::Null)
    }

    /// Whoever has the key in the address, if their role is enough.
    async fn caller(&self, role: Role, origin: &Origin, parts: &Parts) -> Result<Caller, PadAnswer> {
        let query = parts.uri.query().unwrap_or_default();
        let key = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key");
        let caller = match key {
            Some((_, key)) => {
                let shown = HeaderValue::try_from(format!("Bearer {key}"));
                let shown = shown.unwrap_or_else(|_no_header| HeaderValue::from_static("Bearer"));
                let headers = HeaderMap::from_iter([(header::AUTHORIZATION, shown)]);
                self.keys.caller(&headers, origin).await?
            }
            None => self.keys.caller(&parts.headers, origin).await?,
        };
        if caller.role < role {
            return Err(PadAnswer::bad(403, "the key's role is not enough for this"));
        }
        if !caller.may_see_all() {
            return Err(PadAnswer::bad(403, "the key is for some sources only"));
        }
        Ok(caller)
    }

    async fn asked(&self, request: Request) -> Result<pad_fields::Asked, PadAnswer> {
        let body: BTreeMap<String, Value> = self.bodies.read(request).await?;
        let asked = pad_fields::read(body)?;
        if let Some(secret) = &asked.secret {
            check(secret)?;
        }
        Ok(asked)
    }

    /// The endpoint of a key.
    async fn own(&self, caller: &Caller) -> Result<Option<Endpoint>, PadAnswer> {
        let rows = self.store.endpoints().await.map_err(Problem::from)?;
        let name = name(caller);
        Ok(rows.into_iter().map(|row| row.endpoint).find(|one| is_of_them(one) && one.spec.name == name))
    }
}

/// A secret is checked before anything is changed.
fn check(secret: &Secret) -> Result<(), PadAnswer> {
    let key = SigningKey::parse(secret).map_err(|why| PadAnswer::bad(400, format!("Secret {why}")))?;
    if key.public().is_some() {
        return Err(PadAnswer::bad(400, "Secret must be one for HMAC"));
    }
    Ok(())
}

fn name(caller: &Caller) -> String {
    format!("{NAME}{}", caller.actor).chars().take(NAME_CHARS_MAX).collect()
}

fn is_of_them(endpoint: &Endpoint) -> bool {
    endpoint.spec.name.starts_with(NAME) && endpoint.spec.dialect.is_wechatpadpro()
}

/// An endpoint in their fields, without its secret.
fn shown(endpoint: &Endpoint) -> Map<String, Value> {
    let spec = &endpoint.spec;
    let url = spec.targets.first().map(|target| target.url.as_str()).unwrap_or_default();
    let fields = [
        ("url", Value::from(url)),
        ("enabled", endpoint.state.takes_events().into()),
        ("timeout", spec.timeout_ms.div_euclid(1_000).into()),
        ("retryCount", spec.delays_ms.len().into()),
        ("messageTypes", types_of(&spec.filter.kinds).into()),
        ("includeSelfMessage", spec.filter.condition.is_none().into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
