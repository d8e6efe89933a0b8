//! Where a connection stands, and how long it may stay there.
//!
//! The wire, the service and the body of a request each note what they see; the connection's one timer asks what
//! is overdue. hyper's own header timer is not used: it counts a silent kept-alive connection as a slow header,
//! and it makes a timer for every request.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::http::limits::HttpLimits;
use crate::sabotage::{self, Protection};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Between two requests, or sending an answer.
    Idle,
    /// Receiving the head of a request.
    Head,
    /// Receiving the body of a request.
    Body,
    /// Working on a request.
    Handling,
}

impl Stage {
    fn from_bits(bits: i64) -> Self {
        match bits & 3 {
            0 => Self::Idle,
            1 => Self::Head,
            2 => Self::Body,
            _ => Self::Handling,
        }
    }

    fn bits(self) -> i64 {
        match self {
            Self::Idle => 0,
            Self::Head => 1,
            Self::Body => 2,
            Self::Handling => 3,
        }
    }
}

/// What is overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The rest of a head: the client is told `408`.
    Head,
    /// The rest of a body: the handler is told, and answers `408`.
    Body,
    /// Anything else: the connection is closed.
    Silent,
}

/// The notes about one connection. All of its parts run in one task; the atomics only make them shareable.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Clock,
    /// The stage in the lowest two bits, since when (steady ms) above them.
    standing: AtomicI64,
    /// Since when the client takes no byte, steady ms; 0: it takes them.
    stalled_ms: AtomicI64,
    /// Whether bytes went out since the last look.
    wrote: AtomicBool,
    body_overdue: AtomicBool,
    /// Whether an answer was made before its request was read to the end.
    left_unread: AtomicBool,
    /// The status that hyper wanted to answer a head with that it cannot read; 0: none.
    unreadable: AtomicU16,
}

impl Progress {
    /// A new connection: it owes us a head.
    pub(crate) fn new(clock: Clock) -> Self {
        let standing = (clock.steady_ms() << 2) | Stage::Head.bits();
        Self {
            clock,
            standing: AtomicI64::new(standing),
            stalled_ms: AtomicI64::new(0),
            wrote: AtomicBool::new(false),
            body_overdue: AtomicBool::new(false),
            left_unread: AtomicBool::new(false),
            unreadable: AtomicU16::new(0),
        }
    }

    pub(crate) fn enter(&self, stage: Stage, now_ms: i64) {
        self.standing.store((now_ms << 2) | stage.bits(), Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        Stage::from_bits(self.standing.load(Ordering::Relaxed))
    }

    /// Bytes came in.
    pub(crate) fn received(&self) {
        if self.stage() == Stage::Idle {
            self.enter(Stage::Head, self.clock.steady_ms());
        }
    }

    /// hyper would answer `status` by itself. `false`: that cannot be, for a request is being worked on.
    pub(crate) fn refused(&self, status: u16) -> bool {
        let is_between = matches!(self.stage(), Stage::Idle | Stage::Head);
        if is_between {
            self.unreadable.store(status, Ordering::Relaxed);
        }
        is_between
    }

    /// What a head that cannot be read is to be answered with.
    pub(crate) fn unreadable(&self) -> Option<u16> {
        Some(self.unreadable.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// The body is complete. The time for handling it counts from the end of the head.
    pub(crate) fn body_received(&self) {
        self.standing.fetch_or(Stage::Handling.bits(), Ordering::Relaxed);
    }

    /// The client took bytes, or (`false`) its window is full.
    pub(crate) fn sent(&self, taken: bool) {
        if taken {
            self.wrote.store(true, Ordering::Relaxed);
            self.stalled_ms.store(0, Ordering::Relaxed);
        } else if self.stalled_ms.load(Ordering::Relaxed) == 0 {
            self.stalled_ms.store(self.clock.steady_ms(), Ordering::Relaxed);
        }
    }

    /// The answer to a request is made.
    pub(crate) fn answered(&self, now_ms: i64) {
        if self.stage() == Stage::Body {
            self.left_unread.store(true, Ordering::Relaxed);
        }
        self.enter(Stage::Idle, now_ms);
    }

    /// Whether the body has to be given up.
    pub(crate) fn body_overdue(&self) -> bool {
        self.body_overdue.load(Ordering::Relaxed)
    }

    /// Whether an answer was made before its request was read to the end.
    pub(crate) fn left_unread(&self) -> bool {
        self.left_unread.load(Ordering::Relaxed)
    }

    /// When the present stage is overdue, steady ms.
    pub(crate) fn deadline_ms(&self, limits: &HttpLimits) -> i64 {
        if sabotage::off(Protection::RequestTimeout) {
            return i64::MAX;
        }
        let standing = self.standing.load(Ordering::Relaxed);
        let limit_ms = match Stage::from_bits(standing) {
            Stage::Idle => limits.idle_timeout_ms,
            Stage::Head => limits.head_timeout_ms,
            Stage::Body => limits.body_timeout_ms,
            // The gate answers in time; this is for what does not even let it.
            Stage::Handling => limits.handling_timeout_ms.saturating_mul(2),
        };
        let stage = (standing >> 2).saturating_add_unsigned(limit_ms);
        match self.stalled_ms.load(Ordering::Relaxed) {
            0 => stage,
            since => stage.min(since.saturating_add_unsigned(limits.write_timeout_ms)),
        }
    }

    /// How long until `deadline_ms`.
    pub(crate) fn until(&self, deadline_ms: i64) -> Duration {
        let wait_ms = deadline_ms.saturating_sub(self.clock.steady_ms());
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    }

    /// What is overdue now, if anything.
    pub(crate) fn overdue(&self, limits: &HttpLimits) -> Option<Overdue> {
        let now_ms = self.clock.steady_ms();
        if now_ms < self.deadline_ms(limits) {
            return None;
        }
        if self.stalled_ms.load(Ordering::Relaxed) != 0 {
            return Some(Overdue::Silent);
        }
        match self.stage() {
            Stage::Head => Some(Overdue::Head),
            Stage::Body if !self.body_overdue.swap(true, Ordering::Relaxed) => {
                // The handler gets one more period to notice and answer.
                self.enter(Stage::Body, now_ms);
                Some(Overdue::Body)
            }
            // A long answer that is still being taken is not silence.
            Stage::Idle if self.wrote.swap(false, Ordering::Relaxed) => {
                self.enter(Stage::Idle, now_ms);
                None
            }
            Stage::Idle | Stage::Body | Stage::Handling => Some(Overdue::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> (Clock, Progress, HttpLimits) {
        let clock = Clock::manual(1_000_000);
        let progress = Progress::new(clock.clone());
        (clock, progress, HttpLimits::default())
    }

    #[test]
    fn a_new_connection_owes_a_head() {
        let (clock, progress, limits) = start();
        clock.advance_ms(9_999);
        assert_eq!(progress.overdue(&limits), None);
        clock.advance_ms(1);
        assert_eq!(progress.overdue(&limits), Some(Overdue::Head));
    }

    #[test]
    fn an_idle_connection_may_be_silent_longer_than_a_head_may_take() {
        let (clock, progress, limits) = start();
        progress.answered(clock.steady_ms());
        clock.advance_ms(59_999);
        assert_eq!(progress.overdue(&limits), None);
        progress.received();
        clock.advance_ms(9_999);
        assert_eq!(progress.overdue(&limits), None);
        clock.advance_ms(1);
        assert_eq!(progress.overdue(&limits), Some(Overdue::Head));
    }

    #[test]
    fn a_late_body_is_told_to_its_handler_first() {
        let (clock, progress, limits) = start();
        progress.enter(Stage::Body, clock.steady_ms());
        clock.advance_ms(10_000);
        assert_eq!(progress.overdue(&limits), Some(Overdue::Body));
        assert!(progress.body_overdue());
        assert_eq!(progress.overdue(&limits), None);
        clock.advance_ms(10_000);
        assert_eq!(progress.overdue(&limits), Some(Overdue::Silent));
    }

    #[test]
    fn an_answer_that_is_taken_slowly_lives_and_one_that_is_not_taken_does_not() {
        let (clock, progress, limits) = start();
        progress.answered(clock.steady_ms());
        for _ in 0..5 {
            progress.sent(true);
            clock.advance_ms(60_000);
            assert_eq!(progress.overdue(&limits), None);
        }
        progress.sent(false);
        clock.advance_ms(9_999);
        assert_eq!(progress.overdue(&limits), None);
        clock.advance_ms(1);
        assert_eq!(progress.overdue(&limits), Some(Overdue::Silent));
    }

    #[test]
    fn an_answer_before_the_end_of_the_body_is_remembered() {
        let (clock, progress, _) = start();
        progress.enter(Stage::Handling, clock.steady_ms());
        progress.answered(clock.steady_ms());
        assert!(!progress.left_unread());
        progress.enter(Stage::Body, clock.steady_ms());
        progress.answered(clock.steady_ms());
        assert!(progress.left_unread());
    }
}
