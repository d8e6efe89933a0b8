//! Replies remembered for a while, so that a repeat of a callback gets what its first call was told.
//!
//! Calls with one key share a slot. The call that inserted the event starts it; the others wait. A slot that nobody
//! starts (the event was known before, or could not be recorded) is finished, without a reply, by the last of them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::event::DedupKey;
use crate::wecom::api::passive::PassiveReply;

/// What is known of one reply: nothing yet, or how it ended.
type State = Option<Option<PassiveReply>>;

/// The slots there are.
#[derive(Debug)]
pub(super) struct Memory {
    slots: Mutex<Slots>,
    slots_max: usize,
    life_ms: i64,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: HashMap<DedupKey, Arc<Slot>>,
    /// In the order of their making, each with its end (steady ms).
    ends: VecDeque<(i64, DedupKey)>,
}

/// One reply.
#[derive(Debug)]
pub(super) struct Slot {
    state: watch::Sender<State>,
    /// Calls whose commit is not known yet.
    open: AtomicUsize,
    started: AtomicBool,
}

/// A call's place at a slot.
#[derive(Debug)]
pub(super) struct Seat {
    slot: Arc<Slot>,
    left: bool,
}

impl Memory {
    pub(super) fn new(slots_max: usize, life_ms: i64) -> Self {
        Self { slots: Mutex::default(), slots_max, life_ms }
    }

    /// A place at the slot of `key`.
    pub(super) fn take(&self, key: DedupKey, now_ms: i64) -> Seat {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        while slots.ends.front().is_some_and(|(end_ms, _)| *end_ms <= now_ms)
            || slots.ends.len() >= self.slots_max
        {
            if let Some((_, old)) = slots.ends.pop_front() {
                slots.by_key.remove(&old);
            }
        }
        let known = slots.by_key.get(&key).cloned();
        let slot = if let Some(known) = known {
            known
        } else {
            let slot = Arc::new(Slot {
                state: watch::Sender::new(None),
                open: AtomicUsize::new(0),
                started: AtomicBool::new(false),
            });
            slots.ends.push_back((now_ms.saturating_add(self.life_ms), key));
            slots.by_key.insert(key, Arc::clone(&slot));
            slot
        };
        slot.open.fetch_add(1, Ordering::AcqRel);
        Seat { slot, left: false }
    }
}

impl Slot {
    /// Nobody waits any longer.
    pub(super) fn finish(&self, reply: Option<PassiveReply>) {
        self.state.send_if_modified(|state| {
            let is_first = state.is_none();
            if is_first {
                *state = Some(reply);
            }
            is_first
        });
    }
}

impl Seat {
    /// This call inserted the event.
    pub(super) fn start(&mut self) -> Arc<Slot> {
        self.slot.started.store(true, Ordering::Release);
        self.leave();
        Arc::clone(&self.slot)
    }

    /// This call did not insert the event.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true)
            && self.slot.open.fetch_sub(1, Ordering::AcqRel) == 1
            && !self.slot.started.load(Ordering::Acquire)
        {
            self.slot.finish(None);
        }
    }

    /// The reply, if there is one within `patience`.
    pub(super) async fn wait(&self, patience: Duration) -> Option<PassiveReply> {
        let mut state = self.slot.state.subscribe();
        let ended = tokio::time::timeout(patience, state.wait_for(Option::is_some)).await.ok()?;
        ended.ok()?.clone()?
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn key(number: u8) -> DedupKey {
        DedupKey::new(Some(1), &[number; 16])
    }

    fn reply() -> PassiveReply {
        PassiveReply::parse(&json!({"text": "hi"})).unwrap()
    }

    #[tokio::test]
    async fn whoever_repeats_waits_for_the_one_who_asks() {
        let memory = Memory::new(8, 1_000);
        let (mut second, mut first) = (memory.take(key(1), 0), memory.take(key(1), 0));
        second.leave();
        let slot = first.start();
        assert_eq!(second.wait(SOON).await, None, "the answer is not there yet");
        slot.finish(Some(reply()));
        slot.finish(None);
        let mut third = memory.take(key(1), 999);
        third.leave();
        for seat in [&first, &second, &third] {
            assert_eq!(seat.wait(SOON).await, Some(reply()));
        }
        let mut later = memory.take(key(1), 1_000);
        later.leave();
        assert_eq!(later.wait(Duration::from_mins(1)).await, None, "forgotten: nobody asks a second time");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_question_that_nobody_asks() {
        let memory = Memory::new(8, 1_000);
        let (first, mut second) = (memory.take(key(1), 0), memory.take(key(1), 0));
        drop(first);
        second.leave();
        assert_eq!(second.wait(Duration::from_mins(1)).await, None);
    }

    #[tokio::test]
    async fn no_more_is_remembered_than_allowed() {
        let memory = Memory::new(2, 1_000);
        for number in 0..3 {
            memory.take(key(number), 0).start().finish(Some(reply()));
        }
        let known = |number| memory.slots.lock().unwrap().by_key.contains_key(&key(number));
        assert_eq!([0, 1, 2].map(known), [false, true, true]);
    }
}
