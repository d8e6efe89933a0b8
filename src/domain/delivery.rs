//! One event to one endpoint, or one message to one channel: a row, a state, attempts.

use crate::ids::{DeliveryId, EventId, MessageId};

/// What a delivery carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// An event, to an endpoint.
    Event(EventId),
    /// A message, to a channel.
    Message(MessageId),
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits for its due time.
    Queued,
    /// The other side took it.
    Succeeded,
    /// Refused for good.
    Failed,
    /// Given up after its last attempt; on the dead-letter list.
    Dead,
    /// At-most-once and the answer was lost.
    Uncertain,
    /// Its time passed before it was sent.
    Expired,
    /// Taken back before it was sent.
    Cancelled,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Succeeded,
        Self::Failed,
        Self::Dead,
        Self::Uncertain,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Uncertain => "uncertain",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads [`DeliveryState::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A delivery as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Our id.
    pub id: DeliveryId,
    /// What it goes to: a channel's or an endpoint's name.
    pub target_id: String,
    /// What it carries.
    pub cargo: Cargo,
    /// 0 for live traffic; a replay job has its own.
    pub run: i64,
    /// Higher goes first among those due; 0 is usual.
    pub priority: i64,
    /// Tries so far. A result is written only if this is still what the sender saw.
    pub attempts: i64,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it is due, steady ms; `None`: finished.
    pub due_ms: Option<i64>,
    /// Set and committed before an at-most-once request leaves, steady ms.
    pub started_ms: Option<i64>,
    /// Not sent after this, wall ms.
    pub expires_ms: Option<i64>,
    /// When it was made, wall ms.
    pub created_ms: i64,
}

/// One try of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: i64,
    /// When it began, wall ms.
    pub at_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
    /// HTTP status, if there was an answer.
    pub http_status: Option<i64>,
    /// WeCom's errcode, if the answer had one.
    pub errcode: Option<i64>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// The first bytes of the answer, at most 4 KiB.
    pub answer: Option<String>,
}
