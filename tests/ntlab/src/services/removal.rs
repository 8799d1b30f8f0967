//! Remove locks: who uses a device, so that who removes it can wait.
//!
//! Models "Using Remove Locks".

use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use crate::call::or_escape;
use crate::dispatcher;
use crate::exports::{Export, routines};
use crate::machine;
use crate::nt::{KEVENT, NOTIFICATION_EVENT, PVOID};
use crate::rules;
use crate::status::NtStatus;

/// The common part of an `IO_REMOVE_LOCK`.
#[repr(C)]
struct RemoveLock {
    removed: AtomicU8,
    reserved: [u8; 3],
    count: AtomicI32,
    event: KEVENT,
}
const _: () = assert!(size_of::<RemoveLock>() == 32);

extern "win64" fn initialize(lock: &RemoveLock, _tag: u32, _minutes: u32, _high_watermark: u32, _size: u32) {
    dispatcher::initialize(&lock.event.Header, NOTIFICATION_EVENT, size_of::<KEVENT>(), 0);
    lock.removed.store(0, Ordering::Relaxed);
    lock.count.store(1, Ordering::Release);
}

fn leave(lock: &RemoveLock) {
    let before = lock.count.fetch_sub(1, Ordering::AcqRel);
    if before <= 0 {
        rules::violate(&rules::BAD_OBJECT, "a remove lock is released more often than acquired", Vec::new());
    }
    if before == 1 {
        machine::current().signal(std::ptr::from_ref(&lock.event) as usize, 1);
    }
}

extern "win64" fn acquire(lock: &RemoveLock, _tag: PVOID, _file: *const u8, _line: u32, _size: u32) -> i32 {
    lock.count.fetch_add(1, Ordering::AcqRel);
    if lock.removed.load(Ordering::SeqCst) == 0 {
        return NtStatus::SUCCESS.0;
    }
    leave(lock);
    NtStatus::DELETE_PENDING.0
}

extern "win64" fn release(lock: &RemoveLock, _tag: PVOID, _size: u32) {
    leave(lock);
}

extern "win64" fn release_and_wait(lock: &RemoveLock, _tag: PVOID, _size: u32) {
    lock.removed.store(1, Ordering::SeqCst);
    leave(lock);
    leave(lock);
    or_escape(machine::current().wait(&[std::ptr::from_ref(&lock.event) as usize], false, None));
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        PASSIVE: IoInitializeRemoveLockEx => initialize, IoReleaseRemoveLockAndWaitEx => release_and_wait;
        DISPATCH: IoAcquireRemoveLockEx => acquire, IoReleaseRemoveLockEx => release;
    ]
}
