//! Where IRPs live: slots of a few sizes in reserved address ranges, reused last when freed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{HEADER_SIZE, Header, POISON, State, size_of_irp};
use crate::machine;
use crate::memory::{Access, Region};
use crate::nt::IRP;
use crate::rules;

/// Slot sizes and the bytes reserved for each.
const CLASSES: [(usize, usize); 3] = [(1 << 10, 4 << 30), (1 << 11, 1 << 30), (1 << 14, 1 << 30)];
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
            total: AtomicU64::new(0),
        }
    }

    /// The start of the slot whose IRP is at `address`.
    pub(crate) fn slot_of(&self, address: usize) -> Option<usize> {
        let class = self.classes.iter().find(|class| class.region.contains(address))?;
        let slot = address - (address - class.region.base()) % class.size;
        (address == slot + HEADER_SIZE).then_some(slot)
    }

    /// The slot that holds `address`, wherever inside: for telling what a fault hit.
    pub(crate) fn slot_around(&self, address: usize) -> Option<*const IRP> {
        let class = self.classes.iter().find(|class| class.region.contains(address))?;
        let offset = (address - class.region.base()) / class.size * class.size;
        (offset < class.state.lock().used).then_some((class.region.base() + offset + HEADER_SIZE) as *const IRP)
    }

    /// A slot for an IRP of `size` bytes.
    pub(super) fn take(&self, size: usize) -> Option<*mut IRP> {
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
        let mut freed = Vec::new();
        for class in &self.classes {
            freed.extend(class.state.lock().free.iter().copied());
        }
        freed.into_iter().for_each(check);
    }
}

/// Checks that the body of a freed IRP was left alone.
fn check(slot: usize) {
    // SAFETY: freed slots carry a header.
    let header = unsafe { &*(slot as *const Header) };
    debug_assert_eq!(header.state().0, State::Free);
    let size = size_of_irp(header.stack_size.get());
    // SAFETY: the body follows the header in the same accessible slot.
    let body = unsafe { std::slice::from_raw_parts((slot + HEADER_SIZE) as *const u8, size) };
    if let Some(offset) = body.iter().position(|&byte| byte != POISON) {
        if machine::current().is_stopped() {
            return;
        }
        rules::violate(
            &rules::IRP_USE_AFTER_COMPLETE,
            format!("the IRP at {:#x} was written to at offset {offset:#x} after its end", slot + HEADER_SIZE),
            header.history(),
        );
    }
}
