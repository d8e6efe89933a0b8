//! The only reader of randomness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random bytes, cheap to clone.
#[derive(Clone, Debug)]
pub struct Entropy(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System,
    Seeded(AtomicU64),
}

impl Entropy {
    /// The generator of the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Kind::System))
    }

    /// A generator that repeats itself for one seed: for tests and demonstrations, never for keys.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Kind::Seeded(AtomicU64::new(seed))))
    }

    /// `N` random bytes.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing safe can be done without it.
    #[expect(clippy::disallowed_methods, reason = "this file is where randomness is read")]
    #[expect(clippy::expect_used, reason = "a gateway without randomness must not go on")]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        match &*self.0 {
            Kind::System => getrandom::fill(&mut out).expect("the operating system gives random bytes"),
            Kind::Seeded(state) => {
                for chunk in out.chunks_mut(8) {
                    let word = splitmix64(state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed));
                    for (to, from) in chunk.iter_mut().zip(word.to_le_bytes()) {
                        *to = from;
                    }
                }
            }
        }
        out
    }

    /// A number in `0.0..1.0`, for jitter.
    pub fn unit(&self) -> f64 {
        let word = u32::from_le_bytes(self.bytes());
        f64::from(word) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The output step of the `SplitMix64` generator.
fn splitmix64(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (a, b, c) = (Entropy::seeded(7), Entropy::seeded(7), Entropy::seeded(8));
        let first: [u8; 16] = a.bytes();
        assert_eq!(first, b.bytes());
        assert_ne!(first, c.bytes());
        assert_ne!(first, a.bytes());
    }

    #[test]
    fn the_systems_bytes_differ_and_units_stay_in_range() {
        let system = Entropy::system();
        assert_ne!(system.bytes::<16>(), system.bytes::<16>());
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&system.unit()));
        }
    }
}
