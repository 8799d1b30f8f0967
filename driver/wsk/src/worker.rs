//! A client's own thread: it closes sockets that nobody has any more, and sees threads off that have ended.
//!
//! Who drops a socket may be inside a completion routine, where WSK must not be called. So the socket goes into this queue, which
//! takes no memory and no lock: each thing that may be queued has its place in the queue built in, and is queued once in its life.

use crate::Passive;
use crate::kernel::{Event, EventKind};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// A place in the queue.
pub(crate) struct Work {
    next: AtomicPtr<Work>,
    run: unsafe fn(NonNull<Work>, Passive),
}

impl Work {
    /// Work that `run` does, which is given this place.
    pub const fn new(run: unsafe fn(NonNull<Self>, Passive)) -> Self {
        Self { next: AtomicPtr::new(null_mut()), run }
    }
}

/// The queue.
///
/// # Invariants
/// - What is in the queue is alive until its run, which it is given to. One thread takes from it.
pub(crate) struct Worker {
    head: AtomicPtr<Work>,
    wake: Event,
    stop: AtomicBool,
}

impl Worker {
    /// An empty queue, not initialised.
    pub const fn new() -> Self {
        Self { head: AtomicPtr::new(null_mut()), wake: Event::new(), stop: AtomicBool::new(false) }
    }

    /// Makes it ready, where it will stay.
    ///
    /// # Safety
    /// As for [`Event::initialize`].
    pub unsafe fn initialize(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.wake.initialize(EventKind::Wakes) };
    }

    /// Queues work. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// It is not queued yet, is alive until its run, and the worker until this call returns.
    pub unsafe fn queue(&self, work: NonNull<Work>) {
        // SAFETY: alive (caller).
        let place = unsafe { work.as_ref() };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            place.next.store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, work.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.wake.set();
    }

    /// Does what is queued until told to stop and nothing is left.
    pub fn run(&self, passive: Passive) {
        loop {
            // Read before the queue is emptied: what was queued before the stop is done.
            let stop = self.stop.load(Ordering::Acquire);
            self.run_queued(passive);
            if stop {
                return;
            }
            // Ended by whoever queues or stops.
            self.wake.wait_idle(passive);
        }
    }

    fn run_queued(&self, passive: Passive) {
        let mut next = NonNull::new(self.head.swap(null_mut(), Ordering::Acquire));
        while let Some(work) = next {
            // SAFETY: alive until its run (invariant).
            let place = unsafe { work.as_ref() };
            next = NonNull::new(place.next.load(Ordering::Relaxed));
            // SAFETY: taken from the queue just now.
            unsafe { (place.run)(work, passive) };
        }
    }

    /// Has [`run`](Self::run) come to an end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.set();
    }
}
