//! Which of two parties ends an operation.

use crate::sync::{AtomicU8, Ordering};

/// The meeting of a call that hands out an IRP and the routine that is told of the IRP's completion.
///
/// Either may be first, on different processors. The record that both use is free when both have come by; the IRP is the caller's
/// again only if the call failed and the routine has not run: then the IRP was never taken. (WSK completes the IRP of a call that
/// fails; a provider that does not implement a call may leave it alone.)
///
/// # Invariants
/// - [`completed`](Self::completed) and [`returned`](Self::returned) are each called at most once between two
///   [`renew`](Self::renew)s.
#[derive(Debug)]
pub struct Claim(AtomicU8);

const COMPLETED: u8 = 1;
const RETURNED: u8 = 2;

/// What the completion routine found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the second of the two parties gives the record back"]
pub enum Completed {
    /// The call has not returned: the caller gives the record back.
    First,
    /// The call has returned: the routine gives the record back.
    Second,
}

/// What the caller found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the second of the two parties gives the record back"]
pub enum Returned {
    /// The IRP is out: the completion routine gives the record back.
    Outstanding,
    /// The IRP has completed: the caller gives the record back.
    Finished,
    /// The IRP was never taken: it is the caller's again, and so is the record.
    NeverTaken,
}

impl Claim {
    /// Neither party has come by.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Makes a claim that both have come by, or that nobody knows yet, new again.
    pub fn renew(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The completion routine runs.
    pub fn completed(&self) -> Completed {
        if self.0.fetch_or(COMPLETED, Ordering::AcqRel) & RETURNED == 0 {
            Completed::First
        } else {
            Completed::Second
        }
    }

    /// The call has returned; `pending` says whether it answered that the IRP is out.
    pub fn returned(&self, pending: bool) -> Returned {
        let was_completed = self.0.fetch_or(RETURNED, Ordering::AcqRel) & COMPLETED != 0;
        match (was_completed, pending) {
            (true, _) => Returned::Finished,
            (false, true) => Returned::Outstanding,
            (false, false) => Returned::NeverTaken,
        }
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_inside_the_call_leaves_the_record_to_the_caller() {
        for pending in [false, true] {
            let claim = Claim::new();
            assert_eq!(claim.completed(), Completed::First);
            assert_eq!(claim.returned(pending), Returned::Finished);
        }
    }

    #[test]
    fn a_completion_after_the_call_gives_the_record_back_itself() {
        let claim = Claim::new();
        assert_eq!(claim.returned(true), Returned::Outstanding);
        assert_eq!(claim.completed(), Completed::Second);
    }

    #[test]
    fn a_call_that_failed_and_completed_nothing_took_nothing() {
        assert_eq!(Claim::new().returned(false), Returned::NeverTaken);
    }

    #[test]
    fn exactly_one_of_both_gives_the_record_back() {
        for _ in 0..500 {
            let claim = Claim::new();
            let (by_routine, by_caller) = std::thread::scope(|scope| {
                let routine = scope.spawn(|| claim.completed() == Completed::Second);
                let caller = scope.spawn(|| claim.returned(true) == Returned::Finished);
                (routine.join().unwrap(), caller.join().unwrap())
            });
            assert!(by_routine ^ by_caller);
        }
    }
}
