//! An order to deliver stored events once more: which, to whom, how fast, and how far it has come.

use serde_json::{Value, json};

use crate::domain::filter::{Condition, Filter, KindPattern};
use crate::ids::{EndpointId, ReplayId};

/// Deliveries a second, where nobody says.
pub const PER_S: i64 = 100;

/// Most deliveries a second that can be asked for.
pub const PER_S_MAX: i64 = 10_000;

/// Where a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// It goes on by itself, also after a restart.
    Running,
    /// It has come to the end.
    Done,
    /// Somebody stopped it; what was queued before goes out.
    Cancelled,
}

impl ReplayState {
    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads [`ReplayState::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Cancelled].into_iter().find(|state| state.as_str() == text)
    }
}

/// Which events are meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayOf {
    /// Accepted at this time or later, wall ms.
    pub since_ms: i64,
    /// Accepted before this time, wall ms.
    pub until_ms: i64,
    /// Of these, what this takes; `None`: what the endpoint wants now.
    pub filter: Option<Filter>,
}

impl ReplayOf {
    /// The form in the table.
    pub fn to_json(&self) -> Value {
        let filter = self.filter.as_ref().map(|filter| {
            let kinds: Vec<String> = filter.kinds.iter().map(KindPattern::to_text).collect();
            let condition = filter.condition.as_ref().map(Condition::to_json);
            json!({"events": kinds, "sources": filter.sources, "match": condition})
        });
        json!({"since_ms": self.since_ms, "until_ms": self.until_ms, "filter": filter})
    }

    /// Reads [`ReplayOf::to_json`].
    pub fn of_json(value: &Value) -> Option<Self> {
        let filter = match value.get("filter")? {
            Value::Null => None,
            filter => {
                let texts = |name: &str| {
                    let list = filter.get(name)?.as_array()?.iter();
                    list.map(|one| Some(one.as_str()?.to_owned())).collect::<Option<Vec<String>>>()
                };
                let kinds = texts("events")?;
                let kinds = kinds.iter().map(|kind| KindPattern::parse(kind).ok()).collect::<Option<_>>()?;
                let condition = match filter.get("match")? {
                    Value::Null => None,
                    condition => Some(Condition::parse("match", condition).ok()?),
                };
                Some(Filter { kinds, sources: texts("sources")?, condition })
            }
        };
        Some(Self {
            since_ms: value.get("since_ms")?.as_i64()?,
            until_ms: value.get("until_ms")?.as_i64()?,
            filter,
        })
    }
}

/// A replay as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Our id.
    pub id: ReplayId,
    /// To whom.
    pub endpoint: EndpointId,
    /// The run of its deliveries: an event is delivered once in each.
    pub run: i64,
    /// Where it stands.
    pub state: ReplayState,
    /// Which events.
    pub of: ReplayOf,
    /// Deliveries a second at most.
    pub per_s_max: i64,
    /// How far the walk over the events has come; empty: not begun.
    pub place: String,
    /// Events looked at.
    pub looked_at: i64,
    /// Deliveries made.
    pub queued: i64,
    /// When it was made, wall ms.
    pub created_ms: i64,
    /// When it last moved, wall ms.
    pub updated_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_reads_back() {
        let of = ReplayOf { since_ms: 5, until_ms: 9, filter: None };
        assert_eq!(ReplayOf::of_json(&of.to_json()), Some(of.clone()));
        let condition = Condition::parse("match", &json!({"field": "user_id", "exists": true})).ok();
        let kinds = vec![KindPattern::parse("message.*").unwrap()];
        let filter = Some(Filter { kinds, sources: vec!["a".to_owned()], condition });
        let of = ReplayOf { filter, ..of };
        assert_eq!(ReplayOf::of_json(&of.to_json()), Some(of));
        assert_eq!(ReplayOf::of_json(&json!({})), None);
    }
}
