//! Run-down protection: an object is used by many until its owner ends it.
//!
//! Models "Run-Down Protection". The count goes up in twos; its lowest bit says that the run-down has begun.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::machine;
use crate::rules;

/// `EX_RUNDOWN_REF`.
type Rundown = AtomicUsize;
const ACTIVE: usize = 1;

extern "win64" fn initialize(rundown: &Rundown) {
    rundown.store(0, Ordering::Release);
}

extern "win64" fn acquire(rundown: &Rundown) -> u8 {
    acquire_many(rundown, 1)
}

extern "win64" fn acquire_many(rundown: &Rundown, count: u32) -> u8 {
    let enter = |now: usize| (now & ACTIVE == 0).then_some(now + 2 * count as usize);
    u8::from(rundown.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok())
}

extern "win64" fn release(rundown: &Rundown) {
    release_many(rundown, 1);
}

extern "win64" fn release_many(rundown: &Rundown, count: u32) {
    let leave = |now: usize| now.checked_sub(2 * count as usize);
    if rundown.fetch_update(Ordering::AcqRel, Ordering::Acquire, leave).is_err() {
        rules::violate(&rules::BAD_OBJECT, "run-down protection is released more often than acquired", Vec::new());
    }
}

extern "win64" fn wait(rundown: &Rundown) {
    let machine = machine::current();
    rundown.fetch_or(ACTIVE, Ordering::AcqRel);
    while rundown.load(Ordering::Acquire) != ACTIVE {
        if machine.is_stopped() {
            or_escape::<()>(Err(Stopped));
        }
        machine.give_turn_up();
        std::thread::sleep(Duration::from_micros(100));
    }
}

extern "win64" fn completed(rundown: &Rundown) {
    rundown.store(ACTIVE, Ordering::Release);
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        APC: ExInitializeRundownProtection => initialize, ExReInitializeRundownProtection => initialize,
            ExWaitForRundownProtectionRelease => wait, ExRundownCompleted => completed;
        DISPATCH: ExAcquireRundownProtection => acquire, ExAcquireRundownProtectionEx => acquire_many,
            ExReleaseRundownProtection => release, ExReleaseRundownProtectionEx => release_many;
    ]
}
