//! Which deduplication keys are known without asking the database.
//!
//! The newest keys are held in memory, newest by the time inside them. On SQLite this process is the only writer,
//! so above a bound the memory is complete: a key above it that is not here is free. Every stored key is here, or
//! below the bound and in the index of the file. On MySQL others write too: a key in memory is taken for certain,
//! any other has to be asked for, or tried.

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
    keys: BTreeMap<DedupKey, EventId>,
    /// Every stored key above this one is in `keys`; `None`: every stored key is.
    complete_above: Option<DedupKey>,
}

impl KeyMemory {
    /// Remembers nothing; every stored key is at or below `highest`.
    pub(super) fn below(highest: Option<DedupKey>) -> Self {
        Self { keys: BTreeMap::new(), complete_above: highest }
    }

    /// What is known about `key`.
    pub(super) fn lookup(&self, key: DedupKey) -> Known {
        match self.keys.get(&key) {
            Some(id) => Known::Taken(id.clone()),
            None if self.complete_above.is_none_or(|bound| key > bound) => Known::Free,
            None => Known::Unknown,
        }
    }

    /// Remembers a key whose row is on disk now.
    pub(super) fn insert(&mut self, key: DedupKey, id: EventId) {
        self.keys.insert(key, id);
    }

    /// Keeps the `keep` highest keys. Only right when the database's index holds those that are forgotten.
    pub(super) fn forget_below(&mut self, keep: usize) {
        while self.keys.len() > keep {
            if let Some((key, _id)) = self.keys.pop_first() {
                self.complete_above = self.complete_above.max(Some(key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
            let mut indexed: BTreeMap<DedupKey, EventId> = BTreeMap::new();
            let mut memory = KeyMemory::default();
            for (step, (number, act)) in (0..).zip(steps) {
                match act {
                    // The index catches up, then memory is cut.
                    0 => {
                        indexed = stored.clone();
                        memory.forget_below(5);
                    }
                    // A restart: the index catches up, memory starts from the highest key.
                    1 => {
                        indexed = stored.clone();
                        memory = KeyMemory::below(indexed.keys().next_back().copied());
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
                            memory.insert(key, id(step));
                        }
                    }
                }
            }
        }
    }
}
