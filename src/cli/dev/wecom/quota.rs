//! How many people one app may send to in a day: the corp's accounts times 200, a person counted for each message.
//!
//! Source: document 90236 at developer.work.weixin.qq.com; the code of the refusal is not documented.

use std::collections::HashMap;

/// Person-times a day for each account.
const PER_ACCOUNT: u64 = 200;

/// Days begin at midnight in China.
const EAST_MS: i64 = 8 * 3_600_000;

/// What was sent today, and how much may be.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// The corp's accounts; `None`: nobody counts.
    pub(super) accounts: Option<u64>,
    sent: HashMap<(u64, i64), u64>,
}

impl Quota {
    /// Whether the app may send to so many more today; if so they are counted.
    pub(super) fn takes(&mut self, agent_id: u64, people: usize, now_ms: i64) -> bool {
        let Some(accounts) = self.accounts else { return true };
        let day = (now_ms + EAST_MS).div_euclid(86_400_000);
        let sent = self.sent.entry((agent_id, day)).or_default();
        let with_these = *sent + people as u64;
        let takes = with_these <= accounts * PER_ACCOUNT;
        if takes {
            *sent = with_these;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_reaches_so_many_people_a_day() {
        let mut quota = Quota::default();
        assert!(quota.takes(7, 100_000, 0));
        quota.accounts = Some(1);
        let midnight_ms = 16 * 3_600_000;
        for (agent_id, people, now_ms, takes) in [
            (7, 150, 0, true),
            (7, 51, 1, false),
            (7, 50, midnight_ms - 1, true),
            (7, 1, midnight_ms - 1, false),
            (8, 200, midnight_ms - 1, true),
            (7, 200, midnight_ms, true),
        ] {
            assert_eq!(quota.takes(agent_id, people, now_ms), takes, "{people} at {now_ms}");
        }
    }
}
