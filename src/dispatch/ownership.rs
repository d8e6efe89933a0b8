//! Which targets this process may send to: those whose shard it holds.
//!
//! A shard is held by a lease in the database, so that order, pace and concurrency of a target live in one memory.
//! One that is to be given to another replica begins nothing new, and is given when its last request is over and
//! written down. On SQLite the process is alone and owns everything.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{Fence, Shard, shard_of};

/// The shards held.
#[derive(Debug)]
pub(super) struct Ownership(Arc<Mutex<Held>>);

#[derive(Debug)]
enum Held {
    All,
    Some(Shards),
}

#[derive(Debug, Default)]
struct Shards {
    held: HashMap<i64, Shard>,
    /// Those of them that are to be given away.
    giving: HashSet<i64>,
    /// What is on its way, by shard.
    under_way: HashMap<i64, usize>,
}

/// Something on its way to a target, until it is dropped: its shard stays here so long.
#[derive(Debug)]
pub(super) struct UnderWay(Option<(Arc<Mutex<Held>>, i64)>);

impl Ownership {
    /// A process that is alone on its database.
    pub(super) fn sole() -> Self {
        Self(Arc::new(Mutex::new(Held::All)))
    }

    /// A replica that holds nothing yet.
    pub(super) fn shared() -> Self {
        Self(Arc::new(Mutex::new(Held::Some(Shards::default()))))
    }

    /// Proof for writing results of `target_id`, if it is ours at least until `until_ms` (steady).
    pub(super) fn fence(&self, target_id: &str, until_ms: i64) -> Option<Fence> {
        match &*lock(&self.0) {
            Held::All => Some(Fence::Sole),
            Held::Some(shards) => {
                let id = shard_of(target_id);
                let held = shards.held.get(&id).filter(|_| !shards.giving.contains(&id))?;
                (held.until_ms >= until_ms).then(|| held.fence())
            }
        }
    }

    /// Notes that something is on its way under `fence`. Whether it may still begin is asked after this.
    pub(super) fn begin(&self, fence: Fence) -> UnderWay {
        match (&mut *lock(&self.0), fence) {
            (Held::Some(shards), Fence::Shard { id, .. }) => {
                *shards.under_way.entry(id).or_default() += 1;
                UnderWay(Some((Arc::clone(&self.0), id)))
            }
            _ => UnderWay(None),
        }
    }

    /// What is held by leases, with what is to be given away.
    pub(super) fn leased(&self) -> Vec<Shard> {
        match &*lock(&self.0) {
            Held::All => Vec::new(),
            Held::Some(shards) => shards.held.values().cloned().collect(),
        }
    }

    /// How many shards stay here.
    pub(super) fn kept(&self) -> usize {
        match &*lock(&self.0) {
            Held::All => 0,
            Held::Some(shards) => shards.held.len().saturating_sub(shards.giving.len()),
        }
    }

    /// Notes what the database says is held now.
    pub(super) fn hold(&self, held: Vec<Shard>) {
        if let Held::Some(shards) = &mut *lock(&self.0) {
            shards.held = held.into_iter().map(|shard| (shard.id, shard)).collect();
            shards.giving.retain(|id| shards.held.contains_key(id));
        }
    }

    /// From now on begins nothing in all but `most` of the shards.
    pub(super) fn keep_at_most(&self, most: usize) {
        if let Held::Some(shards) = &mut *lock(&self.0) {
            let mut staying: Vec<i64> =
                shards.held.keys().copied().filter(|id| !shards.giving.contains(id)).collect();
            staying.sort_unstable();
            shards.giving.extend(staying.into_iter().skip(most));
        }
    }

    /// What is to be given away and has nothing on its way any more.
    pub(super) fn ready_to_give(&self) -> Vec<Shard> {
        match &*lock(&self.0) {
            Held::All => Vec::new(),
            Held::Some(shards) => {
                let idle = shards.giving.iter().filter(|id| !shards.under_way.contains_key(id));
                idle.filter_map(|id| shards.held.get(id).cloned()).collect()
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Some((held, id)) = self.0.take() else { return };
        if let Held::Some(shards) = &mut *lock(&held)
            && let Some(count) = shards.under_way.get_mut(&id)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shards.under_way.remove(&id);
            }
        }
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    // The maps are whole after every statement, so a panic elsewhere has not spoiled them.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: i64) -> Shard {
        Shard { id, fence: 4, owner: "me".to_owned(), until_ms: 1_000, stalled: false }
    }

    #[test]
    fn a_target_is_ours_only_while_its_lease_lasts() {
        let target = "robot";
        let shard = shard(shard_of(target));
        let ownership = Ownership::shared();
        assert_eq!(ownership.fence(target, 0), None);
        ownership.hold(vec![shard.clone()]);
        assert_eq!(ownership.fence(target, 1_000), Some(shard.fence()));
        assert_eq!(ownership.fence(target, 1_001), None);
        ownership.hold(Vec::new());
        assert_eq!(ownership.fence(target, 0), None);
        assert_eq!(Ownership::sole().fence(target, i64::MAX), Some(Fence::Sole));
    }

    #[test]
    fn what_is_given_away_begins_nothing_and_goes_when_its_last_request_is_over() {
        let target = "robot";
        let id = shard_of(target);
        let ownership = Ownership::shared();
        ownership.hold((0..64).map(shard).collect());
        let (one, two) = (ownership.begin(shard(id).fence()), ownership.begin(shard(id).fence()));
        ownership.keep_at_most(64);
        assert_eq!((ownership.kept(), ownership.ready_to_give().len()), (64, 0));
        ownership.keep_at_most(0);
        assert_eq!((ownership.kept(), ownership.leased().len()), (0, 64), "their leases go on");
        assert_eq!(ownership.fence(target, 0), None);
        assert_eq!(ownership.ready_to_give().len(), 63);
        drop(one);
        assert!(!ownership.ready_to_give().iter().any(|given| given.id == id));
        drop(two);
        assert_eq!(ownership.ready_to_give().len(), 64);
        ownership.hold(Vec::new());
        ownership.hold((0..3).map(shard).collect());
        assert_eq!(ownership.kept(), 3, "what comes back stays");
        ownership.keep_at_most(2);
        assert_eq!((ownership.kept(), ownership.ready_to_give()), (2, vec![shard(2)]));
    }
}
