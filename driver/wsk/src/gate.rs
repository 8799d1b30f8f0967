//! Who is inside something that is to be closed.

use crate::sync::{AtomicU32, Ordering, constructor};

/// A number of visitors, and whether any may still come in.
///
/// # Invariants
/// - [`leave`](Self::leave) is called once for each visitor that came in.
#[derive(Debug)]
pub struct Gate(AtomicU32);

/// Nobody comes in any more.
const CLOSED: u32 = 1 << 31;

/// What the closer has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "exactly one party takes down what is behind the gate"]
pub enum Closed {
    /// Take down what is behind the gate: nobody is inside.
    Empty,
    /// Nothing: the last to leave takes it down.
    Draining,
    /// Nothing: it was closed before.
    Already,
}

impl Gate {
    constructor! {
        /// Open, with nobody inside.
        #[must_use]
        pub const fn open() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Comes in. False if the gate is closed.
    #[must_use]
    pub fn enter(&self) -> bool {
        let one_more = |word| (word & CLOSED == 0).then_some(word + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// Brings somebody in, closed or not: for who is inside.
    pub fn bring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Leaves. True if the gate is closed and nobody is inside any more: then the leaver takes down what is behind it.
    #[must_use = "exactly one party takes down what is behind the gate"]
    pub fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1
    }

    /// Lets nobody in any more.
    pub fn close(&self) -> Closed {
        match self.0.fetch_or(CLOSED, Ordering::AcqRel) {
            0 => Closed::Empty,
            word if word & CLOSED != 0 => Closed::Already,
            _ => Closed::Draining,
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// How many are inside.
    pub fn inside(&self) -> u32 {
        self.0.load(Ordering::Acquire) & !CLOSED
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nobody_comes_in_through_a_closed_gate() {
        let gate = Gate::open();
        assert!(gate.enter());
        assert_eq!((gate.close(), gate.close()), (Closed::Draining, Closed::Already));
        assert!(!gate.enter() && gate.is_closed() && gate.inside() == 1);
    }

    #[test]
    fn the_last_to_leave_a_closed_gate_is_told() {
        let gate = Gate::open();
        assert!(gate.enter() && !gate.leave(), "an open gate has no last one");
        assert!(gate.enter());
        gate.bring();
        assert_eq!(gate.close(), Closed::Draining);
        assert!(!gate.leave());
        assert!(gate.leave());
    }

    #[test]
    fn an_empty_gate_is_the_closers() {
        assert_eq!(Gate::open().close(), Closed::Empty);
    }
}
