//! Small blocks without pages of their own: record, block, pattern.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{ALIGNMENT, Block, FREE, GARBAGE, Kind, LIVE, RECORD_SIZE, SLACK};
use crate::call::Stopped;
use crate::machine;
use crate::memory::{Access, Region, first_other};
use crate::rules;

/// Addresses for slots.
const SPACE: usize = 8 << 30;
/// All slots of a chunk have one size.
const CHUNK: usize = 1 << 20;
/// The smallest slot is 128 bytes, each next class twice as large.
const SMALLEST: u32 = 7;
const CLASSES: usize = 7;
/// Freed slots stay out of use until so many are.
const QUARANTINE: usize = 256;
/// What a freed block is filled with.
const POISON: u8 = 0xdd;

#[derive(Default)]
struct Slots {
    /// The class of each chunk.
    chunks: Vec<u8>,
    /// For each class, the next slot never used and the end of its chunk.
    fresh: [(usize, usize); CLASSES],
    free: [VecDeque<usize>; CLASSES],
}

pub(super) struct Slab {
    space: Region,
    slots: Mutex<Slots>,
}

/// The record at the start of `slot`.
fn block<'a>(slot: usize) -> &'a Block {
    // SAFETY: slots of the slab begin with a record, valid when zero, and are never unmapped before their machine.
    unsafe { &*(slot as *const Block) }
}

fn class_of(size: usize) -> usize {
    let total = (RECORD_SIZE + size + ALIGNMENT).next_power_of_two();
    (total.trailing_zeros().max(SMALLEST) - SMALLEST) as usize
}

const fn slot_size(class: usize) -> usize {
    1 << (SMALLEST as usize + class)
}

/// The bytes of `block`'s slot behind the block.
fn slack(block: &Block) -> (usize, usize) {
    let slot = std::ptr::from_ref(block) as usize;
    let end = block.address.get() + block.size.get();
    (end, slot + slot_size(class_of(block.size.get())) - end)
}

fn bytes<'a>(at: usize, length: usize) -> &'a [u8] {
    // SAFETY: callers pass ranges of their own slot, which stays mapped.
    unsafe { std::slice::from_raw_parts(at as *const u8, length) }
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { space: Region::reserve(SPACE).expect("addresses for pool"), slots: Mutex::default() }
    }

    fn take(&self, class: usize) -> Option<usize> {
        let mut slots = self.slots.lock();
        if slots.free[class].len() > QUARANTINE {
            return slots.free[class].pop_front();
        }
        let (next, end) = slots.fresh[class];
        let next = if next == end {
            let chunk = slots.chunks.len() * CHUNK;
            if chunk + CHUNK > SPACE {
                return slots.free[class].pop_front();
            }
            slots.chunks.push(u8::try_from(class).unwrap_or(0));
            self.space.protect(self.space.base() + chunk, CHUNK, Access::ReadWrite);
            slots.fresh[class].1 = self.space.base() + chunk + CHUNK;
            self.space.base() + chunk
        } else {
            next
        };
        slots.fresh[class].0 = next + slot_size(class);
        Some(next)
    }

    pub(super) fn allocate(&self, size: usize, tag: u32, kind: Kind) -> Option<usize> {
        let class = class_of(size);
        if class >= CLASSES {
            return None;
        }
        let slot = self.take(class)?;
        let record = block(slot);
        let address = slot + RECORD_SIZE;
        if record.state.load(Ordering::Acquire) != FREE {
            let old = bytes(record.address.get(), record.size.get());
            if let Some(offset) = first_other(old, POISON)
                && !machine::current().is_stopped()
            {
                rules::violate(
                    &rules::USE_AFTER_FREE,
                    format!("offset {offset} of a freed block was written to"),
                    record.history(),
                );
            }
        }
        record.born(address, size, tag, kind);
        let (at, length) = slack(record);
        // SAFETY: the slack lies in the slot, which is ours.
        unsafe { (at as *mut u8).write_bytes(SLACK, length) };
        Some(address)
    }

    /// Takes back a block that is marked freed.
    pub(super) fn free(&self, record: &Block) -> Result<(), Stopped> {
        let (at, length) = slack(record);
        if let Some(offset) = first_other(bytes(at, length), SLACK) {
            let size = record.size.get();
            let message = format!("written at offset {} of a block of {size} bytes", size + offset);
            return Err(rules::record(&rules::POOL_OVERRUN, message, record.history()));
        }
        // SAFETY: the block lies in the slot; it is freed, so nobody may reach it.
        unsafe { (record.address.get() as *mut u8).write_bytes(POISON, record.size.get()) };
        let class = class_of(record.size.get());
        self.slots.lock().free[class].push_back(std::ptr::from_ref(record) as usize);
        Ok(())
    }

    pub(super) fn find(&self, address: usize) -> Option<&Block> {
        if !self.space.contains(address) {
            return None;
        }
        let offset = address - self.space.base();
        let class = usize::from(*self.slots.lock().chunks.get(offset / CHUNK)?);
        let record = block(self.space.base() + offset / slot_size(class) * slot_size(class));
        (record.state.load(Ordering::Acquire) != FREE).then_some(record)
    }

    pub(super) fn each_live(&self, mut visit: impl FnMut(&Block)) {
        let chunks = self.slots.lock().chunks.clone();
        for (index, class) in chunks.into_iter().enumerate() {
            let start = self.space.base() + index * CHUNK;
            for slot in (start..start + CHUNK).step_by(slot_size(usize::from(class))) {
                let record = block(slot);
                if record.state.load(Ordering::Acquire) == LIVE && !record.kind.get().internal {
                    visit(record);
                }
            }
        }
    }
}

const _: () = assert!(GARBAGE != POISON && SLACK != POISON);
