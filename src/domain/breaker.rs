//! Leaving a target alone while it fails: after some failures in a row nothing is sent for a while, then one delivery
//! is the probe. A probe that succeeds lets everything flow again; one that fails doubles the rest.

use crate::sabotage::{self, Protection};

/// When a rest begins, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestRule {
    /// Failures in a row after which the rest begins.
    pub failures_max: u32,
    /// The first rest.
    pub rest_ms_min: i64,
    /// The longest rest.
    pub rest_ms_max: i64,
}

impl RestRule {
    /// Of a business system: it may be restarting.
    pub const ENDPOINT: Self = Self { failures_max: 10, rest_ms_min: 1_000, rest_ms_max: 60_000 };

    /// Of a channel: the platform said that somebody has to mend it, and too many wrong calls get our address blocked.
    pub const CHANNEL: Self = Self { failures_max: 1, rest_ms_min: 60_000, rest_ms_max: 900_000 };
}

/// The breaker of one target. Times are steady ms.
#[derive(Debug)]
pub struct Breaker {
    rule: RestRule,
    failures: u32,
    rests_until_ms: Option<i64>,
    rest_ms: i64,
    probing: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(RestRule::ENDPOINT)
    }
}

impl Breaker {
    /// One that lets everything through so far.
    pub fn new(rule: RestRule) -> Self {
        Self { rule, failures: 0, rests_until_ms: None, rest_ms: 0, probing: false }
    }

    /// When the next request may leave: `i64::MIN` if at once, `i64::MAX` if the probe has to come back first.
    pub fn ready_at(&self) -> i64 {
        match (self.rests_until_ms, self.probing) {
            _ if sabotage::off(Protection::Breaker) => i64::MIN,
            (None, _) => i64::MIN,
            (Some(_), true) => i64::MAX,
            (Some(until_ms), false) => until_ms,
        }
    }

    /// A request leaves.
    pub fn begin(&mut self) {
        self.probing = self.rests_until_ms.is_some();
    }

    /// A request was answered well.
    pub fn succeeded(&mut self) {
        *self = Self::new(self.rule);
    }

    /// A request failed at `now_ms`.
    pub fn failed(&mut self, now_ms: i64) {
        self.failed_for(now_ms, None);
    }

    /// The same, where others may know how long the rest has to be.
    pub fn failed_for(&mut self, now_ms: i64, known_ms: Option<i64>) {
        self.failures = self.failures.saturating_add(1);
        let probed = std::mem::take(&mut self.probing);
        if self.rests_until_ms.is_some() && !probed {
            return; // It was on its way before the rest began.
        }
        if self.failures >= self.rule.failures_max {
            self.rest_ms = self.rest_ms.saturating_mul(2).clamp(self.rule.rest_ms_min, self.rule.rest_ms_max);
            let rest_ms = known_ms.unwrap_or(self.rest_ms);
            self.rests_until_ms = Some(now_ms.saturating_add(rest_ms));
        }
    }

    /// A request never left.
    pub fn cancelled(&mut self) {
        self.probing = false;
    }

    /// Whether it rests.
    pub fn is_open(&self) -> bool {
        self.rests_until_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES_MAX: u32 = RestRule::ENDPOINT.failures_max;
    const REST_MS_MIN: i64 = RestRule::ENDPOINT.rest_ms_min;
    const REST_MS_MAX: i64 = RestRule::ENDPOINT.rest_ms_max;

    #[test]
    fn it_rests_after_failures_in_a_row_and_a_probe_ends_the_rest() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.begin();
            breaker.failed(0);
        }
        assert_eq!(breaker.ready_at(), i64::MIN);
        breaker.begin();
        breaker.failed(0);
        assert_eq!(breaker.ready_at(), REST_MS_MIN);
        breaker.failed(5);
        assert_eq!(breaker.ready_at(), REST_MS_MIN, "a late answer changes nothing");
        breaker.begin();
        assert_eq!(breaker.ready_at(), i64::MAX, "one probe at a time");
        breaker.failed(REST_MS_MIN);
        assert_eq!(breaker.ready_at(), REST_MS_MIN + 2 * REST_MS_MIN);
        breaker.begin();
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.ready_at() == i64::MIN);
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew_and_the_rest_has_an_end() {
        let mut breaker = Breaker::default();
        for round in 0..100 {
            breaker.begin();
            if round % 2 == 0 { breaker.failed(0) } else { breaker.succeeded() }
        }
        assert!(!breaker.is_open());
        let mut now_ms = 0;
        for _ in 0..FAILURES_MAX + 20 {
            breaker.begin();
            breaker.failed(now_ms);
            now_ms = breaker.ready_at().max(now_ms);
        }
        assert_eq!(breaker.rest_ms, REST_MS_MAX);
        breaker.begin();
        breaker.cancelled();
        assert_eq!(breaker.ready_at(), now_ms, "a probe that never left does not block the next");
    }

    #[test]
    fn a_channel_rests_at_once_and_for_as_long_as_is_known() {
        let mut breaker = Breaker::new(RestRule::CHANNEL);
        breaker.begin();
        breaker.failed(0);
        let mut rests_s = vec![breaker.ready_at() / 1_000];
        for _ in 0..5 {
            let now_ms = breaker.ready_at();
            breaker.begin();
            breaker.failed(now_ms);
            rests_s.push((breaker.ready_at() - now_ms) / 1_000);
        }
        assert_eq!(rests_s, [60, 120, 240, 480, 900, 900]);
        breaker.begin();
        breaker.failed_for(0, Some(7));
        assert_eq!(breaker.ready_at(), 7);
    }
}
