//! Order within a key: of the deliveries of one key, only the first may go, and only when none of them is on its way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::queue::{Place, Waiting};
use crate::ids::DeliveryId;
use crate::sabotage::{self, Protection};

/// Which keys are on their way, and which wait for somebody's hand.
#[derive(Debug, Default)]
pub(super) struct KeyOrder {
    on_the_way: HashMap<DeliveryId, Arc<str>>,
    busy: HashSet<Arc<str>>,
    blocked: HashSet<Arc<str>>,
}

impl KeyOrder {
    /// The first delivery that may go at `now_ms`.
    pub(super) fn first(&self, waiting: &BTreeMap<Place, Waiting>, now_ms: i64) -> Option<Place> {
        let mut found = self.heads(waiting).filter(|(_, waiting)| waiting.due_ms <= now_ms);
        found.next().map(|(place, _)| place.clone())
    }

    /// When [`KeyOrder::first`] will find something, as far as due times tell.
    pub(super) fn ready_at(&self, waiting: &BTreeMap<Place, Waiting>) -> Option<i64> {
        self.heads(waiting).map(|(_, waiting)| waiting.due_ms).min()
    }

    /// A delivery is on its way.
    pub(super) fn began(&mut self, waiting: &Waiting) {
        if let Some(key) = &waiting.key {
            self.on_the_way.insert(waiting.delivery.id.clone(), Arc::clone(key));
            self.busy.insert(Arc::clone(key));
        }
    }

    /// It is no longer.
    pub(super) fn landed(&mut self, id: &DeliveryId) {
        if let Some(key) = self.on_the_way.remove(id) {
            self.busy.remove(&key);
        }
    }

    /// Nothing of `key` goes until [`KeyOrder::unblock_all`].
    pub(super) fn block(&mut self, key: &Arc<str>) {
        self.blocked.insert(Arc::clone(key));
    }

    /// The table is about to be read: it says what is blocked.
    pub(super) fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    /// Whether a dead letter blocks `key`.
    pub(super) fn is_blocked(&self, key: &Arc<str>) -> bool {
        self.blocked.contains(key)
    }

    /// The first of each key, where nothing of that key is on its way. What has no key goes on its own.
    fn heads<'w>(
        &'w self,
        waiting: &'w BTreeMap<Place, Waiting>,
    ) -> impl Iterator<Item = (&'w Place, &'w Waiting)> {
        let mut seen: HashSet<&'w str> = HashSet::new();
        waiting.iter().filter(move |(_, waiting)| match &waiting.key {
            Some(_) if sabotage::off(Protection::KeyOrder) => true,
            Some(key) => seen.insert(key) && !self.busy.contains(key),
            None => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::{Order, Queue};
    use super::*;
    use crate::domain::delivery::{Cargo, Delivery, DeliveryState};
    use crate::ids::EventId;

    fn waiting(number: u128, key: &str, due_ms: i64) -> Waiting {
        let delivery = Delivery {
            id: DeliveryId::from(number),
            target_id: "ep".to_owned(),
            cargo: Cargo::Event(EventId::from(number)),
            run: 0,
            priority: 0,
            attempts: 0,
            state: DeliveryState::Queued,
            due_ms: Some(due_ms),
            started_ms: None,
            expires_ms: None,
            created_ms: 0,
        };
        let waiting = Waiting::new(delivery, None).expect("unfinished");
        Waiting { key: Some(key.into()), ..waiting }
    }

    fn taken(queue: &mut Queue, now_ms: i64) -> Vec<u128> {
        let all = std::iter::from_fn(|| queue.take_ready(now_ms)).map(|waiting| waiting.delivery.id);
        all.map(|id| (1..99).find(|number| DeliveryId::from(*number) == id).unwrap()).collect()
    }

    #[test]
    fn of_each_key_one_goes_at_a_time_and_a_retry_keeps_its_place() {
        let mut queue = Queue::default();
        queue.order = Order::Keys;
        for one in [waiting(1, "a", 0), waiting(2, "a", 0), waiting(3, "b", 0), waiting(4, "b", 0)] {
            queue.push(one);
        }
        assert_eq!(taken(&mut queue, 0), [1, 3]);
        queue.landed(&DeliveryId::from(1));
        assert_eq!(taken(&mut queue, 0), [2]);
        queue.landed(&DeliveryId::from(3));
        let mut again = waiting(3, "b", 500);
        again.delivery.attempts = 1;
        queue.push(again);
        assert_eq!(taken(&mut queue, 499), Vec::<u128>::new(), "the fourth waits behind it");
        assert_eq!(queue.ready_at(), Some(500));
        assert_eq!(taken(&mut queue, 500), [3]);
    }

    #[test]
    fn a_blocked_key_waits_and_others_do_not() {
        let mut queue = Queue::default();
        queue.order = Order::Keys;
        for one in [waiting(1, "a", 0), waiting(2, "a", 0), waiting(3, "b", 0)] {
            queue.push(one);
        }
        queue.block(&"a".into());
        queue.push(waiting(4, "a", 0));
        assert_eq!(taken(&mut queue, 0), [3]);
        queue.keys.unblock_all();
        queue.push(waiting(1, "a", 0));
        assert_eq!(taken(&mut queue, 0), [1]);
    }

    #[test]
    fn without_an_order_nothing_waits_for_anything() {
        let mut queue = Queue::default();
        queue.order = Order::Free;
        let mut again = waiting(1, "", 900);
        again.delivery.attempts = 3;
        for one in [again, waiting(2, "", 0), waiting(3, "", 0)] {
            queue.push(Waiting { key: None, ..one });
        }
        assert_eq!(taken(&mut queue, 10), [2, 3]);
        assert_eq!(queue.ready_at(), Some(900));
    }
}
