//! `ExAllocatePool2`, `ExFreePool` and their relatives.

use super::Kind;
use crate::call::or_escape;
use crate::exports::{Export, routines};
use crate::machine;
use crate::nt::PVOID;
use crate::{irql, rules};

const POOL_FLAG_UNINITIALIZED: u64 = 0x02;
const POOL_FLAG_NON_PAGED: u64 = 0x40;
const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
const POOL_FLAG_PAGED: u64 = 0x100;
const PAGED_POOL: u32 = 1;
const NON_PAGED_POOL_NX: u32 = 512;

fn allocate(size: usize, tag: u32, paged: bool, zeroed: bool) -> PVOID {
    let machine = machine::current();
    if size == 0 || tag == 0 {
        rules::violate(&rules::ZERO_SIZE, format!("{size} bytes with the tag {tag:#x}"), Vec::new());
    }
    if paged && irql::current() > irql::APC {
        rules::violate(&rules::IRQL_TOO_HIGH, "paged pool is allocated at DISPATCH_LEVEL", Vec::new());
    }
    if machine.fails_allocation() {
        return std::ptr::null_mut();
    }
    machine.pool.allocate(size, tag, Kind { zeroed, paged, internal: false })
}

extern "win64" fn ex_allocate_pool2(flags: u64, size: usize, tag: u32) -> PVOID {
    if flags & POOL_FLAG_NON_PAGED_EXECUTE != 0 {
        rules::violate(&rules::EXECUTABLE_POOL, "POOL_FLAG_NON_PAGED_EXECUTE", Vec::new());
    }
    if flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_PAGED) == 0 {
        return std::ptr::null_mut();
    }
    allocate(size, tag, flags & POOL_FLAG_PAGED != 0, flags & POOL_FLAG_UNINITIALIZED == 0)
}

extern "win64" fn ex_allocate_pool_with_tag(pool_type: u32, size: usize, tag: u32) -> PVOID {
    let paged = pool_type & PAGED_POOL != 0;
    if !paged && pool_type & NON_PAGED_POOL_NX == 0 {
        rules::violate(&rules::EXECUTABLE_POOL, "NonPagedPool is executable; ask for NonPagedPoolNx", Vec::new());
    }
    allocate(size, tag, paged, false)
}

/// Without a tag: Windows gives the block one of its own.
extern "win64" fn ex_allocate_pool(pool_type: u32, size: usize) -> PVOID {
    ex_allocate_pool_with_tag(pool_type, size, u32::from_le_bytes(*b"None"))
}

extern "win64" fn ex_free_pool(block: PVOID) {
    or_escape(machine::current().pool.free(block as usize, None));
}

extern "win64" fn ex_free_pool_with_tag(block: PVOID, tag: u32) {
    or_escape(machine::current().pool.free(block as usize, (tag != 0).then_some(tag)));
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: ExAllocatePool => ex_allocate_pool, ExAllocatePool2 => ex_allocate_pool2,
            ExAllocatePoolWithTag => ex_allocate_pool_with_tag,
            ExFreePool => ex_free_pool, ExFreePoolWithTag => ex_free_pool_with_tag;
    ]
}
