//! Requests taken, completed and cancelled, by kind.

use crate::sync::{AtomicU64, Ordering};

/// Counters of `KINDS` kinds of request. Any thread may count at any IRQL; no lock.
///
/// # Invariants
/// - For each kind, at any moment: cancelled <= completed <= taken. [`take`](Self::take) comes before the request can complete, and
///   a reading reads the counters in the reverse of the order in which they are written.
#[derive(Debug)]
pub struct Ledger<const KINDS: usize>([Counters; KINDS]);

#[derive(Debug, Default)]
struct Counters {
    taken: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
}

/// A reading of one kind's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests taken.
    pub taken: u64,
    /// Of those, completed.
    pub completed: u64,
    /// Of those, completed as cancelled.
    pub cancelled: u64,
}

impl Count {
    /// Taken and not completed.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.taken.wrapping_sub(self.completed)
    }

    /// Adds another reading.
    pub fn add(&mut self, other: Self) {
        self.taken = self.taken.wrapping_add(other.taken);
        self.completed = self.completed.wrapping_add(other.completed);
        self.cancelled = self.cancelled.wrapping_add(other.cancelled);
    }
}

impl<const KINDS: usize> Ledger<KINDS> {
    /// Nothing counted.
    #[must_use]
    pub fn new() -> Self {
        Self(core::array::from_fn(|_| Counters::default()))
    }

    /// A request of this kind is taken.
    pub fn take(&self, kind: usize) {
        if let Some(counters) = self.0.get(kind) {
            counters.taken.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A request of this kind completes. Call it before the caller can see the completion.
    pub fn complete(&self, kind: usize, cancelled: bool) {
        if let Some(counters) = self.0.get(kind) {
            counters.completed.fetch_add(1, Ordering::AcqRel);
            if cancelled {
                counters.cancelled.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Reads one kind's counters.
    #[must_use]
    pub fn read(&self, kind: usize) -> Count {
        self.0.get(kind).map_or_else(Count::default, |counters| {
            let cancelled = counters.cancelled.load(Ordering::Acquire);
            let completed = counters.completed.load(Ordering::Acquire);
            let taken = counters.taken.load(Ordering::Acquire);
            Count { taken, completed, cancelled }
        })
    }

    /// Adds everything that another ledger has counted: its requests are all complete.
    pub fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.0.iter().zip(&other.0) {
            mine.taken.fetch_add(theirs.taken.load(Ordering::Acquire), Ordering::AcqRel);
            mine.completed.fetch_add(theirs.completed.load(Ordering::Acquire), Ordering::AcqRel);
            mine.cancelled.fetch_add(theirs.cancelled.load(Ordering::Acquire), Ordering::AcqRel);
        }
    }
}

impl<const KINDS: usize> Default for Ledger<KINDS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pending_is_what_was_taken_and_not_completed() {
        let ledger = Ledger::<2>::new();
        ledger.take(1);
        ledger.take(1);
        ledger.complete(1, true);
        assert_eq!(ledger.read(1), Count { taken: 2, completed: 1, cancelled: 1 });
        assert_eq!(ledger.read(1).pending(), 1);
        assert_eq!(ledger.read(0), Count::default());
    }

    #[test]
    fn a_kind_that_does_not_exist_counts_nowhere() {
        let ledger = Ledger::<1>::new();
        ledger.take(1);
        ledger.complete(9, true);
        assert_eq!(ledger.read(0), Count::default());
        assert_eq!(ledger.read(1), Count::default());
    }

    #[test]
    fn a_reading_adds_up_while_others_count() {
        let ledger = Ledger::<1>::new();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        ledger.take(0);
                        ledger.complete(0, round % 2 == 0);
                    }
                });
            }
            for _ in 0..20_000 {
                let count = ledger.read(0);
                assert!(count.cancelled <= count.completed && count.completed <= count.taken, "{count:?}");
            }
        });
        assert_eq!(ledger.read(0), Count { taken: 40_000, completed: 40_000, cancelled: 20_000 });
    }

    #[test]
    fn an_absorbed_ledger_is_added() {
        let (sum, part) = (Ledger::<1>::new(), Ledger::<1>::new());
        part.take(0);
        part.complete(0, false);
        sum.absorb(&part);
        sum.absorb(&part);
        assert_eq!(sum.read(0).taken, 2);
    }
}
