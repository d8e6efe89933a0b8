//! How many people one app may be sent through to in a day: the corp's account limit times 200, a person counted for
//! each message.
//!
//! Beyond it the platform refuses for the rest of the day, so what does not fit waits for the next one here. Days begin
//! at midnight in China. Nobody tells us how many people `@all`, a department or a tag are: each counts as one, and the
//! platform's own refusal is waited out. Times are wall ms, for days are the platform's.
//! Source: developer.work.weixin.qq.com/document/path/90236 (发送应用消息).

use crate::sabotage::{self, Protection};

/// Person-times a day for each account.
const PER_ACCOUNT: u64 = 200;

const DAY_MS: i64 = 86_400_000;

/// China's time is that far ahead of ours.
const EAST_MS: i64 = 8 * 3_600_000;

/// A new day is begun this late: the platform's clock is not ours.
const LATE_MS: i64 = 5_000;

/// The quota of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayQuota {
    per_day: u64,
    day: i64,
    spent: u64,
}

impl DayQuota {
    /// The quota of a corp with so many accounts; `None`: nobody knows how many, so nobody counts.
    pub fn of(accounts: u64) -> Option<Self> {
        (accounts > 0).then(|| Self { per_day: per_day(accounts), day: i64::MIN, spent: 0 })
    }

    /// When the day of `wall_ms` began.
    pub fn day_began(wall_ms: i64) -> i64 {
        day(wall_ms) * DAY_MS - EAST_MS + LATE_MS
    }

    /// When a message to `people` may leave, wall ms: `wall_ms` if at once, else when the next day begins. One to more
    /// people than a whole day has goes first on its day: then the platform decides.
    pub fn ready_at(&mut self, people: u64, wall_ms: i64) -> i64 {
        self.turn(wall_ms);
        let fits = self.spent == 0 || self.spent.saturating_add(people) <= self.per_day;
        if fits || sabotage::off(Protection::DayQuota) {
            wall_ms
        } else {
            Self::day_began(wall_ms).saturating_add(DAY_MS)
        }
    }

    /// A message to `people` leaves, or left at that time.
    pub fn take(&mut self, people: u64, wall_ms: i64) {
        self.turn(wall_ms);
        if self.day == day(wall_ms) {
            self.spent = self.spent.saturating_add(people);
        }
    }

    /// It was not taken.
    pub fn give_back(&mut self, people: u64) {
        self.spent = self.spent.saturating_sub(people);
    }

    fn turn(&mut self, wall_ms: i64) {
        if day(wall_ms) > self.day {
            self.day = day(wall_ms);
            self.spent = 0;
        }
    }
}

/// How many people a day a corp with so many accounts may reach through one app.
pub fn per_day(accounts: u64) -> u64 {
    accounts.saturating_mul(PER_ACCOUNT)
}

fn day(wall_ms: i64) -> i64 {
    wall_ms.saturating_add(EAST_MS).saturating_sub(LATE_MS).div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight in China.
    const MIDNIGHT_MS: i64 = 16 * 3_600_000 + LATE_MS;

    #[test]
    fn what_does_not_fit_waits_for_the_next_day() {
        assert_eq!(DayQuota::of(0), None);
        let mut quota = DayQuota::of(1).unwrap();
        assert_eq!(quota.ready_at(1_000, 0), 0, "more than a day has, and first");
        quota.take(150, 0);
        assert_eq!(quota.ready_at(50, 1), 1);
        assert_eq!(quota.ready_at(51, 1), MIDNIGHT_MS);
        quota.take(50, 1);
        assert_eq!(quota.ready_at(1, 2), MIDNIGHT_MS);
        quota.give_back(1);
        assert_eq!(quota.ready_at(1, 2), 2);
        assert_eq!(quota.ready_at(200, MIDNIGHT_MS), MIDNIGHT_MS);
        quota.take(200, MIDNIGHT_MS);
        quota.take(9, 0);
        assert_eq!(quota.ready_at(1, MIDNIGHT_MS), MIDNIGHT_MS + DAY_MS);
        quota.give_back(1);
        assert_eq!(quota.ready_at(1, MIDNIGHT_MS), MIDNIGHT_MS, "yesterday's do not count");
        assert_eq!(DayQuota::day_began(MIDNIGHT_MS + 5), MIDNIGHT_MS);
        assert_eq!(DayQuota::day_began(MIDNIGHT_MS - 1), MIDNIGHT_MS - DAY_MS);
    }
}
