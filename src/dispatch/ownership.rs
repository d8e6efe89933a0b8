//! Which targets this process may send to: those whose shard it holds.
//!
//! A shard is held by a lease in the database, so that order, pace and concurrency of a target live in one memory.
//! On SQLite the process is alone and owns everything.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{Fence, Shard, shard_of};

/// The shards held.
#[derive(Debug)]
pub(super) struct Ownership(Mutex<Held>);

#[derive(Debug)]
enum Held {
    All,
    Some(HashMap<i64, Shard>),
}

impl Ownership {
    /// A process that is alone on its database.
    pub(super) fn sole() -> Self {
        Self(Mutex::new(Held::All))
    }

    /// A replica that holds nothing yet.
    pub(super) fn shared() -> Self {
        Self(Mutex::new(Held::Some(HashMap::new())))
    }

    /// Proof for writing results of `target_id`, if it is ours at least until `until_ms` (steady).
    pub(super) fn fence(&self, target_id: &str, until_ms: i64) -> Option<Fence> {
        match &*self.lock() {
            Held::All => Some(Fence::Sole),
            Held::Some(shards) => {
                shards.get(&shard_of(target_id)).filter(|shard| shard.until_ms >= until_ms).map(Shard::fence)
            }
        }
    }

    /// What is held by leases.
    pub(super) fn leased(&self) -> Vec<Shard> {
        match &*self.lock() {
            Held::All => Vec::new(),
            Held::Some(shards) => shards.values().cloned().collect(),
        }
    }

    /// Notes what the database says is held now.
    pub(super) fn hold(&self, shards: Vec<Shard>) {
        if let Held::Some(held) = &mut *self.lock() {
            *held = shards.into_iter().map(|shard| (shard.id, shard)).collect();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // The map is whole after every statement, so a panic elsewhere has not spoiled it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_ours_only_while_its_lease_lasts() {
        let target = "robot";
        let shard = Shard { id: shard_of(target), fence: 4, owner: "me".to_owned(), until_ms: 1_000 };
        let ownership = Ownership::shared();
        assert_eq!(ownership.fence(target, 0), None);
        ownership.hold(vec![shard.clone()]);
        assert_eq!(ownership.fence(target, 1_000), Some(shard.fence()));
        assert_eq!(ownership.fence(target, 1_001), None);
        ownership.hold(Vec::new());
        assert_eq!(ownership.fence(target, 0), None);
        assert_eq!(Ownership::sole().fence(target, i64::MAX), Some(Fence::Sole));
    }
}
