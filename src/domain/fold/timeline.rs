//! Evidence → history and interactions: what became known, in the order in which it became known.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::domain::evidence::{Evidence, Fact, InteractionKind};
use crate::domain::message::Message;
use crate::domain::status::Status;
use crate::ids::{EventId, EvidenceId};

use super::said::{Mark, Said, stated};

/// One change of a message's status, or of one recipient's.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// The evidence behind it; the cursor of the list.
    pub evidence_id: EvidenceId,
    /// Our id, or the reference asked for.
    pub message_id: String,
    /// What was learned.
    pub status: Status,
    /// When, wall time in ms.
    pub timestamp_ms: i64,
    /// Of whom; `None`: of the whole message.
    pub user_id: Option<String>,
    /// What came with a failure.
    pub error_message: Option<String>,
    /// Source, event, code, generation; `late` if something of higher rank was already known.
    pub details: Map<String, Value>,
}

/// What a person did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InteractionEntry {
    /// The evidence behind it; the cursor of the list.
    pub evidence_id: EvidenceId,
    /// Our id, or the reference asked for.
    pub message_id: String,
    /// Who; `None` if that cannot be known.
    pub user_id: Option<String>,
    /// What they did.
    pub kind: InteractionKind,
    /// The button's key, the reply, the judgement.
    pub value: Option<String>,
    /// When, wall time in ms.
    pub timestamp_ms: i64,
    /// The channel or reporter it comes from.
    pub source: String,
    /// The event that carried it.
    pub event_id: Option<EventId>,
}

/// The history of one message, oldest first.
pub fn history(message: Option<&Message>, reference: &str, evidence: &[Evidence]) -> Vec<HistoryEntry> {
    let mut timeline = Timeline::new(shown_id(message, reference));
    in_order(evidence).into_iter().filter_map(|one| timeline.add(one)).collect()
}

/// The interactions with one message, oldest first.
pub fn interactions(
    message: Option<&Message>,
    reference: &str,
    evidence: &[Evidence],
) -> Vec<InteractionEntry> {
    let id = shown_id(message, reference);
    in_order(evidence).into_iter().filter_map(|one| InteractionEntry::read(&id, one)).collect()
}

fn shown_id(message: Option<&Message>, reference: &str) -> String {
    message.map_or_else(|| reference.to_owned(), |message| message.id.to_string())
}

/// Ids rise with time; equal ids are one piece of evidence.
fn in_order(evidence: &[Evidence]) -> Vec<&Evidence> {
    let mut ordered: Vec<&Evidence> = evidence.iter().collect();
    ordered.sort_by(|a, b| a.id.cmp(&b.id));
    ordered.dedup_by(|a, b| a.id == b.id);
    ordered
}

/// A history in the making, for evidence that comes in pages in the order of its ids.
#[derive(Debug)]
pub struct Timeline {
    message_id: String,
    subjects: HashMap<Option<String>, Said>,
}

impl Timeline {
    /// The empty history of the message shown as `message_id`.
    pub fn new(message_id: String) -> Self {
        Self { message_id, subjects: HashMap::new() }
    }

    /// The entry that `evidence` adds; `None` if it states no status, or repeats what was already said.
    pub fn add(&mut self, evidence: &Evidence) -> Option<HistoryEntry> {
        let status = stated(evidence)?;
        let said = self.subjects.entry(evidence.recipient.clone()).or_default();
        if said.said_of(evidence.generation).any(|known| known == status) {
            return None;
        }
        let superseded = said.generation().is_some_and(|last| last > evidence.generation);
        let late = superseded || said.said_of(evidence.generation).any(|known| known > status);
        said.note(evidence.generation, status, Mark::implied(evidence.at_ms));
        Some(HistoryEntry {
            evidence_id: evidence.id.clone(),
            message_id: self.message_id.clone(),
            status,
            timestamp_ms: evidence.at_ms,
            user_id: evidence.recipient.clone(),
            error_message: match evidence.fact {
                Fact::Status(_) => evidence.text.clone(),
                Fact::Interaction(_) => None,
            },
            details: circumstances(evidence, late),
        })
    }
}

fn circumstances(evidence: &Evidence, late: bool) -> Map<String, Value> {
    let mut details = Map::new();
    let mut put = |key: &str, value: Value| details.insert(key.to_owned(), value);
    put("source", json!(evidence.source));
    if let Some(event_id) = &evidence.event_id {
        put("event_id", json!(event_id));
    }
    if let Fact::Interaction(kind) = &evidence.fact {
        put("interaction", json!(kind.as_str()));
    }
    if let Some(code) = evidence.code {
        put("code", json!(code));
    }
    if evidence.generation > 0 {
        put("generation", json!(evidence.generation));
    }
    if late {
        put("late", json!(true));
    }
    details
}

impl InteractionEntry {
    /// Reads one piece of evidence; `None` if it is about a status.
    pub fn read(message_id: &str, evidence: &Evidence) -> Option<Self> {
        let Fact::Interaction(kind) = &evidence.fact else { return None };
        Some(Self {
            evidence_id: evidence.id.clone(),
            message_id: message_id.to_owned(),
            user_id: evidence.recipient.clone(),
            kind: kind.clone(),
            value: evidence.text.clone(),
            timestamp_ms: evidence.at_ms,
            source: evidence.source.clone(),
            event_id: evidence.event_id.clone(),
        })
    }
}
