//! Asking a business system what to say: the event as endpoints get it, and a reply as JSON.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::Value;

use super::{Ask, Parts, counted};
use crate::domain::endpoint::{Dialect, PayloadForm};
use crate::endpoint::http::{WebFault, WebRequest};
use crate::endpoint::payload::{Content, body};
use crate::endpoint::signing::{Signed, headers};
use crate::store::NewEvent;
use crate::wecom::api::passive::{Frame, Occasion, PassiveReply};

/// What is left of the callback's time for sealing and sending the answer.
const RESERVE_MS: i64 = 100;

/// The version of the body.
const PAYLOAD_VERSION: i64 = 1;

/// One question.
#[derive(Clone)]
pub(super) struct Question {
    ask: Arc<Ask>,
    event: Arc<NewEvent>,
    is_robot: bool,
    deadline_ms: i64,
}

/// Why there is no reply.
struct Silence {
    outcome: &'static str,
    why: String,
}

impl Question {
    pub(super) fn new(ask: Arc<Ask>, event: &NewEvent, is_robot: bool, deadline_ms: i64) -> Self {
        Self { ask, event: Arc::new(event.clone()), is_robot, deadline_ms }
    }

    /// Asks; `None`: nothing is to be said.
    pub(super) async fn ask(&self, parts: &Parts) -> Option<PassiveReply> {
        let (source, event) = (&*self.event.source, &self.event.id);
        match self.exchange(parts).await {
            Ok(Some(reply)) => {
                counted(source, "asked");
                Some(reply)
            }
            Ok(None) => {
                counted(source, "nothing");
                None
            }
            Err(Silence { outcome, why }) => {
                counted(source, outcome);
                tracing::warn!(source, %event, outcome, why, "no reply from the business system; the answer is empty");
                None
            }
        }
    }

    async fn exchange(&self, parts: &Parts) -> Result<Option<PassiveReply>, Silence> {
        let silence = |outcome, why: String| Silence { outcome, why };
        let Ok(_permit) = parts.permits.try_acquire() else {
            return Err(silence("busy", "too many questions are under way".to_owned()));
        };
        let begun_ms = parts.clock.steady_ms();
        let left_ms = self.deadline_ms.saturating_sub(begun_ms).saturating_sub(RESERVE_MS);
        let timeout_ms = u64::try_from(left_ms).unwrap_or(0).min(self.ask.timeout_ms);
        if timeout_ms == 0 {
            return Err(silence("late", "the commit took all the time there is".to_owned()));
        }
        let request = self.request(timeout_ms, parts.clock.wall_s());
        let asked = parts.client.ask(request, parts.limits.answer_bytes_max).await;
        let took_ms = parts.clock.steady_ms().saturating_sub(begun_ms);
        let source = self.event.source.to_string();
        let took = Duration::from_millis(u64::try_from(took_ms).unwrap_or(0));
        metrics::histogram!("wecom_reply_ask_seconds", "source" => source).record(took);
        let answer = asked.map_err(|fault| {
            let outcome = match fault {
                WebFault::Late(_) => "late",
                WebFault::TooLong(_) => "wrong",
                WebFault::NotSent(_) | WebFault::Lost(_) => "failed",
            };
            silence(outcome, fault.to_string())
        })?;
        match answer.http_status {
            200..=299 => self.read(&answer.body).map_err(|why| silence("wrong", why)),
            other => Err(silence("failed", format!("it answered {other}"))),
        }
    }

    /// The reply in an answer; none if it is empty.
    fn read(&self, answer: &[u8]) -> Result<Option<PassiveReply>, String> {
        if answer.trim_ascii().is_empty() {
            return Ok(None);
        }
        let value: Value =
            serde_json::from_slice(answer).map_err(|error| format!("the answer is no JSON: {error}"))?;
        if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(None);
        }
        let reply = PassiveReply::parse(&value).map_err(|wrong| wrong.to_string())?;
        let occasion = Occasion { event: &self.event.event, is_robot: self.is_robot };
        let frame = Frame { now_s: 0, stream_id: self.event.id.as_str() };
        reply.plaintext(&occasion, &frame).map_err(|wrong| wrong.to_string())?;
        Ok(Some(reply))
    }

    fn request(&self, timeout_ms: u64, now_s: i64) -> WebRequest {
        let (new, event) = (&self.event, &self.event.event);
        let content = Content {
            id: new.id.as_str(),
            kind: event.kind.as_str(),
            source: &new.source,
            accepted_ms: new.accepted_ms,
            format: event.format,
            corp_id: event.corp_id.as_deref(),
            user_id: event.user_id.as_deref(),
            external_user_id: event.external_user_id.as_deref(),
            chat_id: event.chat_id.as_deref(),
            plaintext: &new.payload,
        };
        let body = body(&content, PayloadForm::Json, PAYLOAD_VERSION, &[]);
        let signed = Signed { id: content.id, kind: content.kind, timestamp_s: now_s, body: &body.bytes };
        let within = timeout_ms.to_string();
        let mut all = headers(Dialect::Standard, &[&self.ask.key], &signed);
        all.push(("x-webhook-event", content.kind.to_owned()));
        all.push(("x-webhook-reply-within-ms", within));
        let mut sent: Vec<(HeaderName, HeaderValue)> = all
            .into_iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
            })
            .collect();
        sent.push((header::CONTENT_TYPE, HeaderValue::from_static(body.content_type)));
        WebRequest { url: self.ask.url.clone(), headers: sent, body: Bytes::clone(&body.bytes), timeout_ms }
    }
}
