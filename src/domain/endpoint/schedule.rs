//! When a delivery of an event is tried again.
//!
//! Every failed try counts alike: a business system that refuses today may have been repaired tomorrow. Only 410
//! ends a delivery at once, and only the end of the schedule makes it a dead letter.

use crate::domain::delivery::DeliveryState;
use crate::domain::outcome::Outcome;
use crate::domain::retry::{Next, Schedule};

/// A wait that the other side asks for is kept up to this.
pub(super) const ASKED_MS_MAX: i64 = 3_600_000;

/// Between two addresses of one endpoint, when the first has failed.
const NEXT_ADDRESS_MS: i64 = 100;

/// Schedules by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScheduleName {
    /// 5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 3 h, 6 h, 12 h, 24 h: about two days. Full jitter.
    #[default]
    Standard,
    /// 1 s, 5 s, 30 s, without chance.
    Fast,
    /// One try.
    Once,
}

impl ScheduleName {
    /// Every schedule.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Fast, Self::Once];

    /// The word in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Fast => "fast",
            Self::Once => "once",
        }
    }

    /// The delays themselves.
    pub fn schedule(self) -> Schedule {
        let minutes = |n: i64| n * 60_000;
        match self {
            Self::Standard => Schedule {
                delays_ms: vec![
                    5_000,
                    30_000,
                    minutes(2),
                    minutes(10),
                    minutes(30),
                    minutes(60),
                    minutes(180),
                    minutes(360),
                    minutes(720),
                    minutes(1_440),
                ],
                jitter_share: 1.0,
            },
            Self::Fast => Schedule { delays_ms: vec![1_000, 5_000, 30_000], jitter_share: 0.0 },
            Self::Once => Schedule { delays_ms: Vec::new(), jitter_share: 0.0 },
        }
    }
}

/// What follows from the try that was the `tried`th (1: the first) of a delivery. `addresses`: how many the endpoint
/// has that take turns; only when each has failed does the schedule move on. `unit` is in `0.0..1.0`.
pub fn after_try(schedule: &Schedule, outcome: &Outcome, tried: usize, addresses: usize, unit: f64) -> Next {
    match outcome {
        Outcome::Accepted { .. } => Next::Finish(DeliveryState::Succeeded),
        Outcome::Refused => Next::Finish(DeliveryState::Failed),
        Outcome::Retry { .. } | Outcome::Wait { .. } | Outcome::Halt { .. } | Outcome::Lost => {
            let addresses = addresses.max(1);
            if !tried.is_multiple_of(addresses) {
                return Next::Again { delay_ms: NEXT_ADDRESS_MS };
            }
            let asked_ms = match outcome {
                Outcome::Retry { after_ms, .. } => after_ms.unwrap_or(0),
                Outcome::Wait { rest_ms } => *rest_ms,
                _ => 0,
            };
            match schedule.delay_ms(tried / addresses, unit) {
                Some(delay_ms) => Next::Again { delay_ms: delay_ms.max(asked_ms.clamp(0, ASKED_MS_MAX)) },
                None => Next::Finish(DeliveryState::Dead),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::RetryCause;

    fn failed(after_ms: Option<i64>) -> Outcome {
        Outcome::Retry { cause: RetryCause::Failed, after_ms }
    }

    #[test]
    fn the_fast_schedule_is_one_five_and_thirty_seconds_and_then_the_end() {
        let fast = ScheduleName::Fast.schedule();
        let delays: Vec<Next> = (1..=4).map(|tried| after_try(&fast, &failed(None), tried, 1, 0.9)).collect();
        assert_eq!(
            delays,
            [
                Next::Again { delay_ms: 1_000 },
                Next::Again { delay_ms: 5_000 },
                Next::Again { delay_ms: 30_000 },
                Next::Finish(DeliveryState::Dead)
            ]
        );
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_up_to_a_cap() {
        let fast = ScheduleName::Fast.schedule();
        let asked = |ms| after_try(&fast, &failed(Some(ms)), 1, 1, 0.0);
        assert_eq!(asked(7_000), Next::Again { delay_ms: 7_000 });
        assert_eq!(asked(10), Next::Again { delay_ms: 1_000 });
        assert_eq!(asked(i64::MAX), Next::Again { delay_ms: ASKED_MS_MAX });
        assert_eq!(asked(-1), Next::Again { delay_ms: 1_000 });
    }

    #[test]
    fn gone_is_the_end_and_a_lost_answer_is_not() {
        let once = ScheduleName::Once.schedule();
        assert_eq!(after_try(&once, &Outcome::Refused, 1, 1, 0.0), Next::Finish(DeliveryState::Failed));
        assert_eq!(after_try(&once, &Outcome::Lost, 1, 1, 0.0), Next::Finish(DeliveryState::Dead));
        let standard = ScheduleName::Standard.schedule();
        assert_eq!(after_try(&standard, &Outcome::Lost, 1, 1, 0.0), Next::Again { delay_ms: 5_000 });
    }

    #[test]
    fn the_schedule_moves_on_when_each_address_has_failed() {
        let fast = ScheduleName::Fast.schedule();
        let next = |tried| after_try(&fast, &failed(None), tried, 3, 0.0);
        assert_eq!(next(1), Next::Again { delay_ms: NEXT_ADDRESS_MS });
        assert_eq!(next(2), Next::Again { delay_ms: NEXT_ADDRESS_MS });
        assert_eq!(next(3), Next::Again { delay_ms: 1_000 });
        assert_eq!(next(12), Next::Finish(DeliveryState::Dead));
    }
}
