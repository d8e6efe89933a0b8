//! The newest differences, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::EventId;

/// One callback that the old system answered in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When, wall ms.
    pub at_ms: i64,
    /// The source.
    pub source: Arc<str>,
    /// The callback's event.
    pub event_id: Option<EventId>,
    /// `reply`, `status`, `late`, `failed`.
    pub outcome: &'static str,
    /// What we said; empty: nothing.
    pub ours: String,
    /// What the old system said, or why there is nothing.
    pub theirs: String,
    /// Its status, if it answered.
    pub http_status: Option<u16>,
    /// How long it took.
    pub took_ms: i64,
}

#[derive(Debug)]
pub(super) struct Differences {
    newest: Mutex<VecDeque<Difference>>,
    count_max: usize,
}

impl Differences {
    pub(super) fn new(count_max: usize) -> Self {
        Self { newest: Mutex::default(), count_max }
    }

    pub(super) fn add(&self, difference: Difference) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.push_front(difference);
        newest.truncate(self.count_max);
    }

    pub(super) fn list(&self) -> Vec<Difference> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let differences = Differences::new(2);
        for at_ms in 0..3 {
            differences.add(Difference {
                at_ms,
                source: "a".into(),
                event_id: None,
                outcome: "late",
                ours: String::new(),
                theirs: String::new(),
                http_status: None,
                took_ms: 1,
            });
        }
        let times: Vec<i64> = differences.list().iter().map(|one| one.at_ms).collect();
        assert_eq!(times, [2, 1]);
    }
}
