//! What the lab knows of a host thread while it runs on behalf of a machine: IRQL, locks held, frame to escape to.

use std::cell::Cell;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::call::Frame;
use crate::exports::Export;
use crate::machine::Inner;
use crate::nt::PVOID;
use crate::turns::Name;
use crate::unwind::Start;

/// How a spin lock was taken; it is released the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    /// `KeAcquireSpinLockRaiseToDpc`.
    Raising,
    /// `KeAcquireSpinLockAtDpcLevel`.
    AtDpcLevel,
    /// `KeAcquireInStackQueuedSpinLock`.
    InStackQueued,
    /// `IoAcquireCancelSpinLock`, or held for a cancel routine.
    Cancel,
}

/// A spin lock that this thread holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) lock: usize,
    pub(crate) kind: LockKind,
    /// Return address of the call that took it.
    pub(crate) caller: usize,
}

/// The most spin locks that a thread may hold at once.
pub(crate) const MOST_HELD: usize = 16;
/// How many of a thread's last calls are remembered.
pub(crate) const CALLS: usize = 16;

/// The thread's own record. Only its thread reads and writes it, so cells do.
pub(crate) struct Thread {
    /// The machine on whose behalf the thread runs; null outside.
    pub(crate) machine: Cell<*const Inner>,
    /// Where a violation escapes to; null outside of any call into driver code.
    pub(crate) frame: Cell<*mut Frame>,
    pub(crate) irql: Cell<u8>,
    /// How many calls into driver code are under way.
    pub(crate) depth: Cell<usize>,
    pub(crate) held: [Cell<Option<Held>>; MOST_HELD],
    pub(crate) held_count: Cell<usize>,
    /// Return address of the export call that runs now.
    pub(crate) caller: Cell<usize>,
    /// The driver's stack pointer at that call.
    pub(crate) stack: Cell<usize>,
    /// From where the driver's stack is unwound: that call, or the instruction that faulted.
    pub(crate) start: Cell<Start>,
    /// Driver code that ran last, when it is no call into the kernel that shows it: the routine that returned, or the
    /// instruction that faulted; 0 otherwise.
    pub(crate) place: Cell<usize>,
    /// The IRP that the thread has completed last, by its record, and the stack location at which it was completed.
    pub(crate) last_completed: Cell<(usize, i8)>,
    pub(crate) calls: [Cell<*const Export>; CALLS],
    pub(crate) call_count: Cell<usize>,
    /// The thread object (`PKTHREAD`) that the driver sees; null until it is needed.
    pub(crate) object: Cell<PVOID>,
    /// The process (`PEPROCESS`) whose context the thread runs in; null for the System process.
    pub(crate) process: Cell<PVOID>,
    /// Whether the lab looks at a driver's memory for a report, whatever the IRQL.
    pub(crate) inspects: Cell<bool>,
    /// What the thread is for; threads of the same name are told apart by their order.
    pub(crate) name: Cell<&'static str>,
    /// The thread's random source, and the number of the machine that it is for.
    pub(crate) random: Cell<(u64, u64)>,
    /// Its name among the threads of a machine that take turns, and the number of the machine.
    pub(crate) turn: Cell<(u64, Name)>,
    pub(crate) shared: Cell<*const Shared>,
}

/// The part that the watchdog reads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tid: AtomicI32,
    pub(crate) machine: AtomicPtr<Inner>,
    /// Milliseconds of the machine's age before which the call that runs now has to return; 0: no bound.
    pub(crate) deadline: AtomicU64,
    /// The innermost routine of a driver that runs; 0 when none does.
    pub(crate) routine: AtomicUsize,
    /// The name of that call, a `&'static str` in two parts.
    pub(crate) what: AtomicPtr<u8>,
    pub(crate) what_length: AtomicUsize,
}

static THREADS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

struct Registration(Arc<Shared>);

impl Drop for Registration {
    fn drop(&mut self) {
        THREADS.lock().retain(|entry| !Arc::ptr_eq(entry, &self.0));
    }
}

thread_local! {
    static THREAD: Thread = const { Thread::new() };
    static REGISTRATION: Registration = register();
}

fn register() -> Registration {
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::gettid() };
    let shared = Arc::new(Shared {
        tid: AtomicI32::new(tid),
        machine: AtomicPtr::new(null_mut()),
        deadline: AtomicU64::new(0),
        routine: AtomicUsize::new(0),
        what: AtomicPtr::new(null_mut()),
        what_length: AtomicUsize::new(0),
    });
    THREADS.lock().push(Arc::clone(&shared));
    Registration(shared)
}

/// Every host thread that has run on behalf of a machine and still exists.
pub(crate) fn registered() -> Vec<Arc<Shared>> {
    THREADS.lock().clone()
}

impl Thread {
    const fn new() -> Self {
        Self {
            machine: Cell::new(null()),
            frame: Cell::new(null_mut()),
            irql: Cell::new(0),
            depth: Cell::new(0),
            held: [const { Cell::new(None) }; MOST_HELD],
            held_count: Cell::new(0),
            caller: Cell::new(0),
            stack: Cell::new(0),
            start: Cell::new(Start { instruction: 0, stack: 0, base: 0 }),
            place: Cell::new(0),
            last_completed: Cell::new((0, 0)),
            calls: [const { Cell::new(null()) }; CALLS],
            call_count: Cell::new(0),
            object: Cell::new(null_mut()),
            process: Cell::new(null_mut()),
            inspects: Cell::new(false),
            name: Cell::new("caller"),
            random: Cell::new((0, 0)),
            turn: Cell::new((0, ("", 0))),
            shared: Cell::new(null()),
        }
    }

    /// A value that no other living thread has, not zero: it marks the locks that this thread owns.
    pub(crate) fn token(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// The part that the watchdog reads; registers the thread at its first use.
    pub(crate) fn shared(&self) -> &Shared {
        if self.shared.get().is_null() {
            self.shared.set(REGISTRATION.with(|registration| Arc::as_ptr(&registration.0)));
        }
        // SAFETY: the registration lives as long as this thread, which is the only one to hold `&self`.
        unsafe { &*self.shared.get() }
    }

    /// The locks held now, the last one taken first.
    pub(crate) fn locks(&self) -> impl Iterator<Item = Held> + '_ {
        self.held[..self.held_count.get()].iter().rev().filter_map(Cell::get)
    }

    /// The name of the export called last.
    pub(crate) fn last_call(&self) -> &'static str {
        let last = self.call_count.get().wrapping_sub(1) % CALLS;
        // SAFETY: the ring holds null or exports that live for ever.
        unsafe { self.calls[last].get().as_ref() }.map_or("the kernel", |export| export.name)
    }

    /// Whether the thread is inside a call of [`Inner::bounded`] that `is` says of by its name.
    pub(crate) fn is_inside(&self, is: impl FnOnce(&str) -> bool) -> bool {
        let shared = self.shared();
        shared.deadline.load(Ordering::Relaxed) != 0 && is(shared.name())
    }

    /// Sets the machine that the thread runs for and returns the one before.
    pub(crate) fn enter_machine(&self, machine: *const Inner) -> *const Inner {
        self.shared().machine.store(machine.cast_mut(), Ordering::Release);
        let before = self.machine.replace(machine);
        if before.is_null() {
            self.call_count.set(0);
        }
        before
    }
}

/// The record of the calling thread.
pub(crate) fn this() -> &'static Thread {
    let record = THREAD.with(std::ptr::from_ref);
    // SAFETY: the record has no destructor and lasts as long as its thread; `Thread` is not `Sync`, so the reference
    // stays on it.
    unsafe { &*record }
}
