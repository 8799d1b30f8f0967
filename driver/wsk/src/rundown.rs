//! Routines of this image that the system has called and that have not returned.
//!
//! What a routine does may be the last thing that somebody waits for who then unloads the image, before the routine has come to its
//! end; nothing else keeps the image there (`IoSetCompletionRoutineEx` would, at the price of an allocation for each IRP). So every
//! routine is counted from its first statement to its last, and who unloads waits for zero. Counters are apart by address, so that
//! independent IRPs share no cache line.

use crate::Passive;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

const COUNTERS: usize = 16;

#[repr(align(64))]
struct Counter(AtomicUsize);

static RUNNING: [Counter; COUNTERS] = [const { Counter(AtomicUsize::new(0)) }; COUNTERS];

/// The current routine, counted while the value exists: bind it first, so that it is dropped last.
#[must_use = "the routine is counted while the value exists"]
pub struct Running(&'static Counter);

impl Running {
    /// Counts a routine that was called with, or for, this address.
    #[inline]
    pub fn enter<T>(key: *const T) -> Self {
        let index = (key.addr() >> 8) % COUNTERS;
        let counter = &RUNNING[index];
        counter.0.fetch_add(1, Ordering::Acquire);
        Self(counter)
    }
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until no routine of the image is running that is counted by [`Running`]. For who unloads: no new one is called by then, and
/// what is left of each is a few instructions. Looks again every millisecond.
pub fn wait_for_routines(passive: Passive) {
    for counter in &RUNNING {
        while counter.0.load(Ordering::Acquire) != 0 {
            crate::kernel::sleep(Duration::from_millis(1), passive);
        }
    }
}
