//! What follows from a try: the end, another try, or a rest of the target.
//!
//! Schedules are data; the random number is an argument.

use crate::domain::delivery::{Attempt, DeliveryState};
use crate::domain::message::SendPolicy;
use crate::domain::outcome::{Ending, Outcome, RetryCause};

/// Delays between the tries of one delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The longest delay before each further try; when they are used up, the delivery is given up.
    pub delays_ms: Vec<i64>,
    /// How much of a delay is left to chance: 1.0 takes all of it (full jitter), 0.0 nothing.
    pub jitter_share: f64,
}

impl Schedule {
    /// The delay after `failed` tries (1: after the first); `None`: give up. `unit` is in `0.0..1.0`.
    pub fn delay_ms(&self, failed: usize, unit: f64) -> Option<i64> {
        let longest = *self.delays_ms.get(failed.checked_sub(1)?)?;
        #[expect(clippy::cast_possible_truncation, reason = "a share of an i64 of at most some days in ms")]
        #[expect(clippy::cast_precision_loss, reason = "a delay needs no more than 53 bits")]
        let left_out = (longest as f64 * self.jitter_share.clamp(0.0, 1.0) * unit.clamp(0.0, 1.0)) as i64;
        Some(longest.saturating_sub(left_out).max(DELAY_MS_MIN))
    }
}

/// When and how often a delivery is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// After an answer that says "not now". WeCom asks for at most 3 further tries after -1.
    pub busy: Schedule,
    /// While nothing can be sent, and after lost answers where sending twice is allowed.
    pub not_sent: Schedule,
    /// A longer wait asked for by the other side is cut to this.
    pub asked_ms_max: i64,
}

impl Default for RetryPolicy {
    /// Busy: 1, 2, 4 s. Not sent: from 1 s to 10 min, about an hour in all.
    fn default() -> Self {
        let minutes = |n: i64| n * 60_000;
        Self {
            busy: Schedule { delays_ms: vec![1_000, 2_000, 4_000], jitter_share: 1.0 },
            not_sent: Schedule {
                delays_ms: vec![
                    1_000,
                    2_000,
                    5_000,
                    10_000,
                    30_000,
                    minutes(1),
                    minutes(2),
                    minutes(5),
                    minutes(10),
                    minutes(10),
                    minutes(10),
                    minutes(10),
                    minutes(10),
                ],
                jitter_share: 1.0,
            },
            asked_ms_max: minutes(60),
        }
    }
}

impl RetryPolicy {
    /// The same with at most `attempts_max` tries of each sort.
    #[must_use]
    pub fn limited(mut self, attempts_max: usize) -> Self {
        for schedule in [&mut self.busy, &mut self.not_sent] {
            schedule.delays_ms.truncate(attempts_max.saturating_sub(1));
        }
        self
    }
}

/// The tries of one delivery so far, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Taken: as many parts of a message in parts have gone.
    pub accepted: usize,
    /// Answers that said "not now".
    pub busy: usize,
    /// Never left.
    pub not_sent: usize,
    /// Answers lost; each may have arrived.
    pub lost: usize,
}

impl Tries {
    /// Counts recorded attempts.
    pub fn of(attempts: &[Attempt]) -> Self {
        attempts.iter().fold(Self::default(), |tries, attempt| tries.and(Ending::of(attempt)))
    }

    /// One more.
    #[must_use]
    pub fn and(mut self, ending: Ending) -> Self {
        match ending {
            Ending::Busy | Ending::Failed => self.busy += 1,
            Ending::NotSent => self.not_sent += 1,
            Ending::AnswerLost => self.lost += 1,
            Ending::Accepted => self.accepted += 1,
            Ending::Refused | Ending::Limited | Ending::Halted => {}
        }
        self
    }
}

/// What follows from a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The delivery is finished.
    Finish(DeliveryState),
    /// It is tried again after this.
    Again {
        /// From now.
        delay_ms: i64,
    },
    /// It keeps its place until the channel goes on.
    Halt,
    /// Nothing goes to the target before this has passed; then it is tried again.
    Rest {
        /// From now.
        rest_ms: i64,
    },
}

/// What follows from `outcome`, the last of `tries` (which count it already). `unit` is in `0.0..1.0`.
pub fn next_attempt(
    policy: &RetryPolicy,
    send: SendPolicy,
    tries: &Tries,
    outcome: &Outcome,
    unit: f64,
) -> Next {
    let given_up = if tries.lost > 0 { DeliveryState::Uncertain } else { DeliveryState::Dead };
    let again = |schedule: &Schedule, failed: usize, asked_ms: Option<i64>| {
        let asked_ms = asked_ms.unwrap_or(0).clamp(0, policy.asked_ms_max);
        match schedule.delay_ms(failed, unit) {
            Some(delay_ms) => Next::Again { delay_ms: delay_ms.max(asked_ms) },
            None => Next::Finish(given_up),
        }
    };
    match outcome {
        Outcome::Accepted { .. } => Next::Finish(DeliveryState::Succeeded),
        Outcome::Refused => Next::Finish(DeliveryState::Failed),
        Outcome::Wait { rest_ms } => {
            Next::Rest { rest_ms: (*rest_ms).clamp(DELAY_MS_MIN, policy.asked_ms_max) }
        }
        Outcome::Halt { .. } => Next::Halt,
        Outcome::Retry { cause: RetryCause::Busy | RetryCause::Failed, after_ms } => {
            again(&policy.busy, tries.busy, *after_ms)
        }
        Outcome::Retry { cause: RetryCause::NotSent, after_ms } => {
            again(&policy.not_sent, tries.not_sent, *after_ms)
        }
        Outcome::Lost => match send {
            SendPolicy::AtMostOnce => Next::Finish(DeliveryState::Uncertain),
            SendPolicy::AtLeastOnce => again(&policy.not_sent, tries.lost, None),
        },
    }
}

/// However the dice fall, a try is not repeated sooner.
const DELAY_MS_MIN: i64 = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decide(send: SendPolicy, tries: Tries, outcome: &Outcome) -> Next {
        next_attempt(&RetryPolicy::default(), send, &tries, outcome, 0.0)
    }

    #[test]
    fn every_outcome_has_its_consequence() {
        use SendPolicy::{AtLeastOnce, AtMostOnce};
        let busy = Outcome::Retry { cause: RetryCause::Busy, after_ms: None };
        let not_sent = Outcome::Retry { cause: RetryCause::NotSent, after_ms: None };
        let accepted = Outcome::Accepted { references: Vec::new(), refused: Vec::new() };
        let tried = |busy, not_sent, lost| Tries { accepted: 0, busy, not_sent, lost };
        let rows = [
            (AtMostOnce, tried(0, 0, 0), accepted, Next::Finish(DeliveryState::Succeeded)),
            (AtMostOnce, tried(0, 0, 0), Outcome::Refused, Next::Finish(DeliveryState::Failed)),
            (AtMostOnce, tried(0, 0, 1), Outcome::Lost, Next::Finish(DeliveryState::Uncertain)),
            (AtLeastOnce, tried(0, 0, 1), Outcome::Lost, Next::Again { delay_ms: 1_000 }),
            (AtLeastOnce, tried(0, 0, 14), Outcome::Lost, Next::Finish(DeliveryState::Uncertain)),
            (AtMostOnce, tried(1, 0, 0), busy.clone(), Next::Again { delay_ms: 1_000 }),
            (AtMostOnce, tried(3, 5, 0), busy.clone(), Next::Again { delay_ms: 4_000 }),
            (AtMostOnce, tried(4, 0, 0), busy.clone(), Next::Finish(DeliveryState::Dead)),
            (AtLeastOnce, tried(4, 0, 1), busy, Next::Finish(DeliveryState::Uncertain)),
            (AtMostOnce, tried(0, 13, 0), not_sent.clone(), Next::Again { delay_ms: 600_000 }),
            (AtMostOnce, tried(0, 14, 0), not_sent, Next::Finish(DeliveryState::Dead)),
            (AtMostOnce, tried(9, 9, 1), Outcome::Halt { rest_ms: None }, Next::Halt),
            (AtMostOnce, tried(9, 9, 0), Outcome::Wait { rest_ms: 60_000 }, Next::Rest { rest_ms: 60_000 }),
        ];
        for (send, tries, outcome, expected) in rows {
            assert_eq!(decide(send, tries, &outcome), expected, "{send:?} {tries:?} {outcome:?}");
        }
    }

    #[test]
    fn a_limit_on_attempts_ends_a_schedule_early() {
        let policy = RetryPolicy::default().limited(3);
        assert_eq!(policy.busy.delay_ms(2, 0.0), Some(2_000));
        assert_eq!(policy.busy.delay_ms(3, 0.0), None);
        assert_eq!(policy.not_sent.delay_ms(3, 0.0), None);
        assert_eq!(RetryPolicy::default().limited(0).busy.delay_ms(1, 0.0), None);
    }

    #[test]
    fn an_asked_wait_is_kept_up_to_a_cap() {
        let asked = |after_ms| Outcome::Retry { cause: RetryCause::Busy, after_ms: Some(after_ms) };
        let tries = Tries { busy: 1, ..Tries::default() };
        assert_eq!(decide(SendPolicy::AtMostOnce, tries, &asked(5_000)), Next::Again { delay_ms: 5_000 });
        assert_eq!(decide(SendPolicy::AtMostOnce, tries, &asked(500)), Next::Again { delay_ms: 1_000 });
        assert_eq!(
            decide(SendPolicy::AtMostOnce, tries, &asked(i64::MAX)),
            Next::Again { delay_ms: 3_600_000 }
        );
        assert_eq!(decide(SendPolicy::AtMostOnce, tries, &asked(-5)), Next::Again { delay_ms: 1_000 });
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100_000, ..ProptestConfig::default() })]

        #[test]
        fn delays_stay_within_the_schedule(
            delays_ms in proptest::collection::vec(100_i64..86_400_000, 0..20),
            jitter_share in 0.0_f64..=1.0,
            failed in 0_usize..25,
            unit in 0.0_f64..1.0,
        ) {
            let schedule = Schedule { delays_ms: delays_ms.clone(), jitter_share };
            match schedule.delay_ms(failed, unit) {
                None => prop_assert!(failed == 0 || failed > delays_ms.len()),
                Some(delay) => {
                    let longest = delays_ms[failed - 1];
                    prop_assert!(delay <= longest && delay >= DELAY_MS_MIN);
                    #[expect(clippy::cast_precision_loss, reason = "a test")]
                    let shortest = longest as f64 * (1.0 - jitter_share) - 1.0;
                    #[expect(clippy::cast_precision_loss, reason = "a test")]
                    let delay = delay as f64;
                    prop_assert!(delay >= shortest);
                }
            }
        }
    }
}
