//! Streams of smart robots: what is said when the platform asks for the rest of an answer.
//!
//! A stream that a reply opened without naming it has the id of its event. What it says is kept in the database, where
//! a business system changes it through the API, so any replica can answer, also after a restart.

use serde::Deserialize;

use super::Parts;
use crate::domain::event::{Event, Format};
use crate::ids::EventId;
use crate::store::{StoreError, StreamRow};
use crate::wecom::api::passive;

/// A stream that is not finished by then is finished by us: the platform asks for six minutes.
const LIFE_MS: i64 = 330_000;

/// The stream of ours whose rest is asked for.
pub(super) fn asked_for(event: &Event, payload: &[u8]) -> Option<EventId> {
    #[derive(Deserialize)]
    struct Wire {
        stream: Stream,
    }
    #[derive(Deserialize)]
    struct Stream {
        id: String,
    }
    if event.kind.as_str() != "message.stream" || event.format != Format::Json {
        return None;
    }
    let wire: Wire = serde_json::from_slice(payload).ok()?;
    EventId::parse(&wire.stream.id)
}

impl Parts {
    /// What the stream `id` of `source` says now; `None`: nobody opened it.
    pub(super) async fn told(&self, source: &str, id: &EventId) -> Result<Option<String>, StoreError> {
        let Some(row) = self.store.stream(id).await?.filter(|row| row.source == source) else {
            return Ok(None);
        };
        let is_over = self.clock.wall_ms().saturating_sub(row.opened_ms) >= LIFE_MS;
        Ok(Some(passive::stream_text(id.as_str(), row.finished || is_over, &row.body)))
    }

    /// Keeps what the first answer said, for when the platform asks for the rest.
    pub(super) async fn open(&self, source: &str, id: &EventId, body: String, opened_ms: i64) {
        let row = StreamRow { source: source.to_owned(), body, finished: false, opened_ms };
        if let Err(error) = self.store.open_stream(id, row).await {
            tracing::warn!(source, event = %id, %error, "a stream was opened and is not kept");
        }
    }
}
