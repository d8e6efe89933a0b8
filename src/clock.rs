//! The only reader of time.
//!
//! *Wall* time is for people and signatures. *Steady* time is for due times, leases and pace: it starts at the
//! wall time of the process start and then follows the monotonic clock, so that a jump of the wall clock moves
//! nothing that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sabotage::{self, Protection};

/// How far a wall clock may run ahead of the steady one before ids stop to follow it: a machine that slept for some
/// days is believed, one whose clock was set wrongly is not.
const AHEAD_MS: i64 = 7 * 86_400_000;

/// A source of time, cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System {
        start: Instant,
        start_wall_ms: i64,
        anchor_ms: AtomicI64,
        anchored: AtomicBool,
    },
    /// `jumped_ms` is the part of `wall_ms` that no time passed for.
    Manual {
        wall_ms: AtomicI64,
        steady_ms: AtomicI64,
        jumped_ms: AtomicI64,
    },
}

impl Clock {
    /// The clock of the machine.
    #[expect(clippy::disallowed_methods, reason = "this file is where the time is read")]
    pub fn system() -> Self {
        let start_wall_ms = to_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
        Self(Arc::new(Kind::System {
            start: Instant::now(),
            start_wall_ms,
            anchor_ms: AtomicI64::new(0),
            anchored: AtomicBool::new(false),
        }))
    }

    /// A clock that stands still at `ms` (milliseconds since 1970) until it is told to move.
    pub fn manual(ms: i64) -> Self {
        let jumped_ms = AtomicI64::new(0);
        Self(Arc::new(Kind::Manual { wall_ms: AtomicI64::new(ms), steady_ms: AtomicI64::new(ms), jumped_ms }))
    }

    /// Milliseconds since 1970 as people read them.
    #[expect(clippy::disallowed_methods, reason = "this file is where the time is read")]
    pub fn wall_ms(&self) -> i64 {
        match &*self.0 {
            Kind::System { .. } => {
                to_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
            }
            Kind::Manual { wall_ms, .. } => wall_ms.load(Ordering::Relaxed),
        }
    }

    /// The age of what is stored is measured by this: the earlier of the two clocks. One that was set ahead makes
    /// nothing old.
    pub fn age_ms(&self) -> i64 {
        if sabotage::off(Protection::ClockJumps) {
            self.wall_ms()
        } else {
            self.wall_ms().min(self.unmoved_ms())
        }
    }

    /// The time in ids: on MySQL that of the database, which replicas share; else the wall's, unless that is far ahead.
    pub fn id_ms(&self) -> i64 {
        let (wall_ms, unmoved_ms) = (self.wall_ms(), self.unmoved_ms());
        match &*self.0 {
            _ if sabotage::off(Protection::ClockJumps) => wall_ms,
            Kind::System { anchored, .. } if anchored.load(Ordering::Relaxed) => unmoved_ms,
            _ => wall_ms.min(unmoved_ms.saturating_add(AHEAD_MS)),
        }
    }

    /// What the wall would say if nobody had set it since the start.
    fn unmoved_ms(&self) -> i64 {
        match &*self.0 {
            Kind::System { .. } => self.steady_ms(),
            Kind::Manual { wall_ms, jumped_ms, .. } => {
                wall_ms.load(Ordering::Relaxed).saturating_sub(jumped_ms.load(Ordering::Relaxed))
            }
        }
    }

    /// Whole seconds of [`Clock::steady_ms`].
    pub fn steady_s(&self) -> i64 {
        self.steady_ms().div_euclid(1000)
    }

    /// Whole seconds since 1970 as people read them.
    pub fn wall_s(&self) -> i64 {
        self.wall_ms().div_euclid(1000)
    }

    /// Milliseconds on the scale of [`Clock::wall_ms`] that never jump.
    #[expect(clippy::disallowed_methods, reason = "this file is where the time is read")]
    pub fn steady_ms(&self) -> i64 {
        match &*self.0 {
            Kind::System { start, start_wall_ms, anchor_ms, .. } => start_wall_ms
                .saturating_add(to_ms(Instant::now().duration_since(*start)))
                .saturating_add(anchor_ms.load(Ordering::Relaxed)),
            Kind::Manual { steady_ms, .. } => steady_ms.load(Ordering::Relaxed),
        }
    }

    /// [`Clock::steady_ms`] in microseconds: for durations shorter than a millisecond.
    #[expect(clippy::disallowed_methods, reason = "this file is where the time is read")]
    pub fn steady_us(&self) -> i64 {
        match &*self.0 {
            Kind::System { start, start_wall_ms, anchor_ms, .. } => start_wall_ms
                .saturating_add(anchor_ms.load(Ordering::Relaxed))
                .saturating_mul(1000)
                .saturating_add(
                    i64::try_from(Instant::now().duration_since(*start).as_micros()).unwrap_or(i64::MAX),
                ),
            Kind::Manual { steady_ms, .. } => steady_ms.load(Ordering::Relaxed).saturating_mul(1000),
        }
    }

    /// Moves the steady scale so that it reads `now_ms` now: replicas on one database share its time.
    pub fn anchor_steady(&self, now_ms: i64) {
        let offset = now_ms.saturating_sub(self.steady_ms());
        match &*self.0 {
            Kind::System { anchor_ms, anchored, .. } => {
                anchor_ms.fetch_add(offset, Ordering::Relaxed);
                anchored.store(true, Ordering::Relaxed);
            }
            Kind::Manual { steady_ms, .. } => steady_ms.store(now_ms, Ordering::Relaxed),
        }
    }

    /// Sets the wall of a manual clock to another time, as people and time servers do; does nothing to the machine's.
    pub fn jump_wall_ms(&self, by_ms: i64) {
        if let Kind::Manual { wall_ms, jumped_ms, .. } = &*self.0 {
            wall_ms.fetch_add(by_ms, Ordering::Relaxed);
            jumped_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }

    /// Moves a manual clock on by `by_ms`; does nothing to the machine's.
    pub fn advance_ms(&self, by_ms: i64) {
        if let Kind::Manual { wall_ms, steady_ms, .. } = &*self.0 {
            wall_ms.fetch_add(by_ms, Ordering::Relaxed);
            steady_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }
}

/// `2026-11-22T08:30:00.000Z` for milliseconds since 1970; out-of-range values are clamped.
pub fn rfc3339_ms(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// Reads an RFC 3339 time, or plain digits as seconds (up to 11 digits) or milliseconds since 1970.
pub fn parse_time_ms(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return if text.len() <= 11 { number.checked_mul(1000) } else { Some(number) };
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(1_000);
        assert_eq!((clock.wall_ms(), clock.steady_ms()), (1_000, 1_000));
        clock.advance_ms(5);
        assert_eq!((clock.wall_ms(), clock.steady_ms()), (1_005, 1_005));
        assert_eq!(clock.steady_us(), 1_005_000);
        clock.anchor_steady(9_000);
        assert_eq!((clock.wall_ms(), clock.steady_ms()), (1_005, 9_000));
    }

    #[test]
    fn anchoring_moves_the_steady_scale_of_the_machine_clock() {
        let clock = Clock::system();
        clock.anchor_steady(clock.steady_ms() + 60_000);
        assert!(clock.steady_ms() >= clock.wall_ms() + 59_000);
        assert!(clock.steady_us() / 1000 >= clock.wall_ms() + 59_000);
    }

    #[test]
    fn a_wall_that_jumps_moves_neither_ages_nor_ids() {
        let clock = Clock::manual(1_800_000_000_000);
        let five_years_ms = 5 * 365 * 86_400_000;
        clock.jump_wall_ms(five_years_ms);
        assert_eq!((clock.age_ms(), clock.steady_ms()), (1_800_000_000_000, 1_800_000_000_000));
        assert_eq!(clock.id_ms(), 1_800_000_000_000 + AHEAD_MS, "no further");
        clock.jump_wall_ms(-five_years_ms - 1_000);
        assert_eq!((clock.age_ms(), clock.id_ms()), (1_799_999_999_000, 1_799_999_999_000));

        let machine = Clock::system();
        machine.anchor_steady(machine.wall_ms() + 60_000);
        assert!(machine.id_ms() >= machine.wall_ms() + 59_000, "the database's time is in ids");
    }

    #[test]
    fn times_are_written_with_milliseconds_and_read_in_three_forms() {
        assert_eq!(rfc3339_ms(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
        assert_eq!(rfc3339_ms(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(parse_time_ms("2023-11-14T22:13:20.007Z"), Some(1_700_000_000_007));
        assert_eq!(parse_time_ms("2023-11-15T06:13:20+08:00"), Some(1_700_000_000_000));
        assert_eq!(parse_time_ms("1700000000"), Some(1_700_000_000_000));
        assert_eq!(parse_time_ms("1700000000007"), Some(1_700_000_000_007));
        assert_eq!(parse_time_ms("yesterday"), None);
        assert_eq!(parse_time_ms(""), None);
    }
}
