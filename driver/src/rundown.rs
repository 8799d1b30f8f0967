//! Routines of this image that the system has called and that have not returned.
//!
//! A request's completion may let its caller close the device and unload the driver before the routine that completed it has come to
//! its end; nothing else keeps the image there (`IoSetCompletionRoutineEx` would, at the price of an allocation for each request). So
//! every routine that the system calls is counted from its first statement to its last, and `DriverUnload` waits for zero. Counters
//! are apart by IRP, so that independent requests share no cache line.

use crate::worker::Worker;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use wdk_sys::{LARGE_INTEGER, ntddk};
use wsk::Passive;

const COUNTERS: usize = 16;

#[repr(align(64))]
struct Counter(AtomicUsize);

static RUNNING: [Counter; COUNTERS] = [const { Counter(AtomicUsize::new(0)) }; COUNTERS];

/// The current routine, counted while the value exists: bind it first, so that it is dropped last.
#[must_use = "the routine is counted while the value exists"]
pub struct Running(&'static Counter);

impl Running {
    /// Counts a routine that was called with, or for, this address.
    pub fn enter<T>(key: *const T) -> Self {
        let index = (key.addr() >> 8) % COUNTERS;
        let counter = &RUNNING[index];
        counter.0.fetch_add(1, Ordering::Acquire);
        Self(counter)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

/// The rung of the ladder that waits, when it is dropped in `DriverUnload`, until no routine of the image is running but that one.
/// No new one is called by then: no handle is open and nothing is registered. What is left to wait for is a few instructions.
pub struct Rundown(NonNull<Worker>, Passive);

// SAFETY: the token is the ladder's, which goes up and down at PASSIVE_LEVEL.
unsafe impl Send for Rundown {}

impl Rundown {
    /// The rung.
    ///
    /// # Safety
    /// `worker` stays where it is until the rung is dropped, and its thread is gone by then.
    pub const unsafe fn new(worker: &Worker, passive: Passive) -> Self {
        // INVARIANT: the caller's promise.
        Self(NonNull::from_ref(worker), passive)
    }
}

impl Drop for Rundown {
    fn drop(&mut self) {
        /// One millisecond, relative, in units of 100 nanoseconds.
        const INTERVAL: i64 = -10_000;
        let Self(worker, passive) = self;
        for counter in &RUNNING {
            while counter.0.load(Ordering::Acquire) != 0 {
                let mut interval = LARGE_INTEGER { QuadPart: INTERVAL };
                // SAFETY: PASSIVE_LEVEL by the token.
                let _elapsed = unsafe { ntddk::KeDelayExecutionThread(crate::nt::KERNEL_MODE, 0, &raw mut interval) };
            }
        }
        // One of them may have queued work after the thread had ended: there is nothing left to do in it but to let go of memory.
        // SAFETY: the state is there until the device goes, and this is the queue's only runner.
        unsafe { worker.as_ref() }.run_queued(*passive);
    }
}
