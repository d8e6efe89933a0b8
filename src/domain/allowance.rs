//! How much the platform takes from one sender before it refuses, or drops without a word.

use crate::domain::pace::PaceLimit;

/// What may be sent, as configured; the defaults are the platform's documented limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Messages a minute through one robot.
    pub robot_per_minute: usize,
    /// Messages a minute from one app to one member.
    pub member_per_minute: usize,
    /// Messages an hour from one app to one member.
    pub member_per_hour: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { robot_per_minute: 20, member_per_minute: 30, member_per_hour: 1_000 }
    }
}

/// A minute and an hour, with a margin for clocks that run unevenly. Whether the platform's own windows slide is not
/// documented, so ours do.
const MINUTE_MS: i64 = 60_500;
const HOUR_MS: i64 = 3_603_000;

impl Allowance {
    /// The window of one robot.
    pub fn robot(&self) -> PaceLimit {
        PaceLimit { count: self.robot_per_minute, window_ms: MINUTE_MS }
    }

    /// The windows of one member of one app.
    pub fn member(&self) -> [PaceLimit; 2] {
        [
            PaceLimit { count: self.member_per_minute, window_ms: MINUTE_MS },
            PaceLimit { count: self.member_per_hour, window_ms: HOUR_MS },
        ]
    }
}
