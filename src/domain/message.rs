//! A message to people: what is asked for and what is kept.

use crate::domain::sealed::Unopened;
use crate::domain::status::Status;
use crate::ids::MessageId;

/// What to do when the answer to a send that the platform cannot deduplicate was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendPolicy {
    /// Never twice: the message becomes `uncertain`.
    #[default]
    AtMostOnce,
    /// Never lost: it is sent again, perhaps twice.
    AtLeastOnce,
}

impl SendPolicy {
    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at_most_once",
            Self::AtLeastOnce => "at_least_once",
        }
    }

    /// Reads [`SendPolicy::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::AtMostOnce, Self::AtLeastOnce].into_iter().find(|policy| policy.as_str() == text)
    }
}

/// A message as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Our id.
    pub id: MessageId,
    /// The channel it goes out through.
    pub channel: String,
    /// WeCom's `msgtype`: `text`, `markdown`, …
    pub message_type: String,
    /// The body as it is sent, JSON text; byte-identical over retries. A text that was split has a line for each part.
    /// Empty while `unopened`.
    pub body: String,
    /// Why the body cannot be read.
    pub unopened: Option<Unopened>,
    /// The people named one by one; empty where the send is to a chat, `@all`, a party or a tag.
    pub recipients: Vec<String>,
    /// What happens on a lost answer.
    pub policy: SendPolicy,
    /// The caller's `Idempotency-Key`, scoped by API key.
    pub idempotency_key: Option<String>,
    /// The status as last folded; the truth is the evidence.
    pub status: Status,
    /// Which sending is current: 0, and one more with each resend.
    pub generation: i64,
    /// When we took it, wall time in ms.
    pub created_ms: i64,
    /// When `status` last changed, wall time in ms.
    pub updated_ms: i64,
    /// Not sent after this, wall time in ms.
    pub expires_ms: Option<i64>,
}

impl Message {
    /// How many requests it takes.
    pub fn parts(&self) -> usize {
        self.body.lines().count().max(1)
    }

    /// The body of request number `at`, from 0.
    pub fn part(&self, at: usize) -> &str {
        self.body.lines().nth(at).unwrap_or(&self.body)
    }
}
