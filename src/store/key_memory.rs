//! Which deduplication keys are known without asking the database.
//!
//! The newest keys are held in memory, newest by the time inside them. On SQLite this process is the only writer,
//! so above a bound the memory is complete: a key above it that is not here is free. Every stored key is here, or
//! below the bound and in the index of the file; what is not in the index yet is never forgotten. On MySQL others
//! write too: a key in memory is taken for certain, any other has to be asked for, or tried.

use std::collections::BTreeMap;

use crate::domain::event::DedupKey;
use crate::ids::EventId;

/// What is known about a key without asking the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// An event has it.
    Taken(EventId),
    /// No event has it.
    Free,
    /// The database has to be asked.
    Unknown,
}

/// Keys of events that are on disk.
#[derive(Debug, Default)]
pub(super) struct KeyMemory {
    keys: BTreeMap<DedupKey, Held>,
    /// Every stored key above this one is in `keys`; `None`: every stored key is.
    complete_above: Option<DedupKey>,
    /// Keys that were ever written, and how many of these, from the first on, the database's index has.
    written: u64,
    indexed: u64,
}

/// Whose a key is, and as which of all that were written it was.
#[derive(Debug)]
struct Held {
    id: EventId,
    number: u64,
}

impl KeyMemory {
    /// Holds nothing; every stored key is at or below `highest` and indexed. `written` goes on counting.
    pub(super) fn below(highest: Option<DedupKey>, written: u64) -> Self {
        Self { keys: BTreeMap::new(), complete_above: highest, written, indexed: written }
    }

    /// What is known about `key`.
    pub(super) fn lookup(&self, key: DedupKey) -> Known {
        match self.keys.get(&key) {
            Some(held) => Known::Taken(held.id.clone()),
            None if self.complete_above.is_none_or(|bound| key > bound) => Known::Free,
            None => Known::Unknown,
        }
    }

    /// Remembers a key whose row is on disk now. Rows are indexed in the order of these calls.
    pub(super) fn insert(&mut self, key: DedupKey, id: EventId) {
        self.written += 1;
        self.keys.insert(key, Held { id, number: self.written });
    }

    /// Keys that were ever written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Keys that are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys of these that the index has.
    pub(super) fn indexed(&self) -> u64 {
        self.indexed
    }

    /// The index has `rows` more.
    pub(super) fn add_indexed(&mut self, rows: u64) {
        self.indexed = self.indexed.saturating_add(rows).min(self.written);
    }

    /// Forgets the lowest of the keys that the index has, so that `keep` of these stay.
    pub(super) fn forget_indexed(&mut self, keep: usize) {
        let unindexed = usize::try_from(self.written - self.indexed).unwrap_or(usize::MAX);
        let surplus = self.keys.len().saturating_sub(keep.saturating_add(unindexed));
        let lowest = self.keys.iter().filter(|(_, held)| held.number <= self.indexed).take(surplus);
        for key in lowest.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.keys.remove(&key);
            self.complete_above = self.complete_above.max(Some(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> DedupKey {
        DedupKey::new(Some(i64::from(number / 4)), &[number; 16])
    }

    fn id(number: u32) -> EventId {
        EventId::from(u128::from(number))
    }

    proptest! {
        /// Against a plain map: whatever is recorded, indexed, forgotten and restarted, a key is never called free
        /// while an event has it, nor taken by another event than its own.
        #[test]
        fn a_key_is_never_called_free_while_an_event_has_it(
            steps in prop::collection::vec((0..40_u8, 0..10_u8), 1..300)
        ) {
            let mut stored: BTreeMap<DedupKey, EventId> = BTreeMap::new();
            let mut written: VecDeque<(DedupKey, EventId)> = VecDeque::new();
            let mut indexed: BTreeMap<DedupKey, EventId> = BTreeMap::new();
            let mut memory = KeyMemory::default();
            for (step, (number, act)) in (0..).zip(steps) {
                match act {
                    // The index catches up by some rows, then memory is cut.
                    0 => {
                        let rows = written.len().min(usize::from(number / 4));
                        indexed.extend(written.drain(..rows));
                        memory.add_indexed(rows as u64);
                        memory.forget_indexed(5);
                    }
                    // A restart: the index catches up, memory starts from the highest key.
                    1 => {
                        indexed.extend(written.drain(..));
                        memory = KeyMemory::below(indexed.keys().next_back().copied(), memory.written());
                    }
                    _ => {
                        let key = key(number);
                        let found = match memory.lookup(key) {
                            Known::Taken(id) => Some(id),
                            Known::Free => None,
                            Known::Unknown => indexed.get(&key).cloned(),
                        };
                        prop_assert_eq!(found.as_ref(), stored.get(&key));
                        if found.is_none() {
                            stored.insert(key, id(step));
                            written.push_back((key, id(step)));
                            memory.insert(key, id(step));
                        }
                    }
                }
            }
        }
    }
}
