//! Sequenced singly linked lists, and other small services.
//!
//! Models "Singly and Doubly Linked Lists". A list's head is 16 bytes: its depth, then the first entry. All lists share a
//! lock of the lab, which holds nothing that a fault could leave locked: entries are touched before it is taken.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::exports::{Export, routines};
use crate::machine;
use crate::nt::PVOID;
use crate::rules;
use crate::thread::this;

static LISTS: Mutex<()> = Mutex::new(());

/// `SLIST_HEADER`.
#[repr(C, align(16))]
struct Head {
    depth: AtomicUsize,
    first: AtomicUsize,
}

fn entry<'a>(address: usize) -> &'a AtomicUsize {
    // SAFETY: an entry begins with its link; if the driver has freed it, the fault is the driver's.
    unsafe { &*(address as *const AtomicUsize) }
}

extern "win64" fn initialize(head: &Head) {
    machine::current().require_resident(std::ptr::from_ref(head) as usize, "an SLIST_HEADER");
    head.depth.store(0, Ordering::Relaxed);
    head.first.store(0, Ordering::Relaxed);
}

extern "win64" fn push(head: &Head, new: usize) -> usize {
    if !new.is_multiple_of(16) {
        rules::violate(&rules::BAD_OBJECT, format!("the list entry {new:#x} is not aligned to 16"), Vec::new());
    }
    entry(new).store(0, Ordering::Relaxed); // a fault comes here, before the lock
    let guard = LISTS.lock();
    let before = head.first.swap(new, Ordering::AcqRel);
    entry(new).store(before, Ordering::Relaxed);
    head.depth.fetch_add(1, Ordering::Relaxed);
    drop(guard);
    before
}

extern "win64" fn pop(head: &Head) -> usize {
    let first = head.first.load(Ordering::Acquire);
    if first != 0 {
        entry(first).load(Ordering::Relaxed); // a fault comes here, before the lock
    }
    let guard = LISTS.lock();
    let first = head.first.load(Ordering::Acquire);
    if first != 0 {
        head.first.store(entry(first).load(Ordering::Relaxed), Ordering::Release);
        head.depth.fetch_sub(1, Ordering::Relaxed);
    }
    drop(guard);
    first
}

extern "win64" fn flush(head: &Head) -> usize {
    let guard = LISTS.lock();
    head.depth.store(0, Ordering::Relaxed);
    let first = head.first.swap(0, Ordering::AcqRel);
    drop(guard);
    first
}

extern "win64" fn depth(head: &Head) -> u16 {
    u16::try_from(head.depth.load(Ordering::Relaxed) & 0xffff).unwrap_or(u16::MAX)
}

/// The 24 KiB that a driver may use, as if it had a kernel stack.
const KERNEL_STACK: usize = 24 << 10;

fn stack_top() -> usize {
    // SAFETY: driver code runs under a recovery point, which is on this thread's stack.
    unsafe { &*this().frame.get() }.rsp
}

extern "win64" fn stack_limits(low: &Cell<usize>, high: &Cell<usize>) {
    high.set(stack_top());
    low.set(stack_top() - KERNEL_STACK);
}

extern "win64" fn remaining_stack_size() -> usize {
    (this().stack.get() + KERNEL_STACK).saturating_sub(stack_top())
}

/// `MmUserProbeAddress`: user addresses are below it. Here all memory is the host's, so none is refused.
static USER_PROBE_ADDRESS: usize = usize::MAX;

extern "win64" fn probe(_address: PVOID, _length: usize, _alignment: u32) {}

pub(crate) fn exports() -> Vec<Export> {
    let mut exports = routines!["ntoskrnl.exe";
        HIGH: InitializeSListHead => initialize, ExpInterlockedPushEntrySList => push,
            ExpInterlockedPopEntrySList => pop, ExpInterlockedFlushSList => flush,
            IoGetStackLimits => stack_limits, IoGetRemainingStackSize => remaining_stack_size;
        DISPATCH: ExQueryDepthSList => depth;
        APC: ProbeForRead => probe, ProbeForWrite => probe;
    ];
    exports.push(Export::direct("ntoskrnl.exe", "MmUserProbeAddress", (&raw const USER_PROBE_ADDRESS).cast()));
    exports
}
