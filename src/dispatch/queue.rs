//! What one target still has to be sent, in memory: the first deliveries of the table's order, ready to go.
//!
//! A delivery that is tried again keeps its place and holds up those behind it, so that messages to one robot
//! arrive in the order they were given. A delivery for a later time holds up nobody. To an endpoint no delivery holds
//! up another, unless it wants an order within a key (`key_order.rs`). Knows no clock and no table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::key_order::KeyOrder;
use crate::domain::delivery::{Cargo, Delivery};
use crate::domain::member_pace::{Audience, Held};
use crate::domain::message::Message;
use crate::domain::retry::Tries;
use crate::ids::{DeliveryId, EventId};
use crate::store::{FreshDelivery, StoredEvent};

/// How many of those that wait are looked at for events to read.
const LOOK_AT_MAX: usize = 512;

/// One delivery that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) delivery: Delivery,
    /// When it may go, steady ms.
    pub(super) due_ms: i64,
    /// What it carries, if it was at hand.
    pub(super) message: Option<Arc<Message>>,
    /// Whom that is for.
    pub(super) audience: Audience,
    /// The same, of an event.
    pub(super) event: Option<Arc<StoredEvent>>,
    /// The event was looked for ahead of its turn.
    pub(super) is_sought: bool,
    /// What it keeps its order within.
    pub(super) key: Option<Arc<str>>,
    /// Its tries so far; `None`: to be counted from the table.
    pub(super) tries: Option<Tries>,
    /// Perhaps marked as started in the table, though nothing was sent.
    pub(super) marked: bool,
}

impl Waiting {
    /// A delivery as the table or its sender gives it; `None` if it is finished.
    pub(super) fn new(delivery: Delivery, message: Option<Arc<Message>>) -> Option<Self> {
        let due_ms = delivery.due_ms?;
        let tries = (delivery.attempts == 0).then(Tries::default);
        let audience =
            message.as_ref().map_or(Audience::Everybody, |message| Audience::of(&message.recipients));
        let (event, key, is_sought, marked) = (None, None, false, false);
        Some(Self { delivery, due_ms, message, audience, event, is_sought, key, tries, marked })
    }

    /// A delivery of an event that was just committed.
    pub(super) fn of_fresh(fresh: FreshDelivery) -> Option<Self> {
        let key = fresh.order_key.map(Arc::from);
        Self::new(fresh.delivery, None).map(|waiting| Self { event: Some(fresh.event), key, ..waiting })
    }

    /// Begun before and not finished: it keeps its place.
    fn is_retry(&self) -> bool {
        self.delivery.attempts > 0
    }

    /// Higher priority first, then in the order in which they were made: ids rise.
    fn place(&self) -> Place {
        let priority = if self.key.is_some() { 0 } else { self.delivery.priority };
        (priority.saturating_neg(), self.delivery.id.clone())
    }
}

pub(super) type Place = (i64, DeliveryId);

/// What holds up what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// A retry holds up everything behind it.
    #[default]
    Whole,
    /// Nothing holds up anything.
    Free,
    /// The first of a key holds up the others of that key.
    Keys,
}

/// The deliveries of one target that are in memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Place, Waiting>,
    places: HashMap<DeliveryId, Place>,
    /// What waits, by its due time, steady ms.
    due: BTreeSet<(i64, DeliveryId)>,
    /// What of it expires, by when, wall ms.
    expiring: BTreeSet<(i64, DeliveryId)>,
    in_flight: HashSet<DeliveryId>,
    pub(super) order: Order,
    pub(super) keys: KeyOrder,
}

impl Queue {
    /// Puts one in its place, unless it is here already or on its way.
    pub(super) fn push(&mut self, waiting: Waiting) {
        let id = waiting.delivery.id.clone();
        if self.in_flight.contains(&id) || self.places.contains_key(&id) {
            return;
        }
        if waiting.key.as_ref().is_some_and(|key| self.keys.is_blocked(key)) {
            return;
        }
        let place = waiting.place();
        self.due.insert((waiting.due_ms, id.clone()));
        self.expiring.extend(waiting.delivery.expires_ms.map(|expires_ms| (expires_ms, id.clone())));
        self.places.insert(id, place.clone());
        self.waiting.insert(place, waiting);
    }

    /// Exchanges what waits for what the table says, keeping what memory knows better: retries, read messages.
    pub(super) fn replace(&mut self, loaded: Vec<Waiting>) {
        let mut known: HashMap<DeliveryId, Waiting> = std::mem::take(&mut self.waiting)
            .into_values()
            .map(|waiting| (waiting.delivery.id.clone(), waiting))
            .collect();
        self.clear();
        for waiting in loaded {
            let kept = known
                .remove(&waiting.delivery.id)
                .filter(|kept| kept.delivery.attempts == waiting.delivery.attempts);
            self.push(kept.unwrap_or(waiting));
        }
        for retry in known.into_values().filter(Waiting::is_retry) {
            self.push(retry);
        }
    }

    /// Takes the next that may go at `now_ms`; it is in flight until [`Queue::landed`].
    pub(super) fn take_ready(&mut self, now_ms: i64) -> Option<Waiting> {
        let place = match self.order {
            Order::Keys => self.keys.first(&self.waiting, now_ms)?,
            Order::Whole | Order::Free => self.first(|waiting| waiting.due_ms <= now_ms)?,
        };
        let waiting = self.remove(&place)?;
        self.keys.began(&waiting);
        self.in_flight.insert(waiting.delivery.id.clone());
        Some(waiting)
    }

    /// The same where each member has a pace: takes the first that may go and overtakes nobody who waits for the same
    /// member; `ready_at` says when one may go as far as its audience is concerned. Else: when to ask again.
    pub(super) fn take_first(
        &mut self,
        now_ms: i64,
        mut ready_at: impl FnMut(&Audience) -> i64,
    ) -> Result<Waiting, Option<i64>> {
        let mut held = Held::default();
        let mut next_ms: Option<i64> = None;
        let mut found = None;
        for (place, waiting) in &self.waiting {
            let ready_ms = if waiting.due_ms > now_ms {
                waiting.due_ms
            } else if held.holds(&waiting.audience) {
                i64::MAX
            } else {
                ready_at(&waiting.audience)
            };
            if ready_ms <= now_ms {
                found = Some(place.clone());
                break;
            }
            next_ms = Some(next_ms.map_or(ready_ms, |next_ms| next_ms.min(ready_ms)));
            // A delivery for a later time holds up nobody.
            if waiting.due_ms <= now_ms || waiting.is_retry() {
                held.add(&waiting.audience);
            }
            if held.holds_all() {
                break;
            }
        }
        let place = found.ok_or(next_ms)?;
        let waiting = self.remove(&place).ok_or(next_ms)?;
        self.in_flight.insert(waiting.delivery.id.clone());
        Ok(waiting)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When [`Queue::take_ready`] will have something, as far as due times tell.
    pub(super) fn ready_at(&self) -> Option<i64> {
        match self.order {
            Order::Whole => {}
            Order::Free => return self.due.first().map(|(due_ms, _)| *due_ms),
            Order::Keys => return self.keys.ready_at(&self.waiting),
        }
        let blocked = self.waiting.values().find(|waiting| waiting.is_retry()).map(|retry| retry.due_ms);
        let until_blocked = self.waiting.values().take_while(|waiting| !waiting.is_retry());
        until_blocked.map(|waiting| waiting.due_ms).chain(blocked).min()
    }

    /// Takes one whose time has passed at `now_wall_ms`; it is in flight until [`Queue::landed`].
    pub(super) fn take_expired(&mut self, now_wall_ms: i64) -> Option<Waiting> {
        let (_, id) = self.expiring.first().filter(|(expires_ms, _)| *expires_ms <= now_wall_ms)?;
        let place = self.places.get(id)?.clone();
        let waiting = self.remove(&place)?;
        self.in_flight.insert(waiting.delivery.id.clone());
        Some(waiting)
    }

    /// When the next will expire, wall ms.
    pub(super) fn expires_at(&self) -> Option<i64> {
        self.expiring.first().map(|(expires_ms, _)| *expires_ms)
    }

    /// It is no longer on its way.
    pub(super) fn landed(&mut self, id: &DeliveryId) {
        self.in_flight.remove(id);
        self.keys.landed(id);
    }

    /// Takes back one that was taken and did not leave.
    pub(super) fn give_back(&mut self, waiting: Waiting) {
        self.landed(&waiting.delivery.id);
        self.push(waiting);
    }

    /// A dead letter blocks its key: what waits behind it is left to the table.
    pub(super) fn block(&mut self, key: &Arc<str>) {
        self.keys.block(key);
        let behind: Vec<Place> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.key.as_ref() == Some(key))
            .map(|(place, _)| place.clone())
            .collect();
        for place in behind {
            self.remove(&place);
        }
    }

    /// Whether it is here or on its way.
    pub(super) fn knows(&self, id: &DeliveryId) -> bool {
        self.in_flight.contains(id) || self.places.contains_key(id)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets all that waits; the table has it.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.places.clear();
        self.due.clear();
        self.expiring.clear();
    }

    /// The events that the next deliveries need and memory has not: at most `max`, and none while those of
    /// `at_hand_min` deliveries that are due at `now_ms` are at hand.
    pub(super) fn unread_events(&mut self, now_ms: i64, at_hand_min: usize, max: usize) -> Vec<EventId> {
        let mut at_hand = 0_usize;
        let mut unread = Vec::new();
        let nearest = self.waiting.values_mut().take(LOOK_AT_MAX);
        for waiting in nearest.filter(|waiting| waiting.due_ms <= now_ms) {
            let Cargo::Event(id) = &waiting.delivery.cargo else { continue };
            if waiting.event.is_some() {
                at_hand = at_hand.saturating_add(1);
            } else if !waiting.is_sought {
                waiting.is_sought = true;
                unread.push(id.clone());
            }
            if unread.len() >= max || (unread.is_empty() && at_hand >= at_hand_min) {
                break;
            }
        }
        unread
    }

    /// Gives those that wait what they carry.
    pub(super) fn give_events(&mut self, events: &HashMap<EventId, Arc<StoredEvent>>) {
        for waiting in self.waiting.values_mut() {
            if let Cargo::Event(id) = &waiting.delivery.cargo
                && waiting.event.is_none()
            {
                waiting.event = events.get(id).cloned();
            }
        }
    }

    /// The first place whose delivery satisfies `ready`, looking no further than a retry that does not.
    fn first(&self, ready: impl Fn(&Waiting) -> bool) -> Option<Place> {
        for (place, waiting) in &self.waiting {
            if ready(waiting) {
                return Some(place.clone());
            }
            if self.order == Order::Whole && waiting.is_retry() {
                return None;
            }
        }
        None
    }

    fn remove(&mut self, place: &Place) -> Option<Waiting> {
        let waiting = self.waiting.remove(place)?;
        let id = &waiting.delivery.id;
        self.places.remove(id);
        self.due.remove(&(waiting.due_ms, id.clone()));
        if let Some(expires_ms) = waiting.delivery.expires_ms {
            self.expiring.remove(&(expires_ms, id.clone()));
        }
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::DeliveryState;
    use crate::domain::event::{EventKind, Format};
    use crate::ids::MessageId;

    fn waiting(number: u128, due_ms: i64) -> Waiting {
        let delivery = Delivery {
            id: DeliveryId::from(number),
            target_id: "robot".to_owned(),
            cargo: Cargo::Message(MessageId::from(number)),
            run: 0,
            priority: 0,
            attempts: 0,
            state: DeliveryState::Queued,
            due_ms: Some(due_ms),
            started_ms: None,
            expires_ms: None,
            created_ms: due_ms,
        };
        Waiting::new(delivery, None).expect("unfinished")
    }

    fn retry(number: u128, due_ms: i64) -> Waiting {
        let mut again = waiting(number, due_ms);
        again.delivery.attempts = 1;
        again
    }

    fn drain(queue: &mut Queue, now_ms: i64) -> Vec<DeliveryId> {
        std::iter::from_fn(|| queue.take_ready(now_ms)).map(|waiting| waiting.delivery.id).collect()
    }

    fn ids(numbers: &[u128]) -> Vec<DeliveryId> {
        numbers.iter().map(|&number| DeliveryId::from(number)).collect()
    }

    #[test]
    fn deliveries_go_by_priority_then_in_the_order_they_were_made() {
        let mut queue = Queue::default();
        let mut urgent = waiting(9, 50);
        urgent.delivery.priority = 1;
        for one in [waiting(3, 10), waiting(2, 20), waiting(1, 30), urgent] {
            queue.push(one);
        }
        assert_eq!(drain(&mut queue, 100), ids(&[9, 1, 2, 3]));
    }

    #[test]
    fn a_retry_holds_its_place_and_a_later_time_holds_up_nobody() {
        let mut queue = Queue::default();
        for one in [waiting(1, 4), retry(2, 80), waiting(3, 10)] {
            queue.push(one);
        }
        assert_eq!(drain(&mut queue, 50), ids(&[1]), "the third waits behind the retry");
        assert_eq!(queue.ready_at(), Some(80));
        assert_eq!(drain(&mut queue, 80), ids(&[2, 3]));

        queue.push(waiting(5, 600));
        queue.push(waiting(6, 500));
        assert_eq!(queue.ready_at(), Some(500));
        assert_eq!(drain(&mut queue, 500), ids(&[6]));
        assert_eq!(drain(&mut queue, 600), ids(&[5]));
    }

    #[test]
    fn what_is_known_or_on_its_way_is_not_taken_twice() {
        let mut queue = Queue::default();
        queue.push(waiting(1, 0));
        queue.push(waiting(1, 0));
        let one = queue.take_ready(0).expect("ready");
        queue.push(waiting(1, 0));
        assert!(queue.is_empty() && queue.knows(&one.delivery.id));
        queue.landed(&one.delivery.id);
        queue.push(one);
        assert_eq!(drain(&mut queue, 0), ids(&[1]));
    }

    #[test]
    fn a_reload_keeps_retries_and_drops_what_the_table_no_longer_has() {
        let mut queue = Queue::default();
        for one in [waiting(1, 0), retry(2, 900), waiting(3, 0)] {
            queue.push(one);
        }
        queue.replace(vec![waiting(3, 0), waiting(4, 0)]);
        assert_eq!(drain(&mut queue, 1_000), ids(&[2, 3, 4]));
    }

    #[test]
    fn members_wait_for_their_own_and_not_for_each_other() {
        let to = |number: u128, user: &str| {
            let mut one = waiting(number, 0);
            one.audience = Audience::of(&[user.to_owned()]);
            one
        };
        let mut queue = Queue::default();
        let mut failed = to(3, "cid");
        (failed.delivery.attempts, failed.due_ms) = (1, 70);
        for one in [to(1, "ann"), to(2, "ann"), failed, to(4, "cid"), to(5, "bob")] {
            queue.push(one);
        }
        let ann = Audience::of(&["ann".to_owned()]);
        let slow = |audience: &Audience| if *audience == ann { 90 } else { 0 };
        let taken = queue.take_first(10, slow).expect("bob's");
        assert_eq!(taken.delivery.id, DeliveryId::from(5), "ann is at her limit, cid waits for a retry");
        assert_eq!(queue.take_first(10, slow).unwrap_err(), Some(70));
        let order: Vec<DeliveryId> =
            std::iter::from_fn(|| queue.take_first(90, |_| 0).ok()).map(|one| one.delivery.id).collect();
        assert_eq!(order, ids(&[1, 2, 3, 4]));
        assert_eq!(queue.take_first(90, |_| 0).unwrap_err(), None);
    }

    #[test]
    fn events_are_sought_once_when_the_next_delivery_lacks_its_own() {
        let event = |number: u128| {
            let mut one = waiting(number, 0);
            one.delivery.cargo = Cargo::Event(EventId::from(number));
            one
        };
        let mut queue = Queue { order: Order::Free, ..Queue::default() };
        (1..=6).for_each(|number| queue.push(event(number)));
        assert_eq!(queue.unread_events(0, 1, 3), [1, 2, 3].map(EventId::from));
        let stored = stored_event(1);
        queue.give_events(&HashMap::from([(stored.id.clone(), Arc::clone(&stored))]));
        assert!(queue.unread_events(0, 1, 3).is_empty(), "the first is at hand");
        assert_eq!(
            queue.unread_events(0, 2, 2),
            [4, 5].map(EventId::from),
            "more are wanted than are at hand"
        );
        let taken = queue.take_ready(0).expect("the first");
        assert_eq!(taken.event, Some(stored));
        queue.give_back(taken.clone());
        assert_eq!(queue.take_ready(0).map(|again| again.delivery.id), Some(taken.delivery.id));
        assert_eq!(queue.unread_events(0, 1, 3), [6].map(EventId::from), "the others were looked for");
        assert!(queue.unread_events(-1, 1, 3).is_empty(), "none is due");
    }

    fn stored_event(number: u128) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            id: EventId::from(number),
            source: "wechat_api".to_owned(),
            kind: EventKind::stored("message.text".to_owned()),
            format: Format::Xml,
            reader: 1,
            corp_id: None,
            user_id: None,
            external_user_id: None,
            chat_id: None,
            accepted_ms: 0,
            payload: bytes::Bytes::from_static(b"<xml/>"),
            unopened: None,
        })
    }

    #[test]
    fn what_expired_is_taken_whether_or_not_it_is_due() {
        let mut queue = Queue::default();
        let mut late = waiting(1, 1_000);
        late.delivery.expires_ms = Some(70);
        queue.push(late);
        queue.push(waiting(2, 0));
        assert_eq!(queue.expires_at(), Some(70));
        assert!(queue.take_expired(69).is_none());
        assert!(queue.take_expired(70).is_some_and(|one| one.delivery.id == DeliveryId::from(1)));
    }
}
