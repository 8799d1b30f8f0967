//! Reader/writer spin locks: many readers or one writer, at `DISPATCH_LEVEL`.
//!
//! Models "Reader/Writer Spin Locks". A lock that is not released shows as a changed IRQL at return.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::{irql, machine, rules};

/// `EX_SPIN_LOCK`: how many readers, or `WRITER`.
type Lock = AtomicI32;
const WRITER: i32 = i32::MIN;

/// Tries until it succeeds, or the machine stops, or it hangs.
fn spin(lock: &Lock, enter: impl Fn(i32) -> Option<i32>) {
    let machine = machine::current();
    let since = Instant::now();
    while lock.fetch_update(Ordering::AcqRel, Ordering::Relaxed, &enter).is_err() {
        if machine.is_stopped() {
            or_escape::<()>(Err(Stopped));
        }
        if since.elapsed() > machine.options.hang {
            let message =
                format!("reader/writer spin lock {:#x} does not come free", std::ptr::from_ref(lock) as usize);
            rules::violate(&rules::HANGS, message, Vec::new());
        }
        if !machine.hand_turn_over() {
            std::thread::yield_now();
        }
    }
}

fn leave(lock: &Lock, leave: impl Fn(i32) -> Option<i32>) {
    if lock.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave).is_err() {
        let message = format!("reader/writer spin lock {:#x} is not held so", std::ptr::from_ref(lock) as usize);
        rules::violate(&rules::LOCK_NOT_OWNED, message, Vec::new());
    }
}

extern "win64" fn acquire_exclusive(lock: &Lock) -> u8 {
    let before = irql::raise(irql::DISPATCH);
    acquire_exclusive_at_dpc(lock);
    before
}

extern "win64" fn acquire_exclusive_at_dpc(lock: &Lock) {
    spin(lock, |now| (now == 0).then_some(WRITER));
}

extern "win64" fn acquire_shared(lock: &Lock) -> u8 {
    let before = irql::raise(irql::DISPATCH);
    acquire_shared_at_dpc(lock);
    before
}

extern "win64" fn acquire_shared_at_dpc(lock: &Lock) {
    spin(lock, |now| (now >= 0).then(|| now + 1));
}

extern "win64" fn release_exclusive(lock: &Lock, to: u8) {
    release_exclusive_from_dpc(lock);
    irql::lower(to);
}

extern "win64" fn release_exclusive_from_dpc(lock: &Lock) {
    leave(lock, |now| (now == WRITER).then_some(0));
}

extern "win64" fn release_shared(lock: &Lock, to: u8) {
    release_shared_from_dpc(lock);
    irql::lower(to);
}

extern "win64" fn release_shared_from_dpc(lock: &Lock) {
    leave(lock, |now| (now > 0).then(|| now - 1));
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: ExAcquireSpinLockExclusive => acquire_exclusive, ExAcquireSpinLockShared => acquire_shared,
            ExReleaseSpinLockExclusive => release_exclusive, ExReleaseSpinLockShared => release_shared;
        // From DISPATCH_LEVEL up.
        HIGH: ExAcquireSpinLockExclusiveAtDpcLevel => acquire_exclusive_at_dpc,
            ExAcquireSpinLockSharedAtDpcLevel => acquire_shared_at_dpc,
            ExReleaseSpinLockExclusiveFromDpcLevel => release_exclusive_from_dpc,
            ExReleaseSpinLockSharedFromDpcLevel => release_shared_from_dpc;
    ]
}
