//! Leaving a business system alone while it fails: after some failures in a row nothing is sent for a while, then
//! one delivery is the probe. A probe that succeeds lets everything flow again; one that fails doubles the rest.

use crate::sabotage::{self, Protection};

/// Failures in a row after which the rest begins.
pub const FAILURES_MAX: u32 = 10;

/// The first rest.
pub const REST_MS_MIN: i64 = 1_000;

/// The longest rest.
pub const REST_MS_MAX: i64 = 60_000;

/// The breaker of one address. Times are steady ms.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    rests_until_ms: Option<i64>,
    rest_ms: i64,
    probing: bool,
}

impl Breaker {
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
        *self = Self::default();
    }

    /// A request failed at `now_ms`.
    pub fn failed(&mut self, now_ms: i64) {
        self.failures = self.failures.saturating_add(1);
        let probed = std::mem::take(&mut self.probing);
        if self.rests_until_ms.is_some() && !probed {
            return; // It was on its way before the rest began.
        }
        if self.failures >= FAILURES_MAX {
            self.rest_ms = self.rest_ms.saturating_mul(2).clamp(REST_MS_MIN, REST_MS_MAX);
            self.rests_until_ms = Some(now_ms.saturating_add(self.rest_ms));
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
}
