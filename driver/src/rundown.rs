//! Routines of this image that the system has called and that have not returned.
//!
//! A request's completion may let its caller close the device and unload the driver before the routine that completed it has come to
//! its end. So every routine that the system calls is counted ([`wsk::Running`]), and `DriverUnload` waits for zero.

use crate::worker::Worker;
use core::ptr::NonNull;
use wsk::Passive;

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
        let Self(worker, passive) = self;
        wsk::wait_for_routines(*passive);
        // One of them may have queued work after the thread had ended: there is nothing left to do in it but to let go of memory.
        // SAFETY: the state is there until the device goes, and this is the queue's only runner.
        unsafe { worker.as_ref() }.run_queued(*passive);
    }
}
