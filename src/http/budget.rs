//! One byte budget over all request bodies in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many body bytes may be in memory at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    max: usize,
    taken: AtomicUsize,
}

impl ByteBudget {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Bytes { max, taken: AtomicUsize::new(0) }))
    }

    /// A share of no bytes yet. What it grows to is given back when it is dropped.
    pub fn share(&self) -> Share {
        Share { budget: self.0.clone(), bytes: 0 }
    }

    /// Bytes taken now.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

/// A part of the budget.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Bytes>,
    bytes: usize,
}

impl Share {
    /// Takes `bytes` more; `false`, and nothing taken, if there are not so many left.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let before = self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.budget.max {
            self.budget.taken.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_ends_at_its_edge_and_is_given_back() {
        let budget = ByteBudget::new(100);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(first.grow(60) && second.grow(30));
        assert!(second.grow(10) && !second.grow(1));
        assert!(!budget.share().grow(1) && !budget.share().grow(usize::MAX));
        drop(first);
        assert_eq!(budget.taken(), 40);
        assert!(!budget.share().grow(61));
        assert!(budget.share().grow(60));
        drop(second);
        assert_eq!(budget.taken(), 0);
    }
}
