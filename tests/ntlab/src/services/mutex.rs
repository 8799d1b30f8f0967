//! Fast mutexes, guarded mutexes and critical regions.
//!
//! Models "Fast Mutexes and Guarded Mutexes". A fast mutex counts down from one; who finds it taken waits for its event.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use crate::call::or_escape;
use crate::dispatcher;
use crate::exports::{Export, routines};
use crate::machine;
use crate::nt::{KEVENT, SYNCHRONIZATION_EVENT};
use crate::thread::this;
use crate::{irql, rules};

/// `FAST_MUTEX`, and `KGUARDED_MUTEX`, whose last member is something else.
#[repr(C)]
struct FastMutex {
    count: AtomicI32,
    owner: AtomicUsize,
    contention: Cell<u32>,
    event: KEVENT,
    old_irql: Cell<u32>,
}
const _: () = assert!(size_of::<FastMutex>() == 56);

extern "win64" fn initialize(mutex: &FastMutex) {
    mutex.count.store(1, Ordering::Relaxed);
    mutex.owner.store(0, Ordering::Relaxed);
    mutex.contention.set(0);
    dispatcher::initialize(&mutex.event.Header, SYNCHRONIZATION_EVENT, size_of::<KEVENT>(), 0);
}

extern "win64" fn acquire_unsafe(mutex: &FastMutex) {
    if mutex.owner.load(Ordering::Relaxed) == this().token() {
        rules::violate(&rules::RECURSIVE_LOCK, "the thread holds the fast mutex already", Vec::new());
    }
    if mutex.count.fetch_sub(1, Ordering::AcqRel) != 1 {
        or_escape(machine::current().wait(&[std::ptr::from_ref(&mutex.event) as usize], false, None));
    }
    mutex.owner.store(this().token(), Ordering::Relaxed);
}

extern "win64" fn release_unsafe(mutex: &FastMutex) {
    if mutex.owner.swap(0, Ordering::Relaxed) != this().token() {
        rules::violate(&rules::LOCK_NOT_OWNED, "the thread does not hold the fast mutex", Vec::new());
    }
    if mutex.count.fetch_add(1, Ordering::AcqRel) < 0 {
        machine::current().signal(std::ptr::from_ref(&mutex.event) as usize, 1);
    }
}

extern "win64" fn acquire(mutex: &FastMutex) {
    let before = irql::raise(irql::APC);
    acquire_unsafe(mutex);
    mutex.old_irql.set(u32::from(before));
}

extern "win64" fn release(mutex: &FastMutex) {
    let before = u8::try_from(mutex.old_irql.get()).unwrap_or(0);
    release_unsafe(mutex);
    irql::lower(before);
}

extern "win64" fn try_acquire(mutex: &FastMutex) -> u8 {
    let before = irql::raise(irql::APC);
    if mutex.count.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        irql::lower(before);
        return 0;
    }
    mutex.owner.store(this().token(), Ordering::Relaxed);
    mutex.old_irql.set(u32::from(before));
    1
}

/// The lab delivers no APCs, so there is nothing to hold off.
extern "win64" fn region() {}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: ExInitializeFastMutex => initialize;
        APC: ExAcquireFastMutex => acquire, ExReleaseFastMutex => release, ExTryToAcquireFastMutex => try_acquire,
            ExAcquireFastMutexUnsafe => acquire_unsafe, ExReleaseFastMutexUnsafe => release_unsafe,
            KeInitializeGuardedMutex => initialize, KeAcquireGuardedMutex => acquire_unsafe,
            KeReleaseGuardedMutex => release_unsafe, KeEnterCriticalRegion => region, KeLeaveCriticalRegion => region,
            KeEnterGuardedRegion => region, KeLeaveGuardedRegion => region;
    ]
}
