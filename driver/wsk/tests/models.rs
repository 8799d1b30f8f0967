//! Every interleaving of what several parties share here, as far as the bound on preemptions goes: with loom's atomics in the place of the
//! processor's. `cargo lab test` runs this file with `--cfg loom`; without that it is empty.
//!
//! What the pieces guard is modelled by relaxed atomics: a value that is not ordered before its reader may be read stale, and loom
//! tries that too.
#![cfg(loom)]

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use std::ptr::NonNull;
use wsk::{Arrived, Claim, Closed, Ended, Gate, Ref, Rendezvous, Returned};

/// An operation: its IRP, which one party ends, and its record, which one party gives back.
struct Operation {
    claim: Claim,
    ends: AtomicUsize,
    returns: AtomicUsize,
    /// The IRP is the system's again.
    completed: AtomicBool,
    /// The record may be somebody else's.
    recycled: AtomicBool,
    /// What the call has put into the record.
    filled: AtomicBool,
}

impl Operation {
    fn new() -> Arc<Self> {
        let no = || AtomicBool::new(false);
        let (ends, returns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { claim: Claim::new(), ends, returns, completed: no(), recycled: no(), filled: no() })
    }

    fn in_use(&self) {
        assert!(!self.recycled.load(Relaxed), "the record is somebody else's");
    }

    /// As `end` in the driver.
    fn end(&self) {
        self.in_use();
        self.completed.store(true, Relaxed);
        self.ends.fetch_add(1, Relaxed);
        if self.claim.ended() == Ended::Second {
            self.recycle();
        }
    }

    fn recycle(&self) {
        assert!(self.completed.load(Relaxed), "who gives the record back sees that the request was ended");
        assert!(self.filled.load(Relaxed), "and that the call has returned");
        self.recycled.store(true, Relaxed);
        self.returns.fetch_add(1, Relaxed);
    }

    /// WSK's completion.
    fn complete(&self) {
        if self.claim.arrived() == Arrived::End {
            self.end();
        }
    }

    /// Somebody cancels the request, which it found in the pending set.
    fn cancel(&self) {
        if self.claim.hold() {
            assert!(!self.completed.load(Relaxed), "a held IRP does not complete");
            self.in_use();
            if self.claim.let_go() == Arrived::End {
                self.end();
            }
        }
    }

    /// The call returns.
    fn call_returns(&self, pending: bool) {
        self.filled.store(true, Relaxed);
        match self.claim.returned(pending) {
            Returned::Outstanding => {}
            Returned::Finished => self.recycle(),
            Returned::NeverTaken => self.complete(),
        }
    }

    fn was_ended_once(&self) {
        let (ends, returns) = (self.ends.load(Relaxed), self.returns.load(Relaxed));
        assert_eq!((ends, returns), (1, 1), "how often it was ended, and its record given back");
    }
}

fn spawn(operation: &Arc<Operation>, body: fn(&Operation)) -> thread::JoinHandle<()> {
    let operation = operation.clone();
    thread::spawn(move || body(&operation))
}

#[test]
fn a_completion_a_cancel_and_the_return_of_the_call_end_a_request_once_and_give_its_record_back_once() {
    loom::model(|| {
        let operation = Operation::new();
        let parties = [spawn(&operation, Operation::complete), spawn(&operation, Operation::cancel)];
        operation.call_returns(true);
        parties.into_iter().for_each(|party| party.join().unwrap());
        operation.was_ended_once();
    });
}

#[test]
fn two_cancels_and_a_completion_end_a_request_once() {
    loom::model(|| {
        let operation = Operation::new();
        operation.call_returns(true);
        let parties = [spawn(&operation, Operation::complete), spawn(&operation, Operation::cancel)];
        operation.cancel();
        parties.into_iter().for_each(|party| party.join().unwrap());
        operation.was_ended_once();
    });
}

#[test]
fn a_call_that_took_no_irp_and_a_cancel_end_the_request_once() {
    loom::model(|| {
        let operation = Operation::new();
        let cancel = spawn(&operation, Operation::cancel);
        operation.call_returns(false);
        cancel.join().unwrap();
        operation.was_ended_once();
    });
}

#[test]
fn a_call_that_fails_and_completes_its_irp_all_the_same_ends_the_request_once() {
    loom::model(|| {
        let operation = Operation::new();
        let cancel = spawn(&operation, Operation::cancel);
        operation.complete();
        operation.call_returns(false);
        cancel.join().unwrap();
        operation.was_ended_once();
    });
}

/// What the model sees of a record, which is gone by then.
#[derive(Default)]
struct Seen {
    ended: AtomicUsize,
    told: AtomicUsize,
    freed: AtomicUsize,
}

/// The record of the safe layer's operations: what WSK writes, and then its owner reads, is a cell that loom watches.
struct Record {
    claim: Claim,
    told: Rendezvous,
    lent: UnsafeCell<u32>,
    seen: Arc<Seen>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.lent.with_mut(|_| ());
        self.seen.freed.fetch_add(1, Relaxed);
    }
}

/// WSK's reference, on its way to the completion.
struct Outstanding(NonNull<Record>);

// SAFETY: it is used by one thread.
unsafe impl Send for Outstanding {}

/// WSK writes what it was lent, and completes.
const WRITTEN: u32 = 7;

impl Record {
    /// A record that is about to be handed out.
    fn new() -> (Ref<Self>, Outstanding, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let record =
            Self { claim: Claim::new(), told: Rendezvous::new(), lent: UnsafeCell::new(0), seen: Arc::clone(&seen) };
        let record = Ref::try_new(record).unwrap();
        let outstanding = Outstanding(record.clone().into_raw());
        (record, outstanding, seen)
    }

    /// As `end` in the safe layer; `record` is WSK's reference.
    fn end(record: Ref<Self>) {
        record.seen.ended.fetch_add(1, Relaxed);
        record.lent.with_mut(|_| ());
        if record.told.arrive() {
            record.tell();
        }
    }

    /// The closure, or who has waited.
    fn tell(&self) {
        // SAFETY: loom finds out whether anybody writes meanwhile.
        let lent = self.lent.with(|lent| unsafe { *lent });
        assert_eq!(lent, WRITTEN, "whoever is told sees what WSK has written");
        self.seen.told.fetch_add(1, Relaxed);
    }

    /// The completion routine, after WSK has done its work.
    fn complete(outstanding: &Outstanding) {
        // SAFETY: WSK's reference keeps it until the end.
        let record = unsafe { outstanding.0.as_ref() };
        // SAFETY: loom finds out whether anybody else looks.
        record.lent.with_mut(|lent| unsafe { *lent = WRITTEN });
        if record.claim.arrived() == Arrived::End {
            // SAFETY: told to.
            Self::end(unsafe { Ref::from_raw(outstanding.0) });
        }
    }

    /// The owner cancels.
    fn cancel(record: &Ref<Self>) {
        if record.claim.hold() {
            assert_eq!(record.seen.freed.load(Relaxed), 0, "an IRP that is held is there");
            if record.claim.let_go() == Arrived::End {
                // SAFETY: told to: WSK's reference is ours.
                Self::end(unsafe { Ref::from_raw(NonNull::from(&**record)) });
            }
        }
    }
}

impl Seen {
    fn is(&self, told: usize) {
        let (ended, freed) = (self.ended.load(Relaxed), self.freed.load(Relaxed));
        assert_eq!((ended, self.told.load(Relaxed), freed), (1, told, 1), "ended, told, freed");
    }
}

#[test]
fn an_operation_that_is_dropped_while_it_completes_is_ended_once_and_freed_once_after_both() {
    loom::model(|| {
        let (record, outstanding, seen) = Record::new();
        let completion = thread::spawn(move || Record::complete(&outstanding));
        assert_ne!(record.claim.returned(true), Returned::NeverTaken);
        Record::cancel(&record);
        drop(record);
        completion.join().unwrap();
        seen.is(0);
    });
}

#[test]
fn an_operation_whose_call_answers_an_error_while_it_completes_is_ended_once() {
    loom::model(|| {
        let (record, outstanding, seen) = Record::new();
        // WSK has completed the IRP, and the routine is still running on another processor when the call returns its error.
        Record::complete(&outstanding);
        let other = record.clone();
        let canceller = thread::spawn(move || Record::cancel(&other));
        assert_ne!(record.claim.returned(false), Returned::NeverTaken);
        drop(record);
        canceller.join().unwrap();
        seen.is(0);
    });
}

#[test]
fn a_call_that_took_nothing_leaves_the_end_to_its_caller() {
    loom::model(|| {
        let (record, outstanding, seen) = Record::new();
        assert_eq!(record.claim.returned(false), Returned::NeverTaken);
        // The caller does what the completion would have done.
        Record::complete(&outstanding);
        let owner = thread::spawn(move || Record::cancel(&record));
        owner.join().unwrap();
        seen.is(0);
    });
}

#[test]
fn a_closure_that_meets_the_completion_is_called_once_and_sees_the_outcome() {
    loom::model(|| {
        let (record, outstanding, seen) = Record::new();
        let completion = thread::spawn(move || Record::complete(&outstanding));
        assert_ne!(record.claim.returned(true), Returned::NeverTaken);
        if record.told.arrive() {
            record.tell();
        }
        drop(record);
        completion.join().unwrap();
        seen.is(1);
    });
}

#[test]
fn an_owner_who_finds_the_operation_over_sees_the_outcome_and_may_free_it_at_once() {
    loom::model(|| {
        let (record, outstanding, seen) = Record::new();
        let completion = thread::spawn(move || Record::complete(&outstanding));
        assert_ne!(record.claim.returned(true), Returned::NeverTaken);
        let over = record.told.has_begun();
        if over {
            record.tell();
        } else {
            Record::cancel(&record);
        }
        drop(record);
        completion.join().unwrap();
        seen.is(usize::from(over));
    });
}

/// A socket: calls are made inside the gate, and whoever finds the gate closed and empty gives it back, once.
struct Socket {
    gate: Gate,
    given_back: AtomicUsize,
    /// What a call does: a write, so that loom sees whether the close overlaps it.
    wsk: UnsafeCell<u32>,
}

impl Socket {
    fn call(&self) -> bool {
        let entered = self.gate.enter();
        if entered {
            self.wsk.with(|_| ());
            if self.gate.leave() {
                self.give_back();
            }
        }
        entered
    }

    fn close(&self) {
        if self.gate.close() == Closed::Empty {
            self.give_back();
        }
    }

    fn give_back(&self) {
        self.wsk.with_mut(|_| ());
        self.given_back.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_close_overlaps_no_call_and_happens_once_whoever_is_last() {
    loom::model(|| {
        let socket = Arc::new(Socket { gate: Gate::open(), given_back: AtomicUsize::new(0), wsk: UnsafeCell::new(0) });
        let callers = [0, 1].map(|_| {
            let socket = Arc::clone(&socket);
            thread::spawn(move || socket.call())
        });
        socket.close();
        socket.close();
        assert!(!socket.call(), "nobody comes in after a close");
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(socket.given_back.load(Relaxed), 1);
    });
}
