//! Where IRPs live: slots of a few sizes in reserved address ranges, reused last when freed.
//!
//! The first ones of a machine have pages of their own and end against an inaccessible one. Those pages stay as they are when
//! the slot is used again, so that this costs nothing; a freed IRP is known by its pattern.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{HEADER_SIZE, Header, POISON, State, size_of_irp};
use crate::machine;
use crate::memory::{Access, Region, first_other};
use crate::nt::{IRP, PAGE_SIZE};
use crate::pool;
use crate::rules;

/// Slot sizes and the bytes reserved for each.
const CLASSES: [(usize, usize); 3] = [(1 << 10, 4 << 30), (1 << 11, 1 << 30), (1 << 14, 1 << 30)];
/// IRPs of a machine that end against an inaccessible page: each costs the host two mappings, and stays.
const MOST_GUARDED: usize = 1024;
/// A page for the header and the IRP at its end, and an inaccessible one.
const GUARDED_SIZE: usize = 2 * PAGE_SIZE;
/// Of them, so many stay out of use when freed.
const GUARDED_QUARANTINE: usize = 256;
/// How much of a class is made accessible at once.
const STEP: usize = 1 << 20;
/// Freed slots stay out of use until so many are.
const QUARANTINE: usize = 1024;

struct Class {
    size: usize,
    region: Region,
    state: Mutex<Slots>,
}

struct Slots {
    /// Bytes given out at least once.
    used: usize,
    /// Bytes accessible.
    committed: usize,
    free: VecDeque<usize>,
}

/// The IRPs of one machine.
pub(crate) struct Slab {
    classes: [Class; CLASSES.len()],
    guarded: Guarded,
    total: AtomicU64,
}

impl Slab {
    pub(crate) fn new() -> Self {
        Self {
            classes: CLASSES.map(|(size, space)| Class {
                size,
                region: Region::reserve(space).expect("addresses for IRPs"),
                state: Mutex::new(Slots { used: 0, committed: 0, free: VecDeque::new() }),
            }),
            guarded: Guarded {
                region: Region::reserve(MOST_GUARDED * GUARDED_SIZE).expect("addresses for IRPs"),
                used: AtomicUsize::new(0),
                free: Mutex::default(),
            },
            total: AtomicU64::new(0),
        }
    }

    /// The start of the slot whose IRP is at `address`.
    pub(crate) fn slot_of(&self, address: usize) -> Option<usize> {
        if let Some(slot) = self.guarded.slot(address) {
            // SAFETY: slots in use begin with a header.
            return (unsafe { &*(slot as *const Header) }.body.get() == address).then_some(slot);
        }
        let class = self.classes.iter().find(|class| class.region.contains(address))?;
        let slot = address - (address - class.region.base()) % class.size;
        (address == slot + HEADER_SIZE).then_some(slot)
    }

    /// The slot that holds `address`, wherever inside: for telling what a fault hit.
    pub(crate) fn slot_around(&self, address: usize) -> Option<*const IRP> {
        if let Some(slot) = self.guarded.slot(address) {
            // SAFETY: slots in use begin with a header.
            return Some(unsafe { &*(slot as *const Header) }.body.get() as *const IRP);
        }
        let class = self.classes.iter().find(|class| class.region.contains(address))?;
        let offset = (address - class.region.base()) / class.size * class.size;
        (offset < class.state.lock().used).then_some((class.region.base() + offset + HEADER_SIZE) as *const IRP)
    }

    /// A slot for an IRP of `size` bytes.
    pub(super) fn take(&self, size: usize) -> Option<*mut IRP> {
        if machine::current().options.special_pool
            && let Some(irp) = self.guarded.take(size)
        {
            return Some(irp);
        }
        let class = self.classes.iter().find(|class| class.size >= HEADER_SIZE + size)?;
        let mut slots = class.state.lock();
        let slot = if slots.free.len() > QUARANTINE {
            slots.free.pop_front()?
        } else if slots.used < class.region.size() {
            let slot = class.region.base() + slots.used;
            slots.used += class.size;
            if slots.used > slots.committed {
                class.region.protect(slot, STEP, Access::ReadWrite);
                slots.committed += STEP;
            }
            drop(slots);
            // SAFETY: the slot is accessible, ours alone, and aligned to its size.
            unsafe { (slot as *mut Header).write(Header::new()) };
            // SAFETY: the header was just written.
            unsafe { &*(slot as *const Header) }.body.set(slot + HEADER_SIZE);
            return Some((slot + HEADER_SIZE) as *mut IRP);
        } else {
            slots.free.pop_front()?
        };
        drop(slots);
        check(slot);
        Some((slot + HEADER_SIZE) as *mut IRP)
    }

    /// Counts an IRP that was taken.
    pub(super) fn count(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts a slot whose header has no user any more last among the free ones.
    pub(super) fn give_back(&self, slot: usize) {
        if self.guarded.region.contains(slot) {
            self.guarded.free.lock().push_back(slot);
            return;
        }
        if let Some(class) = self.classes.iter().find(|class| class.region.contains(slot)) {
            class.state.lock().free.push_back(slot);
        }
    }

    /// How many IRPs there were.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Every slot ever used, as (IRP, header).
    pub(crate) fn each(&self, mut visit: impl FnMut(*const IRP, &Header)) {
        for index in 0..self.guarded.used.load(Ordering::Acquire) {
            // SAFETY: slots in use begin with a header.
            let header = unsafe { &*((self.guarded.region.base() + index * GUARDED_SIZE) as *const Header) };
            visit(header.body.get() as *const IRP, header);
        }
        for class in &self.classes {
            let used = class.state.lock().used;
            for offset in (0..used).step_by(class.size) {
                let slot = class.region.base() + offset;
                // SAFETY: slots below `used` carry a header.
                visit((slot + HEADER_SIZE) as *const IRP, unsafe { &*(slot as *const Header) });
            }
        }
    }

    /// Finds freed IRPs that were written to.
    pub(crate) fn check_freed(&self) {
        let mut freed: Vec<usize> = self.guarded.free.lock().iter().copied().collect();
        for class in &self.classes {
            freed.extend(class.state.lock().free.iter().copied());
        }
        freed.into_iter().for_each(check);
    }
}

/// IRPs with pages of their own.
struct Guarded {
    region: Region,
    /// Slots given out at least once.
    used: AtomicUsize,
    free: Mutex<VecDeque<usize>>,
}

impl Guarded {
    /// The slot that `address` is in, if it was ever used.
    fn slot(&self, address: usize) -> Option<usize> {
        let index = self.region.contains(address).then(|| (address - self.region.base()) / GUARDED_SIZE)?;
        (index < self.used.load(Ordering::Acquire)).then(|| self.region.base() + index * GUARDED_SIZE)
    }

    /// A slot whose IRP of `size` bytes ends at the end of a page; none when they are all in use.
    fn take(&self, size: usize) -> Option<*mut IRP> {
        if HEADER_SIZE + size > PAGE_SIZE {
            return None;
        }
        let mut free = self.free.lock();
        let used = self.used.load(Ordering::Relaxed);
        let slot = if used < MOST_GUARDED && pool::take_guard() {
            let slot = self.region.base() + used * GUARDED_SIZE;
            self.region.protect(slot, PAGE_SIZE, Access::ReadWrite);
            // SAFETY: the slot is accessible, ours alone, and aligned to its size.
            unsafe { (slot as *mut Header).write(Header::new()) };
            self.used.store(used + 1, Ordering::Release);
            drop(free);
            slot
        } else if free.len() > GUARDED_QUARANTINE {
            let slot = free.pop_front();
            drop(free);
            slot.inspect(|&slot| check(slot))?
        } else {
            return None;
        };
        let irp = slot + PAGE_SIZE - size.next_multiple_of(16);
        // SAFETY: slots in use begin with a header.
        unsafe { &*(slot as *const Header) }.body.set(irp);
        Some(irp as *mut IRP)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        pool::give_guards_back(*self.used.get_mut());
    }
}

/// Checks that the body of a freed IRP was left alone.
fn check(slot: usize) {
    // SAFETY: freed slots carry a header.
    let header = unsafe { &*(slot as *const Header) };
    debug_assert_eq!(header.state().0, State::Free);
    let size = size_of_irp(header.stack_size.get());
    let start = header.body.get();
    // SAFETY: the body follows the header in the same accessible slot.
    let body = unsafe { std::slice::from_raw_parts(start as *const u8, size) };
    if let Some(offset) = first_other(body, POISON) {
        if machine::current().is_stopped() {
            return;
        }
        rules::violate(
            &rules::IRP_USE_AFTER_COMPLETE,
            format!("the IRP at {start:#x} was written to at offset {offset:#x} after its end"),
            header.history(),
        );
    }
}
