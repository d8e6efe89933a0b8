//! All that evidence says of one subject: of a message as a whole, or of one person.
//!
//! A set of (generation, status), each with the evidence that said it first. Sets do not know the order in which
//! they were filled: that is why the order of arrival cannot change a status.

use std::collections::BTreeMap;

use crate::domain::evidence::{Evidence, Fact};
use crate::domain::status::Status;
use crate::ids::EvidenceId;

/// The evidence that said something first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at_ms: i64,
    pub(super) id: Option<EvidenceId>,
    pub(super) code: Option<i64>,
    pub(super) text: Option<String>,
}

impl Mark {
    /// A mark that no evidence stands for: what follows from the message being there.
    pub(super) fn implied(at_ms: i64) -> Self {
        Self { at_ms, id: None, code: None, text: None }
    }
}

/// What is said of one subject.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(BTreeMap<(i64, Status), Mark>);

impl Said {
    /// Notes that `status` was said of sending number `generation`; the earliest evidence of it is kept.
    pub(super) fn note(&mut self, generation: i64, status: Status, mark: Mark) {
        self.0
            .entry((generation, status))
            .and_modify(|kept| {
                if (mark.at_ms, &mark.id) < (kept.at_ms, &kept.id) {
                    *kept = mark.clone();
                }
            })
            .or_insert(mark);
    }

    /// Takes over all that was said of the same subject under another name.
    pub(super) fn merge(&mut self, other: Self) {
        for ((generation, status), mark) in other.0 {
            self.note(generation, status, mark);
        }
    }

    /// The last sending anything was said of.
    pub(super) fn generation(&self) -> Option<i64> {
        self.0.keys().map(|(generation, _)| *generation).max()
    }

    /// All statuses said of sending `generation`, lowest first.
    pub(super) fn said_of(&self, generation: i64) -> impl Iterator<Item = Status> {
        self.0.keys().filter(move |(of, _)| *of == generation).map(|(_, status)| *status)
    }

    /// What counts when sending `generation` is the current one: all said of it, and `delivered` or `read` of any.
    pub(super) fn counted(&self, generation: i64) -> impl Iterator<Item = (Status, &Mark)> {
        self.0
            .iter()
            .filter(move |((of, status), _)| {
                *of == generation || matches!(status, Status::Delivered | Status::Read)
            })
            .map(|((_, status), mark)| (*status, mark))
    }
}

/// The status that a piece of evidence states of its subject, if it states one: a click says that this person read
/// the message, a reply or a click by nobody known says nothing.
pub(super) fn stated(evidence: &Evidence) -> Option<Status> {
    match &evidence.fact {
        Fact::Status(status) => Some(*status),
        Fact::Interaction(kind) => {
            (kind.proves_read() && evidence.recipient.is_some()).then_some(Status::Read)
        }
    }
}
