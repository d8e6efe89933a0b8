//! How often one member may be sent to through one app: beyond it the platform drops the message and says nothing.
//!
//! Each member has a window of their own; a send to `@all`, a department or a tag counts once against everybody,
//! because nobody tells us who that is. Messages to one member keep their order: while one is under way, the next
//! waits. As in [`crate::domain::pace`], a place is taken from the sending until one window after the answer. All
//! times are steady.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::domain::pace::PaceLimit;
use crate::sabotage::{self, Protection};

/// Members whose windows are empty are forgotten when there are this many, and again at each doubling.
const FORGET_AT: usize = 4_096;

/// Whom a message is for, as far as pace goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// `@all`, departments, tags: everybody may be among them.
    Everybody,
    /// These members; numbers made of their ids, which the platform does not tell apart by case.
    Members(Arc<[u64]>),
}

impl Audience {
    /// The audience of a message to `users`; nobody named means everybody.
    pub fn of(users: &[String]) -> Self {
        if users.is_empty() {
            Self::Everybody
        } else {
            Self::Members(users.iter().map(|user| number(user)).collect())
        }
    }

    /// How many people it is at least.
    pub fn people(&self) -> u64 {
        self.members().map_or(1, |members| members.len() as u64)
    }

    fn members(&self) -> Option<&[u64]> {
        match self {
            Self::Everybody => None,
            Self::Members(members) => Some(members),
        }
    }
}

/// Two members with one number would only wait for each other.
fn number(user: &str) -> u64 {
    let digest = Sha256::digest(user.to_lowercase().as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Those who must wait because somebody before them in the queue waits.
#[derive(Debug, Default)]
pub struct Held {
    everybody: bool,
    members: std::collections::HashSet<u64>,
}

impl Held {
    /// `audience` waits: nobody may overtake it.
    pub fn add(&mut self, audience: &Audience) {
        match audience.members() {
            None => self.everybody = true,
            Some(members) => self.members.extend(members),
        }
    }

    /// Whether a message to `audience` would overtake one that waits.
    pub fn holds(&self, audience: &Audience) -> bool {
        self.everybody
            || match audience.members() {
                None => !self.members.is_empty(),
                Some(members) => members.iter().any(|member| self.members.contains(member)),
            }
    }

    /// Whether nobody at all may go.
    pub fn holds_all(&self) -> bool {
        self.everybody
    }
}

/// The windows of all members of one app.
#[derive(Debug)]
pub struct MemberPace {
    limits: Vec<PaceLimit>,
    everybody: Window,
    members: HashMap<u64, Window>,
    /// Sends to members under way.
    in_flight: usize,
    forget_at: usize,
}

#[derive(Debug, Default)]
struct Window {
    answered_ms: VecDeque<i64>,
    in_flight: usize,
}

impl Window {
    fn drop_before(&mut self, ms: i64) {
        while self.answered_ms.front().is_some_and(|at_ms| *at_ms <= ms) {
            self.answered_ms.pop_front();
        }
    }

    fn note(&mut self, at_ms: i64) {
        let place = self.answered_ms.partition_point(|before| *before <= at_ms);
        self.answered_ms.insert(place, at_ms);
    }

    /// Those answered after `ms`.
    fn after(&self, ms: i64) -> impl Iterator<Item = i64> {
        let from = self.answered_ms.partition_point(|at_ms| *at_ms <= ms);
        self.answered_ms.iter().skip(from).copied()
    }

    fn count_after(&self, ms: i64) -> usize {
        self.answered_ms.len() - self.answered_ms.partition_point(|at_ms| *at_ms <= ms)
    }
}

impl MemberPace {
    /// Windows in which `answered` already happened.
    pub fn new(limits: &[PaceLimit], answered: impl IntoIterator<Item = (i64, Audience)>) -> Self {
        let mut pace = Self {
            limits: limits.to_vec(),
            everybody: Window::default(),
            members: HashMap::new(),
            in_flight: 0,
            forget_at: FORGET_AT,
        };
        for (at_ms, audience) in answered {
            match audience.members() {
                None => pace.everybody.note(at_ms),
                Some(members) => {
                    for member in members {
                        pace.members.entry(*member).or_default().note(at_ms);
                    }
                }
            }
        }
        pace
    }

    /// When a message to `audience` may leave: `now_ms` if at once, `i64::MAX` if an answer must come first.
    pub fn ready_at(&mut self, audience: &Audience, now_ms: i64) -> i64 {
        if sabotage::off(Protection::MemberPace) {
            return now_ms;
        }
        let longest_ms = self.limits.iter().map(|limit| limit.window_ms).max().unwrap_or(0);
        let gone_ms = now_ms.saturating_sub(longest_ms);
        self.everybody.drop_before(gone_ms);
        if self.everybody.in_flight > 0 {
            return i64::MAX;
        }
        match audience.members() {
            None if self.in_flight > 0 => i64::MAX,
            None => {
                self.forget(gone_ms);
                let empty = Window::default();
                let of_all = self.members.values().chain([&empty]);
                of_all.map(|window| self.ready_one(window, now_ms)).max().unwrap_or(now_ms)
            }
            Some(members) => {
                let mut ready_ms = now_ms;
                for member in members {
                    if let Some(window) = self.members.get_mut(member) {
                        window.drop_before(gone_ms);
                    }
                    let empty = Window::default();
                    let window = self.members.get(member).unwrap_or(&empty);
                    if window.in_flight > 0 {
                        return i64::MAX;
                    }
                    ready_ms = ready_ms.max(self.ready_one(window, now_ms));
                }
                ready_ms
            }
        }
    }

    /// When one member, whose own sends are in `window`, may be sent to.
    fn ready_one(&self, window: &Window, now_ms: i64) -> i64 {
        let mut ready_ms = now_ms;
        for limit in &self.limits {
            let since_ms = now_ms.saturating_sub(limit.window_ms);
            let taken = window.count_after(since_ms) + self.everybody.count_after(since_ms);
            if taken < limit.count {
                continue;
            }
            let mut all: Vec<i64> = window.after(since_ms).chain(self.everybody.after(since_ms)).collect();
            all.sort_unstable();
            if let Some(at_ms) = all.get(taken - limit.count) {
                ready_ms = ready_ms.max(at_ms.saturating_add(limit.window_ms));
            }
        }
        ready_ms
    }

    /// A message to `audience` is about to leave.
    pub fn begin(&mut self, audience: &Audience) {
        match audience.members() {
            None => self.everybody.in_flight += 1,
            Some(members) => {
                self.in_flight += 1;
                for member in members {
                    self.members.entry(*member).or_default().in_flight += 1;
                }
            }
        }
    }

    /// It was answered, or given up, at `at_ms`; `None`: it never left.
    pub fn end(&mut self, audience: &Audience, at_ms: Option<i64>) {
        let end = |window: &mut Window| {
            window.in_flight = window.in_flight.saturating_sub(1);
            if let Some(at_ms) = at_ms {
                window.note(at_ms);
            }
        };
        match audience.members() {
            None => end(&mut self.everybody),
            Some(members) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                for member in members {
                    end(self.members.entry(*member).or_default());
                }
            }
        }
        if self.members.len() >= self.forget_at {
            let longest_ms = self.limits.iter().map(|limit| limit.window_ms).max().unwrap_or(0);
            self.forget(at_ms.unwrap_or(i64::MIN).saturating_sub(longest_ms));
            self.forget_at = self.members.len().saturating_mul(2).max(FORGET_AT);
        }
    }

    /// Forgets members whose last send was at or before `gone_ms`.
    fn forget(&mut self, gone_ms: i64) {
        self.members.retain(|_, window| {
            window.drop_before(gone_ms);
            window.in_flight > 0 || !window.answered_ms.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: [PaceLimit; 2] =
        [PaceLimit { count: 2, window_ms: 100 }, PaceLimit { count: 3, window_ms: 1_000 }];

    fn to(users: &[&str]) -> Audience {
        Audience::of(&users.iter().map(|&user| user.to_owned()).collect::<Vec<_>>())
    }

    fn send(pace: &mut MemberPace, audience: &Audience, at_ms: i64) {
        assert_eq!(pace.ready_at(audience, at_ms), at_ms);
        pace.begin(audience);
        pace.end(audience, Some(at_ms));
    }

    #[test]
    fn members_have_windows_of_their_own_and_both_limits_hold() {
        let mut pace = MemberPace::new(&SMALL, []);
        let (ann, bob) = (to(&["ann"]), to(&["bob"]));
        send(&mut pace, &ann, 0);
        send(&mut pace, &ann, 10);
        assert_eq!(pace.ready_at(&ann, 20), 100, "two in a hundred");
        assert_eq!(pace.ready_at(&bob, 20), 20);
        assert_eq!(pace.ready_at(&to(&["bob", "ANN"]), 20), 100, "the slowest decides, whatever the case");
        send(&mut pace, &ann, 100);
        assert_eq!(pace.ready_at(&ann, 250), 1_000, "three in a thousand");
    }

    #[test]
    fn a_send_to_everybody_counts_against_each_and_waits_for_each() {
        let mut pace = MemberPace::new(&SMALL, []);
        let ann = to(&["ann"]);
        send(&mut pace, &Audience::Everybody, 0);
        send(&mut pace, &ann, 1);
        assert_eq!(pace.ready_at(&ann, 2), 100);
        assert_eq!(pace.ready_at(&to(&["bob"]), 2), 2, "one of two");
        assert_eq!(pace.ready_at(&Audience::Everybody, 2), 100, "ann could not take it");
    }

    #[test]
    fn what_is_under_way_holds_the_next_back() {
        let mut pace = MemberPace::new(&SMALL, []);
        let ann = to(&["ann"]);
        pace.begin(&ann);
        assert_eq!(pace.ready_at(&ann, 0), i64::MAX);
        assert_eq!(pace.ready_at(&Audience::Everybody, 0), i64::MAX);
        assert_eq!(pace.ready_at(&to(&["bob"]), 0), 0);
        pace.end(&ann, None);
        assert_eq!(pace.ready_at(&ann, 0), 0, "it never left");
        pace.begin(&Audience::Everybody);
        assert_eq!(pace.ready_at(&to(&["bob"]), 0), i64::MAX);
    }

    #[test]
    fn nobody_overtakes_one_that_waits() {
        let mut held = Held::default();
        assert!(!held.holds(&Audience::Everybody));
        held.add(&to(&["ann", "bob"]));
        assert!(held.holds(&to(&["Bob", "cid"])) && !held.holds(&to(&["cid"])));
        assert!(held.holds(&Audience::Everybody) && !held.holds_all());
        held.add(&Audience::Everybody);
        assert!(held.holds(&to(&["cid"])) && held.holds_all());
    }

    #[test]
    fn a_rebuilt_window_remembers_and_idle_members_are_forgotten() {
        let past = (0..FORGET_AT).map(|n| (0, Audience::Members(Arc::from([n as u64 + 10]))));
        let mut pace = MemberPace::new(&SMALL, past.chain([(5_000, to(&["ann"])), (5_001, to(&["ann"]))]));
        assert_eq!(pace.ready_at(&to(&["ann"]), 5_010), 5_100);
        let bob = to(&["bob"]);
        pace.begin(&bob);
        pace.end(&bob, Some(5_010));
        assert_eq!(pace.members.len(), 2);
    }

    proptest! {
        #[test]
        fn no_window_of_any_member_sees_more_than_its_limits(
            calls in proptest::collection::vec((0_i64..40, 0_i64..30, 0_usize..5), 1..80),
        ) {
            let audiences =
                [to(&["ann"]), to(&["bob"]), to(&["ann", "bob"]), to(&["cid", "ann"]), Audience::Everybody];
            let mut pace = MemberPace::new(&SMALL, []);
            let mut now = 0;
            let mut seen: HashMap<&str, Vec<i64>> = HashMap::new();
            for (pause, latency, whom) in calls {
                let audience = &audiences[whom];
                now += pause;
                loop {
                    let ready = pace.ready_at(audience, now);
                    if ready <= now { break; }
                    now = ready;
                }
                pace.begin(audience);
                for (name, alone) in [("ann", to(&["ann"])), ("bob", to(&["bob"])), ("cid", to(&["cid"]))] {
                    let is_in = audience.members().is_none_or(|m| m.contains(&alone.members().unwrap()[0]));
                    if is_in {
                        seen.entry(name).or_default().push(now + latency);
                    }
                }
                now += latency;
                pace.end(audience, Some(now));
            }
            for times in seen.values() {
                for limit in SMALL {
                    for some in times.windows(limit.count + 1) {
                        prop_assert!(some[limit.count] - some[0] >= limit.window_ms);
                    }
                }
            }
        }
    }
}
