//! Which of several parties ends an operation.

use crate::sync::{AtomicU8, Ordering, constructor};

/// The meeting of a call that hands an IRP out, the routine that is told of the IRP's completion, and whoever cancels the IRP in
/// between.
///
/// They come in any order, on different processors. Exactly one of them ends the request: the routine, unless a canceller holds the
/// IRP at that moment, which then does it; or the caller, if the call failed and the routine has not run: then the IRP was never
/// taken. (WSK completes the IRP of a call that fails; a provider that does not implement a call may leave it alone.) The record that
/// all of them use is free when the request has been ended and the call has returned.
///
/// # Invariants
/// - Between two [`renew`](Self::renew)s [`arrived`](Self::arrived), [`ended`](Self::ended) and [`returned`](Self::returned) are each
///   called at most once; `ended` only by the party that was told to end the request.
#[derive(Debug)]
pub struct Claim(AtomicU8);

/// The IRP has come back, or was never taken.
const ARRIVED: u8 = 1;
/// The request has been ended.
const ENDED: u8 = 2;
/// The call has returned.
const RETURNED: u8 = 4;
/// Somebody uses the IRP, to cancel it.
const HELD: u8 = 8;

/// What the party with which the IRP comes back does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "exactly one party ends the request"]
pub enum Arrived {
    /// End the request.
    End,
    /// Leave it: whoever holds it ends it.
    Leave,
}

/// What the party that ended the request does about the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the second of two parties gives the record back"]
pub enum Ended {
    /// Leave it: the call has not returned, and its caller gives the record back.
    First,
    /// Give it back.
    Second,
}

/// What the caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the second of two parties gives the record back"]
pub enum Returned {
    /// Nothing: the IRP is out, or being ended; who ends the request gives the record back.
    Outstanding,
    /// Give the record back: the request has been ended.
    Finished,
    /// Act as the completion routine would: the IRP was never taken.
    NeverTaken,
}

impl Claim {
    constructor! {
        /// Nobody has come by.
        #[must_use]
        pub const fn new() -> Self {
            Self(AtomicU8::new(0))
        }
    }

    /// Makes a claim that nobody knows any more, or yet, new again.
    #[inline]
    pub fn renew(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The IRP has come back.
    #[inline]
    pub fn arrived(&self) -> Arrived {
        if self.0.fetch_or(ARRIVED, Ordering::AcqRel) & HELD == 0 { Arrived::End } else { Arrived::Leave }
    }

    /// The request has been ended.
    #[inline]
    pub fn ended(&self) -> Ended {
        if self.0.fetch_or(ENDED, Ordering::AcqRel) & RETURNED == 0 { Ended::First } else { Ended::Second }
    }

    /// The call has returned; `pending` says whether it answered that the IRP is out.
    #[inline]
    pub fn returned(&self, pending: bool) -> Returned {
        let before = self.0.fetch_or(RETURNED, Ordering::AcqRel);
        if before & ENDED != 0 {
            Returned::Finished
        } else if before & ARRIVED != 0 || pending {
            Returned::Outstanding
        } else {
            Returned::NeverTaken
        }
    }

    /// Holds the IRP, to cancel it: until [`let_go`](Self::let_go) it can't complete. False if it has come back already, or somebody
    /// else holds it.
    #[must_use]
    #[inline]
    pub fn hold(&self) -> bool {
        let hold = |bits| (bits & (ARRIVED | HELD) == 0).then_some(bits | HELD);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, hold).is_ok()
    }

    /// Lets the IRP go. [`Arrived::End`] if it has come back meanwhile.
    #[inline]
    pub fn let_go(&self) -> Arrived {
        if self.0.fetch_and(!HELD, Ordering::AcqRel) & ARRIVED == 0 { Arrived::Leave } else { Arrived::End }
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_completion_inside_the_call_leaves_the_record_to_the_caller() {
        for pending in [false, true] {
            let claim = Claim::new();
            assert_eq!(claim.arrived(), Arrived::End);
            assert_eq!(claim.ended(), Ended::First);
            assert_eq!(claim.returned(pending), Returned::Finished);
        }
    }

    #[test]
    fn a_completion_after_the_call_gives_the_record_back_itself() {
        let claim = Claim::new();
        assert_eq!(claim.returned(true), Returned::Outstanding);
        assert_eq!(claim.arrived(), Arrived::End);
        assert_eq!(claim.ended(), Ended::Second);
    }

    #[test]
    fn a_call_that_failed_and_completed_nothing_took_nothing() {
        assert_eq!(Claim::new().returned(false), Returned::NeverTaken);
    }

    #[test]
    fn a_call_that_fails_while_its_irp_is_being_ended_leaves_it_alone() {
        let claim = Claim::new();
        assert_eq!(claim.arrived(), Arrived::End);
        assert_eq!(claim.returned(false), Returned::Outstanding);
        assert_eq!(claim.ended(), Ended::Second);
    }

    #[test]
    fn an_irp_that_comes_back_while_it_is_held_is_ended_by_the_holder() {
        let claim = Claim::new();
        assert_eq!(claim.returned(true), Returned::Outstanding);
        assert!(claim.hold());
        assert!(!claim.hold(), "one holder at a time");
        assert_eq!(claim.arrived(), Arrived::Leave);
        assert_eq!(claim.let_go(), Arrived::End);
        assert_eq!(claim.ended(), Ended::Second);
    }

    #[test]
    fn an_irp_that_has_come_back_can_not_be_held() {
        let claim = Claim::new();
        assert_eq!(claim.arrived(), Arrived::End);
        assert!(!claim.hold());
    }

    #[test]
    fn an_irp_that_outlives_its_cancel_is_ended_by_its_completion() {
        let claim = Claim::new();
        assert_eq!(claim.returned(true), Returned::Outstanding);
        assert!(claim.hold());
        assert_eq!(claim.let_go(), Arrived::Leave);
        assert!(claim.hold(), "and can be held again");
        assert_eq!(claim.let_go(), Arrived::Leave);
        assert_eq!(claim.arrived(), Arrived::End);
    }

    #[test]
    fn exactly_one_party_ends_the_request_and_exactly_one_gives_the_record_back() {
        for round in 0..1000 {
            let (claim, ends, returns) = (Claim::new(), AtomicUsize::new(0), AtomicUsize::new(0));
            let end = || {
                ends.fetch_add(1, Ordering::Relaxed);
                if claim.ended() == Ended::Second {
                    returns.fetch_add(1, Ordering::Relaxed);
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    if claim.arrived() == Arrived::End {
                        end();
                    }
                });
                scope.spawn(|| {
                    if claim.hold() && claim.let_go() == Arrived::End {
                        end();
                    }
                });
                // The completion is certain to come, so the call may say what it likes.
                if claim.returned(true) == Returned::Finished {
                    returns.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert_eq!((ends.into_inner(), returns.into_inner()), (1, 1), "round {round}");
        }
    }
}
