//! What is said to a smart robot's callback after its answer: once, through the address that it carried, or word by
//! word, as a stream that the platform asks for again and again.
//!
//! The address is used at most once: its use is on disk before the request leaves, and is given back only if the
//! platform said that it did not take it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ActError, Caller, Messages, SendChannel};
use crate::channel::response_url::ResponseUrl;
use crate::domain::event::Format;
use crate::domain::outcome::Outcome;
use crate::ids::EventId;
use crate::sabotage::{self, Protection};
use crate::store::{StoredEvent, StreamRow};
use crate::wecom::api::field::FieldError;
use crate::wecom::api::passive::{self, PassiveReply};

/// How long after its callback an address can be used.
const RESPONSE_MS: i64 = 3_600_000;

/// How long after its callback the platform asks for the rest of a stream.
const STREAM_MS: i64 = 360_000;

/// What can be said in a stream that was opened already.
const FIELDS: [&str; 3] = ["content", "finish", "msg_item"];

/// What of a callback matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Carried {
    response_url: String,
}

impl Messages {
    /// Answers the callback `id` through its `response_url`, with markdown or a card.
    pub async fn respond(&self, id: &str, caller: &Caller, said: &Value) -> Result<EventId, ActError> {
        let event = self.called(id, caller).await?;
        let body = passive::late_body(said)?;
        let carried: Carried = serde_json::from_slice(&event.payload).unwrap_or_default();
        let channels = self.channels.load();
        let robot = match channels.get(&event.source) {
            Some(SendChannel::Robot(robot)) => Some(robot),
            _ => None,
        };
        let Some(at) = ResponseUrl::parse(&carried.response_url, robot) else {
            return Err(ActError::Impossible("the event has no response_url that leads to the platform"));
        };
        let Some(responder) = &self.responder else {
            return Err(ActError::Impossible("this gateway does not answer callbacks"));
        };
        let now_ms = self.clock.wall_ms();
        if now_ms.saturating_sub(event.accepted_ms) >= RESPONSE_MS {
            return Err(ActError::Impossible("the event is older than an hour"));
        }
        if !self.store.take_response(&event.id, now_ms).await? && !sabotage::off(Protection::ResponseOnce) {
            return Err(ActError::Impossible("the event was answered already, which works once"));
        }
        let tried = responder.post(&at, body).await;
        let text = tried.error.unwrap_or_default();
        match tried.outcome {
            Outcome::Accepted { .. } => Ok(event.id),
            Outcome::Lost => Err(ActError::Unsure(text)),
            Outcome::Refused | Outcome::Retry { .. } | Outcome::Wait { .. } | Outcome::Halt { .. } => {
                self.store.give_response_back(&event.id).await?;
                Err(ActError::Refused { code: tried.errcode, text })
            }
        }
    }

    /// Says what the stream that answers the callback `id` says from now on: `content` (all of it, not what is new),
    /// `finish`, and with that `msg_item`. Gives whether it is finished.
    pub async fn feed_stream(
        &self,
        id: &str,
        caller: &Caller,
        said: Value,
    ) -> Result<(EventId, bool), ActError> {
        let event = self.called(id, caller).await?;
        let stream = stream_of(said)?;
        let kind = event.kind.as_str();
        if !kind.starts_with("message.") || kind == "message.stream" {
            return Err(ActError::Impossible(
                "only what people write to a smart robot is answered by a stream",
            ));
        }
        let now_ms = self.clock.wall_ms();
        if now_ms.saturating_sub(event.accepted_ms) >= STREAM_MS {
            return Err(ActError::Impossible(
                "the platform asks for no more: the event is older than six minutes",
            ));
        }
        let finished = stream.get("finish") == Some(&Value::Bool(true));
        let row = StreamRow {
            source: event.source,
            body: passive::stream_body(&stream),
            finished,
            opened_ms: event.accepted_ms,
        };
        if self.store.feed_stream(&event.id, row).await? {
            Ok((event.id, finished))
        } else {
            Err(ActError::Impossible("the stream is finished"))
        }
    }

    /// The callback of a smart robot that the caller may see.
    async fn called(&self, id: &str, caller: &Caller) -> Result<StoredEvent, ActError> {
        let id = EventId::parse(id).ok_or(ActError::Unknown)?;
        let event = self.store.event(&id).await?.ok_or(ActError::Unknown)?;
        if !caller.allowed.is_empty() && !caller.allowed.contains(&event.source) {
            return Err(ActError::Unknown);
        }
        if event.format != Format::Json || event.payload.is_empty() {
            return Err(ActError::Impossible("the event is no smart robot's"));
        }
        Ok(event)
    }
}

/// The fields of a stream within the platform's limits; their names are those of the request.
fn stream_of(said: Value) -> Result<Map<String, Value>, FieldError> {
    let Value::Object(stream) = said else {
        return Err(FieldError::new("", "an object", "something else"));
    };
    if let Some(name) = stream.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(FieldError::new(
            name.as_str(),
            FIELDS.join(", "),
            "a field that a stream does not have here",
        ));
    }
    let reply = json!({"msgtype": "stream", "stream": stream});
    PassiveReply::parse(&reply).map_err(|wrong| FieldError {
        field: wrong.field.strip_prefix("stream.").map_or(wrong.field.clone(), ToOwned::to_owned),
        ..wrong
    })?;
    Ok(stream)
}
