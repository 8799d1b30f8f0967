//! Lookaside lists, with a depth of zero: every block comes from pool and goes back to it, so that special pool sees it.
//!
//! Models "Using Lookaside Lists"; Driver Verifier's pool tracking does the same. The routines that allocate and free are
//! inline in the driver: they try the list first, and then call what is stored in it.

use std::cell::Cell;

use crate::exports::{Export, bindings, routines};
use crate::machine;
use crate::nt::LIST_ENTRY;
use crate::rules;
use crate::status::NtStatus;

/// `GENERAL_LOOKASIDE`, which every kind of lookaside list begins with.
#[repr(C, align(16))]
struct Lookaside {
    head: Cell<[u64; 2]>,
    depth: Cell<u16>,
    maximum_depth: Cell<u16>,
    total_allocates: Cell<u32>,
    allocate_misses: Cell<u32>,
    total_frees: Cell<u32>,
    free_misses: Cell<u32>,
    pool_type: Cell<u32>,
    tag: Cell<u32>,
    size: Cell<u32>,
    allocate: Cell<usize>,
    free: Cell<usize>,
    list_entry: Cell<LIST_ENTRY>,
    last_total_allocates: Cell<u32>,
    last_allocate_misses: Cell<u32>,
    future: Cell<[u32; 2]>,
}
const _: () = assert!(size_of::<Lookaside>() == 96);

const NON_PAGED_POOL_NX: u32 = 512;
const PAGED_POOL: u32 = 1;
const PAGED: &str = "paged lookaside list";
const NONPAGED: &str = "nonpaged lookaside list";

fn export(name: &str) -> usize {
    bindings().get(name).map_or(0, |binding| binding.address)
}

fn initialize(list: &Lookaside, routines: (usize, usize), pool_type: u32, size: usize, tag: u32) {
    let machine = machine::current();
    let address = std::ptr::from_ref(list) as usize;
    let paged = pool_type & PAGED_POOL != 0;
    machine.require_resident(address, "a lookaside list");
    list.head.set([0; 2]);
    list.depth.set(0);
    list.maximum_depth.set(0);
    for counter in [&list.total_allocates, &list.allocate_misses, &list.total_frees, &list.free_misses] {
        counter.set(0);
    }
    list.pool_type.set(pool_type);
    list.tag.set(tag);
    list.size.set(u32::try_from(size).unwrap_or(u32::MAX));
    list.allocate.set(if routines.0 == 0 { export("ExAllocatePoolWithTag") } else { routines.0 });
    list.free.set(if routines.1 == 0 { export("ExFreePool") } else { routines.1 });
    list.list_entry.set(LIST_ENTRY::NULL);
    if !machine.services.register(address, if paged { PAGED } else { NONPAGED }) {
        rules::violate(&rules::BAD_OBJECT, format!("the lookaside list {address:#x} is initialized twice"), Vec::new());
    }
}

extern "win64" fn initialize_nonpaged(
    list: &Lookaside,
    allocate: usize,
    free: usize,
    flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) {
    // POOL_NX_ALLOCATION is 512, the bit that makes NonPagedPool NonPagedPoolNx.
    initialize(list, (allocate, free), flags & NON_PAGED_POOL_NX, size, tag);
}

extern "win64" fn initialize_paged(
    list: &Lookaside,
    allocate: usize,
    free: usize,
    _flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) {
    initialize(list, (allocate, free), PAGED_POOL, size, tag);
}

extern "win64" fn initialize_ex(
    list: &Lookaside,
    allocate: usize,
    free: usize,
    pool_type: u32,
    _flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) -> i32 {
    if machine::current().fails_allocation() {
        return NtStatus::INSUFFICIENT_RESOURCES.0;
    }
    initialize(list, (allocate, free), pool_type, size, tag);
    NtStatus::SUCCESS.0
}

extern "win64" fn delete(list: &Lookaside) {
    let address = std::ptr::from_ref(list) as usize;
    if !machine::current().services.unregister(address) {
        rules::violate(&rules::BAD_OBJECT, format!("{address:#x} is no lookaside list"), Vec::new());
    }
}

/// The list is always empty.
extern "win64" fn flush(_list: &Lookaside) {}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: ExInitializeNPagedLookasideList => initialize_nonpaged, ExDeleteNPagedLookasideList => delete,
            ExInitializeLookasideListEx => initialize_ex, ExDeleteLookasideListEx => delete,
            ExFlushLookasideListEx => flush;
        APC: ExInitializePagedLookasideList => initialize_paged, ExDeletePagedLookasideList => delete;
    ]
}
