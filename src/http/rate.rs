//! How many requests an address may make.
//!
//! A token bucket for each address (GCRA, crate `governor`). Addresses that have their whole budget again are
//! forgotten every few seconds, so memory follows the traffic of the last moments, not of the last months.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::http::peer::AddressKey;
use crate::sabotage::{self, Protection};

type Limiter = RateLimiter<AddressKey, DashMapStateStore<AddressKey>, SteadyClock, NoOpMiddleware<Duration>>;

/// A request budget for each address; without a limit, every address has what it wants.
#[derive(Debug)]
pub(crate) struct AddressRate {
    limiter: Option<Limiter>,
    clock: SteadyClock,
}

impl AddressRate {
    /// `per_period` requests in each `period`, `burst` at once; 0 requests: no limit.
    pub(crate) fn new(per_period: u32, period: Duration, burst: u32, clock: Clock) -> Self {
        let clock = SteadyClock(clock);
        let quota = period.checked_div(per_period).and_then(Quota::with_period);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let limiter =
            quota.map(|quota| RateLimiter::dashmap_with_clock(quota.allow_burst(burst), clock.clone()));
        Self { limiter, clock }
    }

    /// Takes one request from the budget of `address`; with none left, the whole seconds until there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Result<(), u64> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if sabotage::off(Protection::RateLimit) {
            return Ok(());
        }
        limiter.check_key(&AddressKey::of(address)).map_err(|refusal| {
            let wait = refusal.wait_time_from(self.clock.now());
            wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()))
        })
    }

    /// Forgets the addresses that have their whole budget.
    pub(crate) fn forget(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    /// How many addresses are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.limiter.as_ref().map_or(0, RateLimiter::len)
    }
}

/// The gateway's steady clock, as `governor` wants it.
#[derive(Clone, Debug)]
struct SteadyClock(Clock);

impl GovernorClock for SteadyClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.steady_us()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_budget_ends_exactly_at_its_edge_and_comes_back() {
        let clock = Clock::manual(1_000_000);
        let rate = AddressRate::new(10, Duration::from_secs(1), 20, clock.clone());
        assert!((0..20).all(|_| rate.take(address(1)).is_ok()));
        assert_eq!(rate.take(address(1)), Err(1));
        assert!(rate.take(address(2)).is_ok(), "another address has its own budget");
        clock.advance_ms(99);
        assert_eq!(rate.take(address(1)), Err(1));
        clock.advance_ms(1);
        assert_eq!((rate.take(address(1)), rate.take(address(1))), (Ok(()), Err(1)));
    }

    #[test]
    fn over_ten_seconds_the_rate_is_kept_to_the_request() {
        let clock = Clock::manual(1_000_000);
        let rate = AddressRate::new(10, Duration::from_secs(1), 1, clock.clone());
        let mut taken = 0;
        for _ in 0..10_000 {
            taken += usize::from(rate.take(address(1)).is_ok());
            clock.advance_ms(1);
        }
        assert_eq!(taken, 100);
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds() {
        let rate = AddressRate::new(10, Duration::from_mins(1), 1, Clock::manual(1_000_000));
        assert_eq!((rate.take(address(1)), rate.take(address(1))), (Ok(()), Err(6)));
    }

    #[test]
    fn without_a_limit_everybody_may() {
        let rate = AddressRate::new(0, Duration::from_secs(1), 0, Clock::manual(1_000_000));
        assert!((0..10_000).all(|_| rate.take(address(1)).is_ok()));
    }

    #[test]
    fn addresses_with_their_whole_budget_are_forgotten() {
        let clock = Clock::manual(1_000_000);
        let rate = AddressRate::new(1, Duration::from_secs(1), 2, clock.clone());
        for last in 0..100 {
            let _ = rate.take(address(last));
        }
        rate.forget();
        assert_eq!(rate.len(), 100);
        clock.advance_ms(3_000);
        rate.forget();
        assert_eq!(rate.len(), 0);
    }
}
