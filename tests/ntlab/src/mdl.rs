//! Memory descriptor lists. Memory never moves here, so a locked page is a checked one, and a mapping is its address.
//!
//! Models "Using MDLs".

use crate::call::or_escape;
use crate::exports::{Export, routines};
use crate::machine::{self, Inner};
use crate::nt::{
    IRP, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARTIAL, MDL_SOURCE_IS_NONPAGED_POOL, PAGE_SIZE, PVOID,
};
use crate::pool::Kind;
use crate::{irql, rules};

const TAG: u32 = u32::from_le_bytes(*b"Mdl ");

fn pages(address: usize, length: usize) -> usize {
    (address % PAGE_SIZE + length).div_ceil(PAGE_SIZE)
}

fn make(machine: &Inner, address: usize, length: usize, internal: bool) -> *mut MDL {
    let size = size_of::<MDL>() + pages(address, length) * 8;
    let mdl: *mut MDL = machine.pool.allocate(size, TAG, Kind { zeroed: true, internal, ..Kind::default() }).cast();
    // SAFETY: null, or a new block that is large enough and valid when zero.
    if let Some(mdl) = unsafe { mdl.as_ref() } {
        mdl.Size.set(i16::try_from(size).unwrap_or(i16::MAX));
        mdl.StartVa.set((address & !(PAGE_SIZE - 1)) as PVOID);
        mdl.ByteOffset.set(u32::try_from(address % PAGE_SIZE).unwrap_or(0));
        mdl.ByteCount.set(u32::try_from(length).unwrap_or(u32::MAX));
    }
    mdl
}

/// An MDL of the I/O manager for locked user memory.
pub(crate) fn for_user_memory(machine: &Inner, address: usize, length: usize, process: PVOID) -> *mut MDL {
    let mdl = make(machine, address, length, true);
    // SAFETY: null, or an MDL that `make` has just made.
    if let Some(mdl) = unsafe { mdl.as_ref() } {
        mdl.MdlFlags.set(MDL_PAGES_LOCKED);
        mdl.Process.set(process);
    }
    mdl
}

fn flags(mdl: &MDL) -> i16 {
    mdl.MdlFlags.get()
}

fn bad(mdl: *const MDL, message: &str) -> ! {
    let history = machine::current().pool.describe_fault(mdl as usize).map_or_else(Vec::new, |found| found.2);
    rules::violate(&rules::BAD_MDL, message, history)
}

extern "win64" fn io_allocate_mdl(
    address: usize,
    length: u32,
    secondary: u8,
    _charge_quota: u8,
    irp: *mut IRP,
) -> *mut MDL {
    let machine = machine::current();
    if length == 0 {
        bad(std::ptr::null(), "IoAllocateMdl for no bytes");
    }
    if machine.fails_allocation() {
        return std::ptr::null_mut();
    }
    let mdl = make(&machine, address, length as usize, false);
    // SAFETY: null, or an IRP of the driver; if it is none, the fault is the driver's.
    if let Some(irp) = unsafe { irp.as_ref() } {
        if secondary == 0 {
            irp.MdlAddress.set(mdl);
        } else {
            let mut link = &irp.MdlAddress;
            while !link.get().is_null() {
                // SAFETY: MDLs in the chain exist; if not, the fault is the driver's.
                link = &unsafe { &*link.get() }.Next;
            }
            link.set(mdl);
        }
    }
    mdl
}

extern "win64" fn io_free_mdl(pointer: *mut MDL) {
    let machine = machine::current();
    match machine.pool.look_up(pointer as usize) {
        Some(found) if found.live && !found.kind.internal && found.address == pointer as usize => {}
        Some(found) if found.kind.internal => bad(pointer, "IoFreeMdl of an MDL of the I/O manager"),
        Some(found) if !found.live => bad(pointer, "IoFreeMdl of an MDL that is freed already"),
        _ => bad(pointer, "IoFreeMdl of what is no MDL"),
    }
    // SAFETY: the block is live and was made by `make`.
    let mdl = unsafe { &*pointer };
    if flags(mdl) & MDL_PAGES_LOCKED != 0 && flags(mdl) & MDL_PARTIAL == 0 {
        bad(pointer, "IoFreeMdl of an MDL whose pages are locked");
    }
    or_escape(machine.pool.free(pointer as usize, None));
}

extern "win64" fn build_for_nonpaged_pool(mdl: &MDL) {
    let address = mdl.virtual_address() as usize;
    if let Some(found) = machine::current().pool.look_up(address) {
        if found.kind.paged || !found.live {
            bad(mdl, "MmBuildMdlForNonPagedPool for memory that is not live nonpaged pool");
        }
        if address + mdl.ByteCount.get() as usize > found.address + found.size {
            bad(mdl, "MmBuildMdlForNonPagedPool for more than its pool block");
        }
    }
    if flags(mdl) & MDL_PAGES_LOCKED != 0 {
        bad(mdl, "MmBuildMdlForNonPagedPool on an MDL whose pages are locked");
    }
    mdl.MdlFlags.set(flags(mdl) | MDL_SOURCE_IS_NONPAGED_POOL);
    mdl.MappedSystemVa.set(mdl.virtual_address());
}

extern "win64" fn build_partial(source: &MDL, target: &MDL, address: usize, length: u32) {
    let start = source.virtual_address() as usize;
    let length = if length == 0 { start + source.ByteCount.get() as usize - address } else { length as usize };
    if address < start || address + length > start + source.ByteCount.get() as usize {
        bad(target, "IoBuildPartialMdl beyond the source MDL");
    }
    if usize::from(target.Size.get().cast_unsigned()) < size_of::<MDL>() + pages(address, length) * 8 {
        bad(target, "IoBuildPartialMdl into too small an MDL");
    }
    target.StartVa.set((address & !(PAGE_SIZE - 1)) as PVOID);
    target.ByteOffset.set(u32::try_from(address % PAGE_SIZE).unwrap_or(0));
    target.ByteCount.set(u32::try_from(length).unwrap_or(0));
    let inherited = flags(source) & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_PAGES_LOCKED);
    target.MdlFlags.set(inherited | MDL_PARTIAL);
    if inherited & MDL_SOURCE_IS_NONPAGED_POOL != 0 {
        target.MappedSystemVa.set(target.virtual_address());
    }
}

extern "win64" fn probe_and_lock(mdl: &MDL, _mode: i8, operation: i32) {
    if flags(mdl) & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        bad(mdl, "MmProbeAndLockPages on an MDL that is locked or describes nonpaged pool");
    }
    let start = mdl.virtual_address() as usize;
    let machine = machine::current();
    let pageable = machine.pool.look_up(start).is_none_or(|found| found.kind.paged);
    if pageable && irql::current() > irql::APC {
        bad(mdl, "MmProbeAndLockPages of pageable memory at DISPATCH_LEVEL");
    }
    let end = start + mdl.ByteCount.get() as usize;
    for page in (start..end).step_by(PAGE_SIZE).chain([end - 1]) {
        // SAFETY: the driver vouches for the memory; if it is not there, the fault is the driver's.
        let byte = unsafe { (page as *const u8).read_volatile() };
        if operation != 0 {
            // SAFETY: the driver vouches for memory that may be written; if it may not, the fault is the driver's.
            unsafe { (page as *mut u8).write_volatile(byte) };
        }
    }
    machine.paged.lock(start, end - start, true);
    mdl.MdlFlags.set(flags(mdl) | MDL_PAGES_LOCKED);
}

extern "win64" fn unlock(mdl: &MDL) {
    if flags(mdl) & MDL_PAGES_LOCKED == 0 || flags(mdl) & MDL_PARTIAL != 0 {
        bad(mdl, "MmUnlockPages on an MDL that is not locked");
    }
    if machine::current().pool.look_up(std::ptr::from_ref(mdl) as usize).is_some_and(|found| found.kind.internal) {
        bad(mdl, "MmUnlockPages on an MDL of the I/O manager");
    }
    machine::current().paged.lock(mdl.virtual_address() as usize, mdl.ByteCount.get() as usize, false);
    mdl.MdlFlags.set(flags(mdl) & !(MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA));
}

extern "win64" fn map_locked_pages(
    mdl: &MDL,
    _mode: i8,
    _cache_type: i32,
    _wanted: PVOID,
    _bug_check: u32,
    _priority: u32,
) -> PVOID {
    if flags(mdl) & (MDL_PAGES_LOCKED | MDL_PARTIAL) == 0 {
        bad(mdl, "MmMapLockedPagesSpecifyCache on an MDL whose pages are not locked");
    }
    if flags(mdl) & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        bad(mdl, "MmMapLockedPagesSpecifyCache on an MDL that is mapped already");
    }
    if machine::current().fails_allocation() {
        return std::ptr::null_mut();
    }
    mdl.MdlFlags.set(flags(mdl) | MDL_MAPPED_TO_SYSTEM_VA);
    mdl.MappedSystemVa.set(mdl.virtual_address());
    mdl.virtual_address()
}

extern "win64" fn unmap_locked_pages(address: PVOID, mdl: &MDL) {
    if flags(mdl) & MDL_MAPPED_TO_SYSTEM_VA == 0 || mdl.MappedSystemVa.get() != address {
        bad(mdl, "MmUnmapLockedPages of what is not mapped");
    }
    mdl.MdlFlags.set(flags(mdl) & !MDL_MAPPED_TO_SYSTEM_VA);
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: IoAllocateMdl => io_allocate_mdl, IoFreeMdl => io_free_mdl,
            MmBuildMdlForNonPagedPool => build_for_nonpaged_pool, IoBuildPartialMdl => build_partial,
            MmProbeAndLockPages => probe_and_lock, MmUnlockPages => unlock,
            MmMapLockedPagesSpecifyCache => map_locked_pages, MmUnmapLockedPages => unmap_locked_pages;
    ]
}
