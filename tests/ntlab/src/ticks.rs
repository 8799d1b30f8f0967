//! The time of events, as cheap as can be: the processor's time stamp counter, turned into time when it is shown.

use std::time::{Duration, Instant};

/// The counter now. On what the lab runs on it counts evenly, on all processors alike.
pub(crate) fn now() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// A moment on both clocks, from which others are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    time: Instant,
    ticks: u64,
}

impl Start {
    pub(crate) fn now() -> Self {
        Self { time: Instant::now(), ticks: now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    /// How long after the start the counter was at `ticks`.
    pub(crate) fn age_at(&self, ticks: u64) -> Duration {
        let (time, passed) = (self.time.elapsed().as_nanos(), u128::from(now().wrapping_sub(self.ticks).max(1)));
        let nanoseconds = time * u128::from(ticks.saturating_sub(self.ticks)) / passed;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}
