//! Which of several addresses gets the next request.

use crate::domain::breaker::Breaker;
use crate::domain::endpoint::Strategy;

/// After a failure, an address is tried again at the earliest so much later, if another one works.
pub const RETURN_MS: i64 = 5_000;

/// The addresses of one target. Times are steady ms.
#[derive(Debug)]
pub struct Balance {
    strategy: Strategy,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    weight: i64,
    /// For `weighted`: what it is owed. The one owed most goes next (smooth weighted round robin).
    owed: i64,
    down_until_ms: i64,
}

impl Balance {
    /// Addresses with these weights.
    pub fn new(strategy: Strategy, weights: &[u32]) -> Self {
        let places = weights.iter();
        let places = places.map(|weight| Place {
            weight: i64::from(*weight).max(1),
            owed: 0,
            down_until_ms: i64::MIN,
        });
        Self { strategy, places: places.collect() }
    }

    /// How many addresses take turns when one fails.
    pub fn turns(&self) -> usize {
        match self.strategy {
            Strategy::Failover => self.places.len(),
            Strategy::All | Strategy::Random | Strategy::Weighted => 1,
        }
    }

    /// The place of the address for the next request. `unit` is in `0.0..1.0`.
    pub fn next(&mut self, now_ms: i64, unit: f64) -> usize {
        match self.strategy {
            Strategy::All => 0,
            Strategy::Random => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "at most ten addresses"
                )]
                let place = (unit.clamp(0.0, 1.0) * self.places.len() as f64) as usize;
                place.min(self.places.len().saturating_sub(1))
            }
            Strategy::Weighted => {
                let all: i64 = self.places.iter().map(|place| place.weight).sum();
                for place in &mut self.places {
                    place.owed = place.owed.saturating_add(place.weight);
                }
                let most = (0..self.places.len()).rev().max_by_key(|&at| self.owed(at)).unwrap_or(0);
                if let Some(place) = self.places.get_mut(most) {
                    place.owed = place.owed.saturating_sub(all);
                }
                most
            }
            Strategy::Failover => {
                let up = self.places.iter().position(|place| place.down_until_ms <= now_ms);
                let soonest = || (0..self.places.len()).min_by_key(|&at| self.down_until(at));
                up.or_else(soonest).unwrap_or(0)
            }
        }
    }

    /// The request to `place` succeeded or failed at `now_ms`.
    pub fn ended(&mut self, place: usize, succeeded: bool, now_ms: i64) {
        if let Some(place) = self.places.get_mut(place) {
            place.down_until_ms = if succeeded { i64::MIN } else { now_ms.saturating_add(RETURN_MS) };
        }
    }

    fn owed(&self, at: usize) -> i64 {
        self.places.get(at).map_or(i64::MIN, |place| place.owed)
    }

    fn down_until(&self, at: usize) -> i64 {
        self.places.get(at).map_or(i64::MAX, |place| place.down_until_ms)
    }
}

/// Whether a failure of one address is a failure of the whole target, for its breaker.
pub fn counts_for(breaker: &Breaker, tried: usize, turns: usize) -> bool {
    breaker.is_open() || tried.is_multiple_of(turns.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    fn counted(balance: &mut Balance, rounds: usize) -> Vec<usize> {
        let entropy = Entropy::seeded(7);
        let mut counts = vec![0; 3];
        for _ in 0..rounds {
            counts[balance.next(0, entropy.unit())] += 1;
        }
        counts
    }

    #[test]
    fn chance_is_fair() {
        let counts = counted(&mut Balance::new(Strategy::Random, &[1, 1, 1]), 30_000);
        assert!(counts.iter().all(|count| (9_700..=10_300).contains(count)), "{counts:?}");
    }

    #[test]
    fn weights_are_kept_exactly() {
        let counts = counted(&mut Balance::new(Strategy::Weighted, &[5, 3, 2]), 10_000);
        assert_eq!(counts, [5_000, 3_000, 2_000]);
        let mut balance = Balance::new(Strategy::Weighted, &[5, 3, 2]);
        let first: Vec<usize> = (0..5).map(|_| balance.next(0, 0.0)).collect();
        assert!(first.contains(&0) && first.contains(&1) && first.contains(&2), "they take turns: {first:?}");
    }

    #[test]
    fn the_first_that_works_is_taken_and_the_first_returns() {
        let mut balance = Balance::new(Strategy::Failover, &[1, 1]);
        assert_eq!((balance.next(0, 0.0), balance.turns()), (0, 2));
        balance.ended(0, false, 0);
        assert_eq!(balance.next(0, 0.0), 1);
        assert_eq!(balance.next(RETURN_MS - 1, 0.0), 1);
        assert_eq!(balance.next(RETURN_MS, 0.0), 0, "it returns");
        balance.ended(0, false, RETURN_MS);
        balance.ended(1, false, RETURN_MS + 1);
        assert_eq!(balance.next(RETURN_MS + 2, 0.0), 0, "all are down: the one that was down longest");
        balance.ended(0, true, RETURN_MS + 3);
        assert_eq!(balance.next(RETURN_MS + 4, 0.0), 0);
    }
}
