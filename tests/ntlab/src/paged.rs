//! Pageable memory: paged pool and `PAGE` sections, which are there only below `DISPATCH_LEVEL`.
//!
//! One idea: memory protection is the whole process's and IRQL a thread's, so pageable memory is closed whenever a thread raises its IRQL
//! to `DISPATCH_LEVEL`, and opened again by the first touch of a thread that may touch it. A thread at raised IRQL
//! then faults, unless another has just opened what it touches: what is missed that way shows in another run; nothing lawful is
//! ever reported. A driver without pageable memory pays one load for each raise.
//!
//! Models "force IRQL checking" of Driver Verifier.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::irql;
use crate::machine::Inner;
use crate::memory::Access;
use crate::rules::{self, Rule};
use crate::thread::this;

/// Whole pages that are pageable.
#[derive(Debug, Clone, Copy)]
struct Range {
    length: usize,
    /// What may be done with it while it is open.
    access: Access,
    is_open: bool,
    /// How many MDLs have locked it: then it stays open.
    locks: usize,
}

/// The pageable memory of a machine.
#[derive(Default)]
pub(crate) struct Paged {
    /// By start. Nothing pageable is touched under the lock, which a signal handler takes.
    ranges: Mutex<BTreeMap<usize, Range>>,
    /// Ranges that are open and not locked.
    open: AtomicUsize,
}

fn protect(start: usize, length: usize, access: Access) {
    // SAFETY: the range was given as whole pages of a region of this machine, whose users expect its protection to change.
    unsafe { libc::mprotect(start as *mut c_void, length, access.bits()) };
}

/// The range that `address` is in.
fn find(ranges: &mut BTreeMap<usize, Range>, address: usize) -> Option<(usize, &mut Range)> {
    let (&start, range) = ranges.range_mut(..=address).next_back()?;
    (address - start < range.length).then_some((start, range))
}

impl Paged {
    /// Whole pages become pageable; they are open.
    pub(crate) fn add(&self, start: usize, length: usize, access: Access) {
        self.ranges.lock().insert(start, Range { length, access, is_open: true, locks: 0 });
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// What begins at `start` is pageable no more.
    pub(crate) fn remove(&self, start: usize) {
        let mut ranges = self.ranges.lock();
        if let Some(range) = ranges.remove(&start)
            && range.is_open
            && range.locks == 0
        {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Closes all that no MDL has locked. Called when a thread raises its IRQL.
    pub(crate) fn close(&self) {
        if self.open.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut ranges = self.ranges.lock();
        for (&start, range) in ranges.iter_mut().filter(|(_, range)| range.is_open && range.locks == 0) {
            protect(start, range.length, Access::None);
            range.is_open = false;
        }
        self.open.store(0, Ordering::SeqCst);
    }

    /// Opens what `address` is in, for a thread that may touch it; false when that is not why it faulted. Called by a signal
    /// handler.
    pub(crate) fn open(&self, address: usize, writes: bool) -> bool {
        let mut ranges = self.ranges.lock();
        let Some((start, range)) = find(&mut ranges, address) else { return false };
        if writes && !matches!(range.access, Access::ReadWrite | Access::All) {
            return false;
        }
        if !range.is_open {
            protect(start, range.length, range.access);
            range.is_open = true;
            self.open.fetch_add(1, Ordering::SeqCst);
        }
        true
    }

    /// An MDL locks, or unlocks, the pages of `length` bytes from `address`.
    pub(crate) fn lock(&self, address: usize, length: usize, locks: bool) {
        let mut ranges = self.ranges.lock();
        let end = address + length;
        for (&start, range) in ranges.range_mut(..end).filter(|(start, range)| **start + range.length > address) {
            if range.is_open && range.locks == 0 {
                self.open.fetch_sub(1, Ordering::SeqCst);
            }
            range.locks = if locks { range.locks + 1 } else { range.locks.saturating_sub(1) };
            if locks && !range.is_open {
                protect(start, range.length, range.access);
                range.is_open = true;
            }
            if range.is_open && range.locks == 0 {
                self.open.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Whether `address` is pageable and not locked.
    fn contains(&self, address: usize) -> bool {
        find(&mut self.ranges.lock(), address).is_some_and(|(_, range)| range.locks == 0)
    }
}

impl Inner {
    /// Whether a fault at `address` is one that the memory manager resolves: the thread may touch pageable memory, or the lab
    /// looks at it for a report. Called by a signal handler.
    pub(crate) fn resolves_fault(&self, address: usize, writes: bool) -> bool {
        let thread = this();
        (thread.irql.get() < irql::DISPATCH || thread.inspects.get()) && self.paged.open(address, writes)
    }

    /// What an access to pageable memory at raised IRQL hit.
    pub(crate) fn describe_paged(&self, address: usize) -> Option<(&'static Rule, String, Vec<String>)> {
        let level = irql::current();
        if level < irql::DISPATCH || !self.paged.contains(address) {
            return None;
        }
        let (what, history) = match self.pool.describe_fault(address) {
            Some((_, what, history)) => (what, history),
            None => (format!("{}, in a PAGE section", self.describe_code(address)), Vec::new()),
        };
        Some((&rules::PAGED_AT_DISPATCH, format!("{what}, which is pageable, at IRQL {level}"), history))
    }
}
