//! Which events somebody wants: kinds with wildcards, sources, and small conditions on fields.
//!
//! There is no language that a user could loop or crash us with: a condition is a tree of bounded size that is
//! looked at once for each event.

mod condition;
mod routes;

pub use condition::{CONDITION_DEPTH_MAX, CONDITION_LEAVES_MAX, Condition};
pub use routes::{OrderKeyOf, Route, Routed, Routes};

use serde_json::Value;

use crate::domain::event::{Event, EventKind};

/// Most kinds in one filter.
pub const KINDS_MAX: usize = 200;

/// Kinds that only go to the endpoint they were made for.
pub const TEST_KINDS: &str = "test.";

/// A kind, a branch of kinds (`message.*`), or all of them (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KindPattern {
    /// `*`
    All,
    /// `message.*`: what begins with `message.`
    Branch(String),
    /// `message.text`
    Exact(String),
}

impl KindPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "must be a kind of event such as `message.text`, a branch such as `message.*`, or `*`";
        let is_kind = |text: &str| {
            !text.is_empty()
                && text.len() <= EventKind::BYTES_MAX
                && text.split('.').all(|word| {
                    !word.is_empty()
                        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                })
        };
        if text == "*" {
            return Ok(Self::All);
        }
        let (branch, is_branch) = text.strip_suffix(".*").map_or((text, false), |branch| (branch, true));
        if !is_kind(branch) {
            return Err(FORM);
        }
        let root = branch.split('.').next().unwrap_or_default();
        if !ROOTS.contains(&root) {
            return Err(
                "is no kind of event: kinds begin with message, event, command, status, interaction, \
                        unknown or unreadable",
            );
        }
        Ok(if is_branch { Self::Branch(format!("{branch}.")) } else { Self::Exact(text.to_owned()) })
    }

    /// Whether `kind` is meant.
    pub fn matches(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Branch(branch) => kind.starts_with(branch.as_str()),
            Self::Exact(exact) => kind == exact,
        }
    }

    /// As it was written.
    pub fn to_text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Branch(branch) => format!("{branch}*"),
            Self::Exact(exact) => exact.clone(),
        }
    }
}

/// What kinds begin with.
const ROOTS: [&str; 7] =
    ["message", "event", "command", "status", "interaction", "unknown", EventKind::UNREADABLE];

/// Which events somebody wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// One of these kinds; empty: none.
    pub kinds: Vec<KindPattern>,
    /// Only from these sources; empty: from all.
    pub sources: Vec<String>,
    /// Only where this holds.
    pub condition: Option<Condition>,
}

impl Filter {
    /// Whether `subject` is wanted.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.kinds.iter().any(|pattern| pattern.matches(subject.kind())) && self.matches_beside_kind(subject)
    }

    /// The same, of an event whose kind is known to match.
    pub fn matches_beside_kind(&self, subject: &Subject<'_>) -> bool {
        (self.sources.is_empty() || self.sources.iter().any(|source| source == subject.source))
            && self.condition.as_ref().is_none_or(|condition| condition.holds(subject))
    }
}

/// An event as filters look at it. Its body is read only if somebody asks for it.
pub struct Subject<'e> {
    source: &'e str,
    event: &'e Event,
    read_body: &'e dyn Fn() -> Value,
    body: std::cell::OnceCell<Value>,
}

impl<'e> Subject<'e> {
    /// `event` of `source`, with a way to its body.
    pub fn new(source: &'e str, event: &'e Event, read_body: &'e dyn Fn() -> Value) -> Self {
        Self { source, event, read_body, body: std::cell::OnceCell::new() }
    }

    /// What happened.
    pub fn kind(&self) -> &str {
        self.event.kind.as_str()
    }

    /// The event itself.
    pub fn event(&self) -> &Event {
        self.event
    }

    /// The text of a field; `None`: it is not there. Lists and objects are there and have no text.
    fn field(&self, path: &str) -> Found<'_> {
        let of = |text: Option<&'e str>| text.map_or(Found::Nothing, Found::Text);
        match path {
            "kind" => Found::Text(self.event.kind.as_str()),
            "source" => Found::Text(self.source),
            "corp_id" => of(self.event.corp_id.as_deref()),
            "user_id" => of(self.event.user_id.as_deref()),
            "external_user_id" => of(self.event.external_user_id.as_deref()),
            "chat_id" => of(self.event.chat_id.as_deref()),
            _ => match path.strip_prefix("body.") {
                Some(path) => self.body_field(path),
                None => Found::Nothing,
            },
        }
    }

    fn body_field(&self, path: &str) -> Found<'_> {
        let body = self.body.get_or_init(self.read_body);
        let found = path.split('.').try_fold(body, |value, step| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            other => other.get(step),
        });
        match found {
            None | Some(Value::Null) => Found::Nothing,
            Some(Value::String(text)) => Found::Text(text),
            Some(Value::Bool(flag)) => Found::Text(if *flag { "true" } else { "false" }),
            Some(Value::Number(number)) => Found::Owned(number.to_string()),
            Some(Value::Array(_) | Value::Object(_)) => Found::Structure,
        }
    }
}

/// What stands at a path.
enum Found<'e> {
    Nothing,
    Text(&'e str),
    Owned(String),
    Structure,
}

impl Found<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Found::Text(text) => Some(text),
            Found::Owned(text) => Some(text),
            Found::Nothing | Found::Structure => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_kind_a_branch_or_all() {
        let means = |pattern: &str, kind: &str| KindPattern::parse(pattern).unwrap().matches(kind);
        assert!(means("*", "message.text") && means("*", "unreadable"));
        assert!(means("message.*", "message.text") && !means("message.*", "messages.text"));
        assert!(!means("message.*", "message"), "a branch is not its root");
        assert!(means("event.change_contact.*", "event.change_contact.create_user"));
        assert!(means("message.text", "message.text") && !means("message.text", "message.text2"));
        for text in ["*", "message.*", "event.change_contact.create_user"] {
            assert_eq!(KindPattern::parse(text).unwrap().to_text(), text);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in
            ["", ".", "*.*", "message.", "message.**", "mes sage.text", "order.created", "message.*.x", "é"]
        {
            assert!(KindPattern::parse(text).is_err(), "{text}");
        }
        assert!(KindPattern::parse(&format!("message.{}", "x".repeat(120))).is_ok());
        assert!(KindPattern::parse(&format!("message.{}", "x".repeat(121))).is_err());
    }
}
