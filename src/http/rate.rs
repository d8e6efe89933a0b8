//! How many requests an address may make.
//!
//! For each address, one time: when its budget will be whole again (the generic cell rate algorithm). A request moves
//! it on; it may lie ahead by as much as a burst is worth. Addresses that have their whole budget are forgotten every
//! few seconds, so memory follows the traffic of the last moments, not of the last months.
//!
//! Replicas share budgets after the fact (`sharing.rs`): what each gave out is told the others, so the rate over all
//! of them is kept, while a burst may be had from each until they have spoken.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::ephemeral::Use;
use crate::http::peer::AddressKey;
use crate::sabotage::{self, Protection};

/// Addresses lie in so many maps, so that requests seldom wait for each other.
const MAPS: usize = 16;

/// However far others say that an address is ahead, it waits no longer than this.
const AHEAD_US_MAX: i64 = 60_000_000;

/// A request budget for each address; without a limit, every address has what it wants.
#[derive(Debug)]
pub(crate) struct AddressRate {
    /// What one request is worth, and how far ahead of now a budget may be before it is used; `None`: no limit.
    limit: Option<Limit>,
    maps: [Mutex<HashMap<AddressKey, Budget>>; MAPS],
    clock: Clock,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    every_us: i64,
    ahead_us_max: i64,
}

/// One address. Times are steady µs.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// When it is whole again.
    whole_at: i64,
    /// What others have not been told of: its worth in µs, and when it began.
    untold_worth: i64,
    untold_from: i64,
}

impl AddressRate {
    /// `per_period` requests in each `period`, `burst` at once; 0 requests: no limit.
    pub(crate) fn new(per_period: u32, period: Duration, burst: u32, clock: Clock) -> Self {
        let every =
            period.checked_div(per_period).map(|every| i64::try_from(every.as_micros()).unwrap_or(i64::MAX));
        let limit = every.map(|every_us| {
            let every_us = every_us.max(1);
            Limit { every_us, ahead_us_max: every_us.saturating_mul(i64::from(burst.max(1)) - 1) }
        });
        Self { limit, maps: std::array::from_fn(|_| Mutex::default()), clock }
    }

    /// Takes one request from the budget of `address`; with none left, the whole seconds until there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Result<(), u64> {
        let Some(Limit { every_us, ahead_us_max }) = self.limit else { return Ok(()) };
        if sabotage::off(Protection::RateLimit) {
            return Ok(());
        }
        let key = AddressKey::of(address);
        let now_us = self.clock.steady_us();
        let mut map = self.map(key);
        let budget =
            map.entry(key).or_insert(Budget { whole_at: now_us, untold_worth: 0, untold_from: now_us });
        let from_us = budget.whole_at.max(now_us);
        let wait_us = from_us.saturating_sub(now_us).saturating_sub(ahead_us_max);
        if wait_us > 0 {
            return Err(u64::try_from(wait_us).unwrap_or(0).div_ceil(1_000_000));
        }
        budget.whole_at = from_us.saturating_add(every_us);
        if budget.untold_worth == 0 {
            budget.untold_from = now_us;
        }
        budget.untold_worth = budget.untold_worth.saturating_add(every_us);
        Ok(())
    }

    /// What others have not been told of, of at most `max` addresses; it counts as told.
    pub(crate) fn tell(&self, max: usize) -> Vec<Use> {
        let now_us = self.clock.steady_us();
        let mut uses = Vec::new();
        for map in &self.maps {
            for (key, budget) in lock(map).iter_mut().filter(|(_, budget)| budget.untold_worth > 0) {
                if uses.len() == max {
                    return uses;
                }
                let since_us = now_us.saturating_sub(budget.untold_from).max(0);
                uses.push(Use { key: key.bits(), worth_us: budget.untold_worth, since_us });
                budget.untold_worth = 0;
            }
        }
        uses
    }

    /// Over all replicas, the budget of `key` is `ahead_us` ahead.
    pub(crate) fn hear(&self, key: u128, ahead_us: i64) {
        let key = AddressKey::from_bits(key);
        let now_us = self.clock.steady_us();
        if let Some(budget) = self.map(key).get_mut(&key) {
            let ahead_us = ahead_us.min(AHEAD_US_MAX).saturating_add(budget.untold_worth);
            budget.whole_at = budget.whole_at.max(now_us.saturating_add(ahead_us));
        }
    }

    /// Forgets the addresses that have their whole budget.
    pub(crate) fn forget(&self) {
        let now_us = self.clock.steady_us();
        for map in &self.maps {
            let mut map = lock(map);
            map.retain(|_, budget| budget.whole_at > now_us);
            map.shrink_to_fit();
        }
    }

    /// How many addresses are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.maps.iter().map(|map| lock(map).len()).sum()
    }

    fn map(&self, key: AddressKey) -> MutexGuard<'_, HashMap<AddressKey, Budget>> {
        // Strangers choose addresses, but cannot have many that fall into one map and none of their own.
        let bits = key.bits();
        let folded = bits ^ (bits >> 64) ^ (bits >> 32) ^ (bits >> 16) ^ (bits >> 8) ^ (bits >> 4);
        let at = usize::try_from(folded % MAPS as u128).unwrap_or(0);
        let [first, ..] = &self.maps;
        lock(self.maps.get(at).unwrap_or(first))
    }
}

fn lock(map: &Mutex<HashMap<AddressKey, Budget>>) -> MutexGuard<'_, HashMap<AddressKey, Budget>> {
    // A budget is whole after every statement, so a panic elsewhere has not spoiled it.
    map.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn what_others_gave_out_is_charged_once_and_has_an_end() {
        let clock = Clock::manual(1_000_000);
        let rate = AddressRate::new(10, Duration::from_secs(1), 5, clock.clone());
        assert!((0..3).all(|_| rate.take(address(1)).is_ok()));
        let told = rate.tell(10);
        let key = AddressKey::of(address(1)).bits();
        assert_eq!(told, [Use { key, worth_us: 300_000, since_us: 0 }]);
        assert_eq!(rate.tell(10), [], "told once");
        rate.hear(key, 300_000);
        assert!(rate.take(address(1)).is_ok(), "own requests are not charged twice");
        rate.hear(key, 400_000);
        assert!(rate.take(address(1)).is_err(), "400 ms of others and 100 ms of our own are 5 requests");
        rate.hear(key, i64::MAX);
        clock.advance_ms(59_000);
        assert!(rate.take(address(1)).is_err());
        clock.advance_ms(1_000);
        assert!(rate.take(address(1)).is_ok(), "nobody waits for longer than a minute");
        rate.hear(AddressKey::of(address(2)).bits(), 900_000);
        assert_eq!(rate.tell(0), [], "within the bound");
    }
}
