//! How fast a target may be sent to: at most so many in any window of time.
//!
//! The other side counts a request when it arrives, which is somewhere between our sending and its answer. So a
//! place in the window is taken from the sending until one whole window after the answer: whatever the network
//! does, no window of theirs sees more than the limit. All times are steady.

use std::collections::VecDeque;

use crate::sabotage::{self, Protection};

/// A limit: so many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceLimit {
    /// Most requests in one window.
    pub count: usize,
    /// How long the window is, with a margin for clocks that run unevenly.
    pub window_ms: i64,
}

/// The window of one target.
#[derive(Debug)]
pub struct Pace {
    limit: PaceLimit,
    /// When finished requests were answered, oldest first; only those still in the window.
    answered_ms: VecDeque<i64>,
    in_flight: usize,
    rests_until_ms: i64,
}

impl Pace {
    /// A window in which `answered_ms` (in any order) already happened.
    pub fn new(limit: PaceLimit, mut answered_ms: Vec<i64>) -> Self {
        answered_ms.sort_unstable();
        Self { limit, answered_ms: answered_ms.into(), in_flight: 0, rests_until_ms: i64::MIN }
    }

    /// When the next request may leave: `now_ms` if at once, `i64::MAX` if an answer must come first.
    pub fn ready_at(&mut self, now_ms: i64) -> i64 {
        while self.answered_ms.front().is_some_and(|at| at.saturating_add(self.limit.window_ms) <= now_ms) {
            self.answered_ms.pop_front();
        }
        let rested = now_ms.max(self.rests_until_ms);
        let taken = self.in_flight + self.answered_ms.len();
        if taken < self.limit.count || sabotage::off(Protection::Pace) {
            return rested;
        }
        match self.answered_ms.get(taken - self.limit.count) {
            Some(at) => rested.max(at.saturating_add(self.limit.window_ms)),
            None => i64::MAX,
        }
    }

    /// A request is about to leave.
    pub fn begin(&mut self) {
        self.in_flight += 1;
    }

    /// The request begun was answered, or given up, at `at_ms`.
    pub fn end(&mut self, at_ms: i64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let place = self.answered_ms.partition_point(|before| *before <= at_ms);
        self.answered_ms.insert(place, at_ms);
    }

    /// The request begun never left.
    pub fn cancel(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The other side counted more than we did: nothing leaves before `until_ms`.
    pub fn rest(&mut self, until_ms: i64) {
        self.rests_until_ms = self.rests_until_ms.max(until_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: PaceLimit = PaceLimit { count: 3, window_ms: 100 };

    #[test]
    fn a_burst_up_to_the_limit_goes_at_once_and_the_next_waits_a_window() {
        let mut pace = Pace::new(LIMIT, Vec::new());
        for at in [0, 10, 20] {
            assert_eq!(pace.ready_at(at), at);
            pace.begin();
            pace.end(at + 5);
        }
        assert_eq!(pace.ready_at(30), 105, "one window after the first answer");
        assert_eq!(pace.ready_at(105), 105);
        pace.begin();
        assert_eq!(pace.ready_at(105), 115);
    }

    #[test]
    fn requests_in_flight_hold_their_place() {
        let mut pace = Pace::new(LIMIT, Vec::new());
        for _ in 0..3 {
            pace.begin();
        }
        assert_eq!(pace.ready_at(1_000), i64::MAX);
        pace.cancel();
        assert_eq!(pace.ready_at(1_000), 1_000, "one never left");
    }

    #[test]
    fn a_rest_holds_everything_back() {
        let mut pace = Pace::new(LIMIT, Vec::new());
        pace.rest(500);
        pace.rest(400);
        assert_eq!(pace.ready_at(10), 500);
        assert_eq!(pace.ready_at(501), 501);
    }

    #[test]
    fn a_rebuilt_window_remembers() {
        let mut pace = Pace::new(LIMIT, vec![30, 10, 20, -500]);
        assert_eq!(pace.ready_at(40), 110);
    }

    proptest! {
        #[test]
        fn no_window_of_the_other_side_sees_more_than_the_limit(
            calls in proptest::collection::vec((0_i64..60, 0_i64..40, 0.0_f64..1.0), 1..60),
        ) {
            let mut pace = Pace::new(LIMIT, Vec::new());
            let mut now = 0;
            let mut arrivals: Vec<i64> = Vec::new();
            for (pause, latency, part) in calls {
                now = pace.ready_at(now + pause);
                pace.begin();
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test")]
                arrivals.push(now + (latency as f64 * part) as i64);
                now += latency;
                pace.end(now);
            }
            arrivals.sort_unstable();
            for four in arrivals.windows(LIMIT.count + 1) {
                prop_assert!(four[LIMIT.count] - four[0] >= LIMIT.window_ms);
            }
        }
    }
}
