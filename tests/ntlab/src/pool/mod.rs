//! Pool, as Driver Verifier's special pool: every block ends against an inaccessible page, and freed blocks stay away.
//!
//! Each block has pages of its own, and a record beside (not inside) them. When the host would run out of mappings, small
//! blocks come from [`slab`] instead, where overruns and late writes are found by their pattern, at free and at reuse.
//! Models "Special Pool" and "Pool Tracking".

mod exports;
mod slab;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::call::Stopped;
use crate::irql;
use crate::machine::{self, Inner};
use crate::memory::{Access, Region, first_other};
use crate::nt::{PAGE_SIZE, PVOID};
use crate::rules::{self, Rule};
use crate::thread::this;
use crate::ticks;

pub(crate) use exports::exports;

/// Addresses for blocks with pages of their own.
const SPACE: usize = 16 << 30;
/// Mappings that the rest of the process may need.
const OTHER_MAPPINGS: usize = 10_000;
/// Blocks larger than this always get pages of their own.
const LARGE: usize = PAGE_SIZE;
/// Alignment of pool blocks on x64.
const ALIGNMENT: usize = 16;
/// What the slack around a block holds.
const SLACK: u8 = 0xfd;
/// What a block holds that was asked for uninitialized.
const GARBAGE: u8 = 0xcd;
/// Bytes before a block that are checked.
const BEFORE: usize = 64;

/// Blocks with pages of their own in the whole process.
static SPECIAL: AtomicUsize = AtomicUsize::new(0);

/// How many of them there may be: each costs the host two mappings, of which it has `vm.max_map_count` (usually 65,530).
fn most_special() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
        text.trim().parse().unwrap_or(65_530_usize).saturating_sub(OTHER_MAPPINGS) / 2
    })
}

/// Takes one of the places for things with pages of their own; false when there is none.
pub(crate) fn take_guard() -> bool {
    let taken =
        SPECIAL.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most_special()).then_some(now + 1));
    taken.is_ok()
}

/// Gives such places back.
pub(crate) fn give_guards_back(count: usize) {
    SPECIAL.fetch_sub(count, Ordering::Relaxed);
}

/// How a block is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kind {
    /// Filled with zeros, not with garbage.
    pub(crate) zeroed: bool,
    pub(crate) paged: bool,
    /// The kernel's own (objects, system buffers): no leak of the driver.
    pub(crate) internal: bool,
}

/// The stack of what the kernel allocated for itself.
const NOBODY: u32 = u32::MAX;

const FREE: u32 = 0;
const LIVE: u32 = 1;
const FREED: u32 = 2;

/// The record of a block.
#[repr(C)]
struct Block {
    state: AtomicU32,
    tag: Cell<u32>,
    address: Cell<usize>,
    size: Cell<usize>,
    /// Stacks that allocated and freed it, as `Stacks` numbers them.
    allocated_by: Cell<u32>,
    freed_by: Cell<u32>,
    kind: Cell<Kind>,
    thread: Cell<u32>,
    /// When it was allocated and freed, as `ticks` has it.
    born_at: Cell<u64>,
    freed_at: Cell<u64>,
    /// How many records (pages) before this one the block begins.
    back: AtomicU32,
}
const RECORD_SIZE: usize = 64;
const _: () = assert!(size_of::<Block>() <= RECORD_SIZE);

/// A tag as it is written in source: four characters.
pub(crate) fn tag_text(tag: u32) -> String {
    let text: String =
        tag.to_le_bytes().iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '.' }).collect();
    format!("'{text}'")
}

impl Block {
    fn born(&self, address: usize, size: usize, tag: u32, kind: Kind) {
        let thread = this();
        self.tag.set(tag);
        self.address.set(address);
        self.size.set(size);
        self.allocated_by.set(if kind.internal { NOBODY } else { machine::current().note_stack() });
        self.freed_by.set(NOBODY);
        self.kind.set(kind);
        self.thread.set(thread.shared().tid.load(Ordering::Relaxed).cast_unsigned());
        self.born_at.set(ticks::now());
        self.state.store(LIVE, Ordering::Release);
    }

    /// Marks the block freed; false when it is not live.
    fn dies(&self) -> bool {
        let was_live = self.state.compare_exchange(LIVE, FREED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if was_live {
            self.freed_by.set(if self.kind.get().internal { NOBODY } else { machine::current().note_stack() });
            self.freed_at.set(ticks::now());
        }
        was_live
    }

    fn history(&self) -> Vec<String> {
        let machine = machine::current();
        let mut lines = machine.describe_calls(
            &format!(
                "{:>9.3}s block {:#x}, {} bytes, tag {}, thread {}: allocated by",
                machine.age_at(self.born_at.get()).as_secs_f64(),
                self.address.get(),
                self.size.get(),
                tag_text(self.tag.get()),
                self.thread.get(),
            ),
            self.allocated_by.get(),
        );
        if self.state.load(Ordering::Acquire) == FREED {
            let what = format!("{:>9.3}s freed by", machine.age_at(self.freed_at.get()).as_secs_f64());
            lines.extend(machine.describe_calls(&what, self.freed_by.get()));
        }
        lines
    }
}

/// What is known about an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Start of the block that the address is in or near.
    pub(crate) address: usize,
    pub(crate) size: usize,
    pub(crate) kind: Kind,
    pub(crate) live: bool,
}

#[derive(Default)]
struct Free {
    /// Pages given out at least once.
    used: usize,
    /// First pages of freed runs, by their number of pages.
    runs: HashMap<usize, VecDeque<usize>>,
}

/// The pool of one machine.
pub(crate) struct Pool {
    space: Region,
    records: Region,
    free: Mutex<Free>,
    slab: slab::Slab,
    /// Live blocks with pages of their own.
    special: AtomicUsize,
    /// Blocks that had none because there were too many.
    patterned: AtomicU64,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            space: Region::reserve(SPACE).expect("addresses for pool"),
            records: Region::map(SPACE / PAGE_SIZE * RECORD_SIZE, Access::ReadWrite).expect("addresses for pool"),
            free: Mutex::default(),
            slab: slab::Slab::new(),
            special: AtomicUsize::new(0),
            patterned: AtomicU64::new(0),
        }
    }

    /// The record of the page with number `page`.
    fn record(&self, page: usize) -> &Block {
        debug_assert!(page < SPACE / PAGE_SIZE);
        // SAFETY: the region has a record, valid when zero, for each page; records are only reached through `&Block`.
        unsafe { &*((self.records.base() + page * RECORD_SIZE) as *const Block) }
    }

    /// The record of the block that `address` is in or near.
    fn find(&self, address: usize) -> Option<&Block> {
        if self.space.contains(address) {
            let page = (address - self.space.base()) / PAGE_SIZE;
            let block = self.record(page - self.record(page).back.load(Ordering::Relaxed) as usize);
            return (block.state.load(Ordering::Acquire) != FREE).then_some(block);
        }
        self.slab.find(address)
    }

    /// What is known about `address`.
    pub(crate) fn look_up(&self, address: usize) -> Option<Found> {
        let block = self.find(address)?;
        Some(Found {
            address: block.address.get(),
            size: block.size.get(),
            kind: block.kind.get(),
            live: block.state.load(Ordering::Acquire) == LIVE,
        })
    }

    /// A block, or null.
    pub(crate) fn allocate(&self, size: usize, tag: u32, kind: Kind) -> PVOID {
        let options = &machine::current().options;
        let special = options.special_pool
            && self.special.load(Ordering::Relaxed) < options.special_blocks
            && SPECIAL.load(Ordering::Relaxed) < most_special();
        if options.special_pool && !special && size <= LARGE {
            self.patterned.fetch_add(1, Ordering::Relaxed);
        }
        let address = if special || size > LARGE { self.allocate_special(size, tag, kind) } else { None };
        let Some(address) = address.or_else(|| self.slab.allocate(size, tag, kind)) else {
            return std::ptr::null_mut();
        };
        if !(kind.zeroed && self.space.contains(address)) {
            // SAFETY: the block is new, accessible and `size` long.
            unsafe { (address as *mut u8).write_bytes(if kind.zeroed { 0 } else { GARBAGE }, size) };
        }
        address as PVOID
    }

    fn allocate_special(&self, size: usize, tag: u32, kind: Kind) -> Option<usize> {
        let pages = size.div_ceil(PAGE_SIZE).max(1);
        let first = {
            let mut free = self.free.lock();
            if free.used + pages < SPACE / PAGE_SIZE {
                free.used += pages + 1;
                free.used - pages - 1
            } else {
                free.runs.get_mut(&pages)?.pop_front()?
            }
        };
        SPECIAL.fetch_add(1, Ordering::Relaxed);
        self.special.fetch_add(1, Ordering::Relaxed);
        let start = self.space.base() + first * PAGE_SIZE;
        self.space.protect(start, pages * PAGE_SIZE, Access::ReadWrite);
        // Whole pages begin at a page; all else ends at one, as near as alignment allows.
        let address = start + pages * PAGE_SIZE - size.next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        fill_slack(start, address, size);
        for page in 0..=pages {
            self.record(first + page).back.store(u32::try_from(page).unwrap_or(0), Ordering::Relaxed);
        }
        self.record(first).born(address, size, tag, kind);
        if kind.paged {
            machine::current().paged.add(start, pages * PAGE_SIZE, Access::ReadWrite);
        }
        Some(address)
    }

    /// Frees a block. `tag` must be the block's if it is given.
    pub(crate) fn free(&self, address: usize, tag: Option<u32>) -> Result<(), Stopped> {
        let Some(block) = self.find(address) else {
            return Err(rules::record(&rules::BAD_FREE, format!("{address:#x} is no pool"), Vec::new()));
        };
        if block.address.get() != address || block.kind.get().internal {
            let message = format!("{address:#x} is not the start of a block of the driver");
            return Err(rules::record(&rules::BAD_FREE, message, block.history()));
        }
        if block.state.load(Ordering::Acquire) == LIVE
            && let Some(tag) = tag
            && tag != block.tag.get()
        {
            let message = format!("freed with the tag {}", tag_text(tag));
            return Err(rules::record(&rules::POOL_TAG, message, block.history()));
        }
        if block.kind.get().paged && irql::current() > irql::APC {
            let message = format!("paged pool is freed at IRQL {}", irql::current());
            return Err(rules::record(&rules::IRQL_TOO_HIGH, message, block.history()));
        }
        if let Some(what) = machine::current().active_in(address, block.size.get()) {
            return Err(rules::record(&rules::TIMER_FREED, format!("freed with {what} in it"), block.history()));
        }
        self.release(block, address)
    }

    /// Frees a block of the kernel's own.
    pub(crate) fn free_internal(&self, address: usize) -> Result<(), Stopped> {
        match self.find(address) {
            Some(block) if block.address.get() == address => self.release(block, address),
            _ => Err(rules::record(&rules::BAD_FREE, format!("{address:#x} is no block of the kernel"), Vec::new())),
        }
    }

    fn release(&self, block: &Block, address: usize) -> Result<(), Stopped> {
        let size = block.size.get();
        if !block.dies() {
            let message = format!("{address:#x} is freed already");
            return Err(rules::record(&rules::DOUBLE_FREE, message, block.history()));
        }
        machine::current().lock_order.forget(address, size);
        if !self.space.contains(address) {
            return self.slab.free(block);
        }
        let pages = size.div_ceil(PAGE_SIZE).max(1);
        let start = address & !(PAGE_SIZE - 1); // a block begins in its first page
        if let Some(offset) = written_slack(start, address, size) {
            let message = format!("written at offset {offset} of a block of {size} bytes");
            return Err(rules::record(outside(offset), message, block.history()));
        }
        if block.kind.get().paged {
            machine::current().paged.remove(start);
        }
        self.space.discard(start, pages * PAGE_SIZE);
        SPECIAL.fetch_sub(1, Ordering::Relaxed);
        self.special.fetch_sub(1, Ordering::Relaxed);
        self.free.lock().runs.entry(pages).or_default().push_back((start - self.space.base()) / PAGE_SIZE);
        Ok(())
    }

    /// Visits every live block of the driver: (tag, size, caller, address).
    fn each_live(&self, mut visit: impl FnMut(&Block)) {
        let used = self.free.lock().used;
        let mut page = 0;
        while page < used {
            let block = self.record(page);
            if block.state.load(Ordering::Acquire) == LIVE
                && block.back.load(Ordering::Relaxed) == 0
                && !block.kind.get().internal
            {
                visit(block);
            }
            page += 1;
        }
        self.slab.each_live(visit);
    }

    /// What the driver has not freed: for each tag and allocating stack a line, and one more for each further frame.
    pub(crate) fn leaks(&self) -> Vec<Vec<String>> {
        let mut sums: BTreeMap<(u32, u32), (usize, usize)> = BTreeMap::new();
        self.each_live(|block| {
            let sum = sums.entry((block.tag.get(), block.allocated_by.get())).or_default();
            *sum = (sum.0 + 1, sum.1 + block.size.get());
        });
        let machine = machine::current();
        sums.into_iter()
            .map(|((tag, stack), (blocks, bytes))| {
                machine
                    .describe_calls(&format!("{} {blocks} blocks, {bytes} bytes, allocated by", tag_text(tag)), stack)
            })
            .collect()
    }

    /// How many blocks of the driver are live, and their bytes.
    pub(crate) fn live(&self) -> (usize, usize) {
        let (mut blocks, mut bytes) = (0, 0);
        self.each_live(|block| {
            blocks += 1;
            bytes += block.size.get();
        });
        (blocks, bytes)
    }

    /// How many blocks had to do without pages of their own.
    pub(crate) fn patterned(&self) -> u64 {
        self.patterned.load(Ordering::Relaxed)
    }

    /// What an access to `address` hit, if it is pool.
    pub(crate) fn describe_fault(&self, address: usize) -> Option<(&'static Rule, String, Vec<String>)> {
        let block = self.find(address)?;
        let offset = address.wrapping_sub(block.address.get()).cast_signed();
        let (rule, what) = if block.state.load(Ordering::Acquire) == FREED {
            (&rules::USE_AFTER_FREE, format!("offset {offset} of a freed block"))
        } else {
            (outside(offset), format!("offset {offset} of a block of {} bytes", block.size.get()))
        };
        Some((rule, what, block.history()))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // What is still live goes with the machine's addresses.
        SPECIAL.fetch_sub(*self.special.get_mut(), Ordering::Relaxed);
    }
}

/// The slack of a block that starts at `address`, inside pages from `start`: (before, after).
fn slack(start: usize, address: usize, size: usize) -> [(usize, usize); 2] {
    let before = (address - start).min(BEFORE);
    [(address - before, before), (address + size, size.next_multiple_of(ALIGNMENT).max(ALIGNMENT) - size)]
}

fn fill_slack(start: usize, address: usize, size: usize) {
    for (at, length) in slack(start, address, size) {
        // SAFETY: the slack is inside the block's own accessible pages.
        unsafe { (at as *mut u8).write_bytes(SLACK, length) };
    }
}

/// The rule that forbids touching what lies at `offset` of a block, outside of it.
const fn outside(offset: isize) -> &'static Rule {
    if offset < 0 { &rules::POOL_UNDERRUN } else { &rules::POOL_OVERRUN }
}

/// The offset, from the block, of slack that was written to.
fn written_slack(start: usize, address: usize, size: usize) -> Option<isize> {
    slack(start, address, size).into_iter().find_map(|(at, length)| {
        // SAFETY: the slack is inside the block's own accessible pages.
        let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, length) };
        let index = first_other(bytes, SLACK)?;
        Some((at + index).cast_signed() - address.cast_signed())
    })
}

impl Inner {
    /// Something of the kernel's that is active in the given memory.
    fn active_in(&self, start: usize, size: usize) -> Option<&'static str> {
        if let Some(what) = self.clock.active_in(start, size) {
            return Some(what);
        }
        if this().locks().any(|held| held.lock.wrapping_sub(start) < size) {
            return Some("a held spin lock");
        }
        self.dispatcher.waits_in(start, size).then_some("an object that a thread waits for")
    }

    /// Checks that memory which becomes a kernel object may hold one.
    pub(crate) fn require_resident(&self, address: usize, what: &str) {
        if let Some(found) = self.pool.look_up(address)
            && found.kind.paged
        {
            rules::violate(&rules::PAGED_OBJECT, format!("{what} at {address:#x} is in paged pool"), Vec::new());
        }
    }
}
