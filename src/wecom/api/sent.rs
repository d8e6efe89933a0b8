//! The answer of `message/send` beyond its errcode: the message's handle, and who was not reached.

use serde::Deserialize;
use serde_json::Value;

use crate::secret::Secret;

/// What `message/send` said besides `errcode`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentAnswer {
    /// For a recall within 24 hours.
    pub msgid: Option<String>,
    /// For one change of an interactive card within 72 hours.
    pub response_code: Option<Secret>,
    /// Who was not reached.
    pub missed: Vec<Missed>,
}

/// Somebody, or some group, that was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// In which list of the answer.
    pub list: MissedList,
    /// The id; user ids come in lower case.
    pub id: String,
}

/// The lists of those who were not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissedList {
    /// People who do not exist or do not see the app.
    Users,
    /// Departments.
    Parties,
    /// Tags.
    Tags,
    /// People without a licence.
    Unlicensed,
}

impl MissedList {
    /// The code that the platform would answer if it were the only recipient.
    pub fn errcode(self) -> i64 {
        match self {
            Self::Users => 40003,
            Self::Parties => 60123,
            Self::Tags => 40068,
            Self::Unlicensed => 701_016,
        }
    }

    /// What it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Users => "does not exist, or is outside what the app may see",
            Self::Parties => "the department does not exist, or is outside what the app may see",
            Self::Tags => "the tag does not exist, or is outside what the app may see",
            Self::Unlicensed => "has no licence for the interface, or it has run out",
        }
    }

    /// How the recipient is called in a status: people by their id, groups with what they are.
    pub fn recipient(self, id: &str) -> String {
        match self {
            Self::Users | Self::Unlicensed => id.to_owned(),
            Self::Parties => format!("party:{id}"),
            Self::Tags => format!("tag:{id}"),
        }
    }
}

impl SentAnswer {
    /// Reads the body of an answer; what is missing or of another type is taken as not said.
    pub fn parse(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Wire {
            msgid: Value,
            response_code: Value,
            invaliduser: Value,
            invalidparty: Value,
            invalidtag: Value,
            unlicenseduser: Value,
        }
        let wire: Wire = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let lists = [
            (MissedList::Users, &wire.invaliduser),
            (MissedList::Parties, &wire.invalidparty),
            (MissedList::Tags, &wire.invalidtag),
            (MissedList::Unlicensed, &wire.unlicenseduser),
        ];
        let mut missed = Vec::new();
        for (list, ids) in lists {
            missed.extend(ids_of(ids).into_iter().map(|id| Missed { list, id }));
        }
        Self { msgid: text(&wire.msgid), response_code: text(&wire.response_code).map(Secret::new), missed }
    }
}

/// `a|b`, or a list: the platform answers both, in different places.
fn ids_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(joined) => {
            joined.split('|').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
        }
        Value::Array(list) => list
            .iter()
            .filter_map(|id| match id {
                Value::String(id) => Some(id.clone()),
                Value::Number(id) => Some(id.to_string()),
                _ => None,
            })
            .filter(|id| !id.is_empty())
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_lists_and_both_handles_are_read() {
        let body =
            br#"{"errcode":0,"errmsg":"ok","invaliduser":"u1|u2","invalidparty":"3","invalidtag":["4",5],
            "unlicenseduser":"","msgid":"m-1","response_code":"rc"}"#;
        let answer = SentAnswer::parse(body);
        assert_eq!(answer.msgid.as_deref(), Some("m-1"));
        assert!(answer.response_code.is_some_and(|code| code.matches("rc")));
        let named: Vec<String> = answer.missed.iter().map(|one| one.list.recipient(&one.id)).collect();
        assert_eq!(named, ["u1", "u2", "party:3", "tag:4", "tag:5"]);
    }

    #[test]
    fn what_is_not_said_is_nothing() {
        for body in [&b"{\"errcode\":0}"[..], b"{\"msgid\":7,\"invaliduser\":null}", b"<html>"] {
            assert_eq!(SentAnswer::parse(body), SentAnswer::default());
        }
    }
}
