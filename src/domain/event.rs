//! What a verified callback says, typed as far as the gateway acts on it.
//!
//! An event is never refused for what it says: a kind nobody knows is a normal event, a plaintext that cannot be
//! read is an event of kind `unreadable`. The plaintext itself is kept beside it word for word.

use std::fmt;

/// What happened, as dotted words of the platform's own.
///
/// | kind | is |
/// |---|---|
/// | `message.{MsgType}` | somebody wrote: `message.text` |
/// | `event.{Event}[.{ChangeType}]` | something happened: `event.change_contact.create_user` |
/// | `command.{InfoType}[.{ChangeType}]` | a suite's or provider's command: `command.suite_ticket` |
/// | `status.{form}` | another system reports on a message: `status.msg_read` |
/// | `interaction.{what}` | a person did something with a message: `interaction.click` |
/// | `unknown` | readable, but of none of these forms |
/// | `unreadable` | not readable; kept as bytes |
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct EventKind(String);

impl EventKind {
    /// Longest kind that is kept, in bytes; longer ones are cut, the payload keeps the whole.
    pub const BYTES_MAX: usize = 128;

    /// The kind of a plaintext that could not be read.
    pub const UNREADABLE: &'static str = "unreadable";

    /// Joins the non-empty parts with dots. Characters outside `[A-Za-z0-9_-]` become `_`.
    pub fn from_parts(parts: &[&str]) -> Self {
        let mut text = String::with_capacity(32);
        for part in parts.iter().filter(|part| !part.is_empty()) {
            if !text.is_empty() {
                text.push('.');
            }
            if part.bytes().all(is_word_byte) {
                text.push_str(part);
            } else {
                text.extend(
                    part.chars().map(|c| if u8::try_from(c).is_ok_and(is_word_byte) { c } else { '_' }),
                );
            }
        }
        text.truncate(Self::BYTES_MAX);
        Self(text)
    }

    /// A kind read back from the store, as it was written.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The dotted words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a byte may stand in a kind as it is.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the plaintext is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One `<xml>` document.
    Xml,
    /// One JSON object.
    Json,
    /// Neither, or one that breaks a limit; kept as bytes.
    Opaque,
}

impl Format {
    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xml => "xml",
            Self::Json => "json",
            Self::Opaque => "opaque",
        }
    }

    /// Reads [`Format::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Xml, Self::Json, Self::Opaque].into_iter().find(|format| format.as_str() == text)
    }
}

/// One event as read from a plaintext. Ids are text whatever their size: 64-bit numbers do not fit JSON's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// How the plaintext is written.
    pub format: Format,
    /// The corp (or suite, or Official Account) it is about: `ToUserName`, `AuthCorpId`, `SuiteId`.
    pub corp_id: Option<String>,
    /// The app, where the plaintext names one.
    pub agent_id: Option<String>,
    /// The member who caused it, or whom it is about (`FromUserName`, `UserID`, `from.userid`); never `sys`.
    pub user_id: Option<String>,
    /// The customer it is about (`ExternalUserID`).
    pub external_user_id: Option<String>,
    /// The group chat it is about (`ChatId`, `chatid`).
    pub chat_id: Option<String>,
    /// The id the plaintext carries at its root (`MsgId`, `msgid`); what it names depends on `meaning`.
    pub message_ref: Option<String>,
    /// `CreateTime`, `TimeStamp` or `create_time`, in seconds since 1970.
    pub created_s: Option<i64>,
    /// What the tracker and people act on.
    pub meaning: Meaning,
}

impl Event {
    /// An event of which nothing is known but its kind.
    pub fn of_kind(kind: EventKind, format: Format) -> Self {
        Self {
            kind,
            format,
            corp_id: None,
            agent_id: None,
            user_id: None,
            external_user_id: None,
            chat_id: None,
            message_ref: None,
            created_s: None,
            meaning: Meaning::Other,
        }
    }
}

/// The part of an event that has an own type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A person wrote to an app or a robot; `message_ref` is the id of what they wrote.
    UserMessage {
        /// `text`, `image`, `voice`, …
        message_type: String,
    },
    /// A menu entry was used.
    Menu {
        /// `click`, `view`, `view_miniprogram`, `scancode_waitmsg`, …
        action: String,
        /// `EventKey`: the entry's key or address.
        key: String,
    },
    /// A person opened the app or the chat with a robot.
    Enter,
    /// A person joined the visible range of the app (`true`) or left it.
    Subscription {
        /// Whether they joined.
        joined: bool,
    },
    /// A template card was clicked or submitted.
    Card {
        /// The sender's `task_id`.
        task_id: String,
        /// The button's key.
        key: String,
        /// `CardType`, if given.
        card_type: String,
        /// Good for one update of the card within 72 h; empty if none.
        response_code: String,
        /// Question key and chosen option ids.
        selected: Vec<(String, Vec<String>)>,
    },
    /// People, departments or tags changed.
    Contact {
        /// `create_user`, `delete_party`, `user_add`, …
        change: String,
    },
    /// Another system says what became of a message (PMC's forms).
    StatusReport {
        /// The id of the message reported on.
        reference: String,
        /// What is reported.
        status: crate::domain::status::Status,
        /// The error code with a failure.
        code: Option<i64>,
        /// The error text with a failure.
        text: Option<String>,
    },
    /// An Official Account says what became of messages that were sent through it.
    JobResult {
        /// A result for each message named.
        results: Vec<JobResult>,
        /// Whether they speak of the follower who is named, or of all whom the message was for.
        of_person: bool,
    },
    /// A person did something with a message a robot sent (PMC's signed plain JSON).
    Interaction {
        /// The id of that message.
        reference: String,
        /// What they did.
        kind: crate::domain::evidence::InteractionKind,
        /// The button's key or the reply's text, if any.
        value: Option<String>,
    },
    /// A person judged an answer of a smart robot.
    Feedback {
        /// `feedback.id` of the answer judged.
        reference: String,
        /// 1 accurate, 2 inaccurate, 3 withdrawn, or another number.
        verdict: i64,
        /// What the person wrote to it.
        text: String,
    },
    /// Anything else: kept, forwarded, not acted on.
    Other,
}

/// What became of one message of an Official Account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// The message's id.
    pub reference: String,
    /// `Delivered` or `Failed`.
    pub status: crate::domain::status::Status,
    /// The error code with a failure that has one.
    pub code: Option<i64>,
    /// The platform's words: why it failed, or how many were reached.
    pub text: Option<String>,
}

/// The deduplication key of one event: 8 hex digits of its time, 32 of a hash. Equal for every repeat.
///
/// The time in front makes keys nearly rise, which halves what the unique index costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupKey([u8; 20]);

impl DedupKey {
    /// Builds the key from the event's time in seconds (0 if it has none) and a hash of what identifies it.
    pub fn new(created_s: Option<i64>, hash: &[u8; 16]) -> Self {
        let seconds = created_s.and_then(|s| u32::try_from(s).ok()).unwrap_or(0);
        let mut out = [0; 20];
        for (to, from) in out.iter_mut().zip(seconds.to_be_bytes().iter().chain(hash)) {
            *to = *from;
        }
        Self(out)
    }

    /// Reads the 40 hex digits of [`DedupKey::to_text`].
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut out = [0; 20];
        if text.len() != 2 * out.len() {
            return None;
        }
        for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else { return None };
            *to = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(out))
    }

    /// The 40 hex digits.
    pub fn to_text(self) -> String {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

impl fmt::Debug for DedupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_dotted_words_of_bounded_length() {
        assert_eq!(
            EventKind::from_parts(&["event", "change_contact", "create_user"]).as_str(),
            "event.change_contact.create_user"
        );
        assert_eq!(EventKind::from_parts(&["message", "", "text"]).as_str(), "message.text");
        assert_eq!(EventKind::from_parts(&["event", "a b\n<é>"]).as_str(), "event.a_b____");
        assert_eq!(EventKind::from_parts(&["x".repeat(500).as_str()]).as_str().len(), EventKind::BYTES_MAX);
    }

    #[test]
    fn a_dedup_key_is_the_time_and_the_hash() {
        let key = DedupKey::new(Some(0x6553_F100), &[0xAB; 16]);
        assert_eq!(key.to_text(), format!("6553f100{}", "ab".repeat(16)));
        assert_eq!(DedupKey::new(None, &[0; 16]).to_text(), "0".repeat(40));
        assert_eq!(DedupKey::parse(&key.to_text()), Some(key));
        assert_eq!(DedupKey::parse(&key.to_text().to_uppercase()), None);
        assert_eq!(DedupKey::parse("6553f100"), None);
        assert_eq!(DedupKey::new(Some(-5), &[1; 16]), DedupKey::new(Some(1 << 40), &[1; 16]));
    }
}
