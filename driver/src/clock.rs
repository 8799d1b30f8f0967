//! Time since the system started, for ages: 100-nanosecond units, as coarse as the system's clock tick.
//!
//! `KeQueryInterruptTime` is inline in the WDK and reads a page that only Windows has. What does the same is exported under different
//! names: found at run time, it costs the driver no import that a system may lack.

use crate::system::routine;
use core::mem::transmute;
use core::sync::atomic::{AtomicPtr, Ordering};
use wsk::Passive;

/// `KeQueryUnbiasedInterruptTime`: any IRQL. The time that the system slept does not count.
type UnbiasedInterruptTime = unsafe extern "system" fn() -> u64;
/// `KeQueryTickCount` where it is a routine (stock Wine): any IRQL.
type TickCount = unsafe extern "system" fn(*mut i64);
/// `KeQueryTimeIncrement`: the length of a tick, any IRQL.
type TimeIncrement = unsafe extern "system" fn() -> u32;

static UNBIASED: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static TICKS: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static INCREMENT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Looks for the system's clock. Without one, time stands still at zero.
pub fn find(passive: Passive) {
    let found = |name| routine(name, passive).map_or(core::ptr::null_mut(), core::ptr::NonNull::as_ptr);
    UNBIASED.store(found("KeQueryUnbiasedInterruptTime"), Ordering::Relaxed);
    TICKS.store(found("KeQueryTickCount"), Ordering::Relaxed);
    INCREMENT.store(found("KeQueryTimeIncrement"), Ordering::Relaxed);
}

/// The time now. Any IRQL.
pub fn now() -> u64 {
    let unbiased = UNBIASED.load(Ordering::Relaxed);
    if unbiased.is_null() {
        return ticked();
    }
    // SAFETY: the system's routine of that name.
    let unbiased = unsafe { transmute::<*mut (), UnbiasedInterruptTime>(unbiased) };
    // SAFETY: no argument can be wrong.
    unsafe { unbiased() }
}

fn ticked() -> u64 {
    let (ticks, increment) = (TICKS.load(Ordering::Relaxed), INCREMENT.load(Ordering::Relaxed));
    if ticks.is_null() || increment.is_null() {
        return 0;
    }
    // SAFETY: the system's routine of that name.
    let ticks = unsafe { transmute::<*mut (), TickCount>(ticks) };
    // SAFETY: the system's routine of that name.
    let increment = unsafe { transmute::<*mut (), TimeIncrement>(increment) };
    let mut count = 0;
    // SAFETY: the place is there.
    unsafe { ticks(&raw mut count) };
    // SAFETY: no argument can be wrong.
    let increment = unsafe { increment() };
    count.cast_unsigned().wrapping_mul(increment.into())
}

/// Milliseconds from `since`, which [`now`] answered, to `now`.
pub fn milliseconds(since: u64, now: u64) -> u32 {
    const UNITS: u64 = 10_000;
    u32::try_from(now.saturating_sub(since) / UNITS).unwrap_or(u32::MAX)
}
