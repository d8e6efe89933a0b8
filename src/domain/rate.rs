//! How fast a business system may be called: requests spread evenly over each second.

/// Requests a second, evenly spread. Times are steady, in microseconds.
#[derive(Debug)]
pub struct Rate {
    every_us: i64,
    next_us: i64,
}

/// What was not used may be made up for so long: a pause of the sender does not lower the rate.
const MADE_UP_US: i64 = 20_000;

impl Rate {
    /// At most `per_s` a second; 0: no limit.
    pub fn new(per_s: u32) -> Self {
        let every_us = if per_s == 0 { 0 } else { 1_000_000 / i64::from(per_s) };
        Self { every_us, next_us: i64::MIN }
    }

    /// When the next request may leave.
    pub fn ready_at_us(&self) -> i64 {
        self.next_us
    }

    /// A request leaves at `now_us`.
    pub fn take(&mut self, now_us: i64) {
        if self.every_us > 0 {
            let from_us = self.next_us.max(now_us.saturating_sub(MADE_UP_US.max(self.every_us)));
            self.next_us = from_us.saturating_add(self.every_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_within_five_percent() {
        for per_s in [1_u32, 7, 50, 333, 1_000, 5_000] {
            let (mut rate, mut sent) = (Rate::new(per_s), 0_i64);
            // A sender that looks once a millisecond, for 10 s.
            for ms in 1_000..11_000_i64 {
                while rate.ready_at_us() <= ms * 1_000 {
                    rate.take(ms * 1_000);
                    sent += 1;
                }
            }
            let wanted = i64::from(per_s) * 10;
            assert!((sent - wanted).abs() <= (wanted / 20).max(1), "{per_s}/s: {sent} in 10 s");
        }
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut rate = Rate::new(0);
        rate.take(5);
        assert_eq!(rate.ready_at_us(), i64::MIN);
    }
}
