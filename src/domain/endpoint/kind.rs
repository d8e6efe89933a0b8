//! What an endpoint is: an HTTP receiver, a stream of a broker, or an archive. Each has fields of its own.

use serde_json::{Map, Value};

use super::fields::{Fields, SpecError};

/// What stands in a subject for the kind of the event.
const KIND_MARK: &str = "{kind}";

/// What stands in a subject for the event's source.
const SOURCE_MARK: &str = "{source}";

const SUBJECT_BYTES_MAX: usize = 255;
const KEY_BYTES_MAX: usize = 512;
const USER_BYTES_MAX: usize = 128;

/// Longest name of a database, as MongoDB has it.
const DATABASE_BYTES_MAX: usize = 63;

/// What an endpoint is, and where in it events go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndpointKind {
    /// A business system that is called.
    #[default]
    Http,
    /// A JetStream of NATS: published with the event's id, and done when the stream has it.
    Nats {
        /// Who logs in; empty: a token, or nobody.
        user: String,
        /// May have `{kind}` and `{source}` in it.
        subject: String,
    },
    /// A stream of Redis.
    RedisStream {
        /// Who logs in; empty: the default user.
        user: String,
        /// The key.
        stream: String,
        /// Entries that are kept, about; 0: all.
        max_length: i64,
    },
    /// A collection of MongoDB: one document for each event, under the event's id.
    MongoDb {
        /// Who logs in; empty: nobody.
        user: String,
        /// The database.
        database: String,
        /// The collection.
        collection: String,
    },
}

impl EndpointKind {
    /// The word in requests and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Nats { .. } => "nats",
            Self::RedisStream { .. } => "redis_stream",
            Self::MongoDb { .. } => "mongodb",
        }
    }

    /// Whether it is called over HTTP, and so signed to.
    pub fn is_http(&self) -> bool {
        *self == Self::Http
    }

    /// Who logs in; empty: nobody by name.
    pub fn user(&self) -> &str {
        match self {
            Self::Http => "",
            Self::Nats { user, .. } | Self::RedisStream { user, .. } | Self::MongoDb { user, .. } => user,
        }
    }

    /// Takes its fields out of `fields`.
    pub(super) fn read(fields: &mut Fields) -> Result<Self, SpecError> {
        const WORDS: [(&str, u8); 4] = [("http", 0), ("nats", 1), ("redis_stream", 2), ("mongodb", 3)];
        let word = fields.word("kind", &WORDS)?.unwrap_or_default();
        if word == 0 {
            return Ok(Self::Http);
        }
        let user = fields.text("user", USER_BYTES_MAX)?.unwrap_or_default();
        match word {
            1 => Ok(Self::Nats { user, subject: needed(fields, "subject", SUBJECT_BYTES_MAX, is_subject)? }),
            2 => Ok(Self::RedisStream {
                user,
                stream: needed(fields, "stream", KEY_BYTES_MAX, |_| Ok(()))?,
                max_length: fields.number("max_length", 0, i64::from(u32::MAX))?.unwrap_or(0),
            }),
            _ => Ok(Self::MongoDb {
                user,
                database: needed(fields, "database", DATABASE_BYTES_MAX, is_database)?,
                collection: needed(fields, "collection", KEY_BYTES_MAX, is_collection)?,
            }),
        }
    }

    /// Writes its fields: what [`EndpointKind::read`] reads.
    pub(super) fn write(&self, out: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("kind", self.as_str().into());
        if !self.user().is_empty() {
            put("user", self.user().into());
        }
        match self {
            Self::Http => {}
            Self::Nats { subject, .. } => {
                put("subject", subject.as_str().into());
            }
            Self::RedisStream { stream, max_length, .. } => {
                put("stream", stream.as_str().into());
                put("max_length", (*max_length).into());
            }
            Self::MongoDb { database, collection, .. } => {
                put("database", database.as_str().into());
                put("collection", collection.as_str().into());
            }
        }
    }
}

/// The subject of an event of `kind` from `source`.
pub fn subject_of(subject: &str, kind: &str, source: &str) -> String {
    subject.replace(KIND_MARK, kind).replace(SOURCE_MARK, source)
}

fn needed(
    fields: &mut Fields,
    name: &str,
    bytes_max: usize,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<String, SpecError> {
    let text = fields.text(name, bytes_max)?.filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| fields.wrong(name, "is missing"))?;
    check(&text).map_err(|why| fields.wrong(name, why))?;
    Ok(text)
}

/// A subject to publish to. Subjects with `$` in front command the broker itself.
fn is_subject(text: &str) -> Result<(), &'static str> {
    const FORM: &str = "must be a subject such as `wecom.events` or `wecom.{kind}`, without blanks, `*`, `>`, and `$` \
                        in front";
    let plain = subject_of(text, "kind", "source");
    let is_token = |token: &str| {
        !token.is_empty() && token.bytes().all(|b| (33..127).contains(&b) && !b"*>{}\\".contains(&b))
    };
    let is_fine = plain.split('.').all(is_token) && !plain.starts_with(['$', '_']);
    // What stands in front must not come from an event's own text.
    if is_fine && !text.starts_with('{') { Ok(()) } else { Err(FORM) }
}

fn is_database(text: &str) -> Result<(), &'static str> {
    if text.chars().any(|c| "/\\. \"$*<>:|?".contains(c)) {
        Err("must be the name of a database, without blanks and any of /\\.\"$*<>:|?")
    } else {
        Ok(())
    }
}

fn is_collection(text: &str) -> Result<(), &'static str> {
    if text.contains('$') || text.starts_with("system.") {
        Err("must be the name of a collection, without `$` and not beginning with `system.`")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_filled_in() {
        assert_eq!(subject_of("wecom.{source}.{kind}", "message.text", "app"), "wecom.app.message.text");
        assert_eq!(subject_of("wecom", "message.text", "app"), "wecom");
    }

    #[test]
    fn a_subject_commands_nobody() {
        for subject in ["wecom", "wecom.events", "wecom.{kind}", "a.{source}.{kind}", "A-1_b"] {
            assert_eq!(is_subject(subject), Ok(()), "{subject}");
        }
        for subject in [
            "$JS.API.STREAM.DELETE.X",
            "_INBOX.x",
            "{kind}",
            "a..b",
            ".a",
            "a.",
            "a b",
            "a.*",
            ">",
            "a.{x}",
            "é",
        ] {
            assert!(is_subject(subject).is_err(), "{subject}");
        }
    }
}
