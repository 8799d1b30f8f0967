//! Doubly linked lists under a spin lock of the driver.
//!
//! Models "`ExInterlockedInsertTailList`" and its relatives. As in Windows the lock belongs to these routines alone: it is held
//! with interrupts off, so no IRQL is too high.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use crate::exports::{Export, routines};
use crate::nt::{KSPIN_LOCK, LIST_ENTRY};
use crate::thread::this;

/// Runs `body`, which touches only what was touched before, under the lock.
fn locked<R>(lock: &KSPIN_LOCK, body: impl FnOnce() -> R) -> R {
    let token = this().token();
    while lock.compare_exchange(0, token, Ordering::Acquire, Ordering::Relaxed).is_err() {
        std::thread::yield_now();
    }
    let result = body();
    lock.store(0, Ordering::Release);
    result
}

fn link<'a>(entry: *const LIST_ENTRY) -> &'a Cell<LIST_ENTRY> {
    // SAFETY: the driver vouches for its list; if it is none, the fault is its own.
    unsafe { &*entry.cast::<Cell<LIST_ENTRY>>() }
}

fn set_next(entry: *const LIST_ENTRY, next: *mut LIST_ENTRY) {
    link(entry).set(LIST_ENTRY { Flink: next, ..link(entry).get() });
}

fn set_previous(entry: *const LIST_ENTRY, previous: *mut LIST_ENTRY) {
    link(entry).set(LIST_ENTRY { Blink: previous, ..link(entry).get() });
}

/// The other entry unless it is the head: what the routines return.
fn unless_head(entry: *mut LIST_ENTRY, head: *mut LIST_ENTRY) -> *mut LIST_ENTRY {
    if entry == head { std::ptr::null_mut() } else { entry }
}

extern "win64" fn insert_head(head: *mut LIST_ENTRY, new: *mut LIST_ENTRY, lock: &KSPIN_LOCK) -> *mut LIST_ENTRY {
    locked(lock, || {
        let first = link(head).get().Flink;
        link(new).set(LIST_ENTRY { Flink: first, Blink: head });
        set_previous(first, new);
        set_next(head, new);
        unless_head(first, head)
    })
}

extern "win64" fn insert_tail(head: *mut LIST_ENTRY, new: *mut LIST_ENTRY, lock: &KSPIN_LOCK) -> *mut LIST_ENTRY {
    locked(lock, || {
        let last = link(head).get().Blink;
        link(new).set(LIST_ENTRY { Flink: head, Blink: last });
        set_next(last, new);
        set_previous(head, new);
        unless_head(last, head)
    })
}

extern "win64" fn remove_head(head: *mut LIST_ENTRY, lock: &KSPIN_LOCK) -> *mut LIST_ENTRY {
    locked(lock, || {
        let first = link(head).get().Flink;
        if first != head {
            let second = link(first).get().Flink;
            set_next(head, second);
            set_previous(second, head);
        }
        unless_head(first, head)
    })
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: ExInterlockedInsertHeadList => insert_head, ExInterlockedInsertTailList => insert_tail,
            ExInterlockedRemoveHeadList => remove_head;
    ]
}
