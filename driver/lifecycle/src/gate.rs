//! Who is inside something that may be closed.

use crate::sync::{AtomicU64, Ordering, constructor};

/// Open or closed, the number of those inside, and a generation, in one atomic word.
///
/// Whoever enters an open gate may use what it guards until leaving. Closing lets nobody in any more; the last one to leave a closed
/// gate is told so, and is the only one who is. Reopening starts the next generation, for which old tickets are no good.
///
/// # Invariants
/// - Bits 0 to 30 count those inside; bit 31 is set while the gate is closed; bits 32 to 63 are the generation.
/// - The generation changes only when the gate is closed and empty.
#[derive(Debug)]
pub struct Gate(AtomicU64);

const INSIDE: u64 = 0x7FFF_FFFF;
const CLOSED: u64 = 0x8000_0000;
const GENERATION_SHIFT: u32 = 32;

/// What closing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "only the closer is told that nobody is inside"]
pub enum Closed {
    /// Nobody was inside: what the gate guards may be taken down now.
    Empty,
    /// Somebody is inside; the last to leave will be told.
    Draining,
    /// It was closed already; someone else takes down what it guards.
    Already,
}

/// What leaving found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the last to leave a closed gate must see to what it guards"]
pub enum Left {
    /// The gate is open, or others are still inside.
    Others,
    /// This was the last one inside a closed gate.
    Last,
}

impl Gate {
    constructor! {
        /// A closed, empty gate of generation 0.
        #[must_use]
        pub const fn closed() -> Self {
            Self(AtomicU64::new(CLOSED))
        }
    }

    /// Opens a closed, empty gate for the next generation, which it returns. Generations are never 0; after the last one comes the
    /// first again: see [`is_worn_out`](Self::is_worn_out).
    /// None if the gate is open or somebody is inside.
    #[must_use]
    pub fn open(&self) -> Option<u32> {
        let word = self.0.load(Ordering::Acquire);
        if word & (CLOSED | INSIDE) != CLOSED {
            return None;
        }
        let generation = generation_of(word).wrapping_add(1).max(1);
        let next = u64::from(generation) << GENERATION_SHIFT;
        self.0.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).ok().map(|_| generation)
    }

    /// Goes in, if the gate is open and of this generation.
    #[must_use]
    pub fn enter(&self, generation: u32) -> bool {
        self.enter_if(|word| generation_of(word) == generation)
    }

    /// Goes in, if the gate is open, whatever its generation.
    #[must_use]
    pub fn enter_any(&self) -> bool {
        self.enter_if(|_| true)
    }

    fn enter_if(&self, admits: impl Fn(u64) -> bool) -> bool {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 || word & INSIDE == INSIDE || !admits(word) {
                return false;
            }
            match self.0.compare_exchange_weak(word, word.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Goes in once more, for who is inside: even if the gate is closed by now. Whoever goes in so has a request; there are never as many
    /// of those as the count holds.
    pub fn enter_again(&self) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before & INSIDE != 0, "entered again without having entered");
    }

    /// Goes out. Only who entered may leave.
    pub fn leave(&self) -> Left {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & INSIDE != 0, "left without having entered");
        if before & (CLOSED | INSIDE) == CLOSED | 1 { Left::Last } else { Left::Others }
    }

    /// Lets nobody in any more.
    pub fn close(&self) -> Closed {
        let before = self.0.fetch_or(CLOSED, Ordering::AcqRel);
        match (before & CLOSED, before & INSIDE) {
            (0, 0) => Closed::Empty,
            (0, _) => Closed::Draining,
            _ => Closed::Already,
        }
    }

    /// Whether the gate is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether the gate is closed and nobody is inside.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.0.load(Ordering::Acquire) & (CLOSED | INSIDE) == CLOSED
    }

    /// Whether every generation has been given out: opened once more, the gate would admit a ticket of its first one. For who can use
    /// another gate.
    #[must_use]
    pub fn is_worn_out(&self) -> bool {
        self.generation() == u32::MAX
    }

    /// The generation that is open, or was last.
    #[must_use]
    pub fn generation(&self) -> u32 {
        generation_of(self.0.load(Ordering::Acquire))
    }
}

const fn generation_of(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_new_gate_admits_nobody_until_it_is_opened() {
        let gate = Gate::closed();
        assert!(!gate.enter_any());
        assert_eq!(gate.open(), Some(1));
        assert!(gate.enter(1));
        assert!(!gate.enter(2));
    }

    #[test]
    fn a_gate_that_closes_empty_tells_the_closer_only() {
        let gate = Gate::closed();
        gate.open().unwrap();
        assert_eq!(gate.close(), Closed::Empty);
        assert_eq!(gate.close(), Closed::Already);
        assert!(gate.is_drained());
    }

    #[test]
    fn the_last_to_leave_a_closed_gate_is_told() {
        let gate = Gate::closed();
        gate.open().unwrap();
        assert!(gate.enter_any() && gate.enter_any());
        assert_eq!(gate.close(), Closed::Draining);
        assert!(!gate.enter_any());
        assert_eq!(gate.leave(), Left::Others);
        assert_eq!(gate.leave(), Left::Last);
    }

    #[test]
    fn who_is_inside_goes_in_again_although_the_gate_is_closed_and_both_have_to_leave() {
        let gate = Gate::closed();
        gate.open().unwrap();
        assert!(gate.enter_any());
        assert_eq!(gate.close(), Closed::Draining);
        gate.enter_again();
        assert_eq!(gate.leave(), Left::Others);
        assert!(!gate.is_drained());
        assert_eq!(gate.leave(), Left::Last);
    }

    #[test]
    fn leaving_an_open_gate_is_nobodys_last() {
        let gate = Gate::closed();
        gate.open().unwrap();
        assert!(gate.enter_any());
        assert_eq!(gate.leave(), Left::Others);
    }

    #[test]
    fn a_gate_reopens_only_when_empty_and_old_tickets_are_no_good() {
        let gate = Gate::closed();
        let first = gate.open().unwrap();
        assert_eq!(gate.open(), None);
        assert!(gate.enter(first));
        assert_eq!(gate.close(), Closed::Draining);
        assert_eq!(gate.open(), None);
        assert_eq!(gate.leave(), Left::Last);
        let second = gate.open().unwrap();
        assert_ne!(first, second);
        assert!(!gate.enter(first));
        assert!(gate.enter(second));
    }

    #[test]
    fn a_gate_is_worn_out_after_its_last_generation_and_not_before() {
        let gate = Gate(AtomicU64::new(CLOSED | u64::from(u32::MAX - 2) << GENERATION_SHIFT));
        assert_eq!(gate.open(), Some(u32::MAX - 1));
        assert_eq!((gate.close(), gate.is_worn_out()), (Closed::Empty, false));
        assert_eq!(gate.open(), Some(u32::MAX));
        assert_eq!((gate.close(), gate.is_worn_out()), (Closed::Empty, true));
        assert_eq!(gate.open(), Some(1), "a gate whose tickets nobody keeps goes on");
    }

    #[test]
    fn exactly_one_of_many_threads_sees_the_gate_drain() {
        use std::sync::atomic::AtomicUsize;
        for _ in 0..200 {
            let (gate, drains) = (Gate::closed(), AtomicUsize::new(0));
            gate.open().unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while gate.enter_any() {
                            if gate.leave() == Left::Last {
                                drains.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
                if gate.close() == Closed::Empty {
                    drains.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert_eq!(drains.into_inner(), 1);
        }
    }
}
