//! Work items, threads, DPCs, queued spin locks, lookaside lists, rundown protection and remove locks, used as they should be: each
//! request makes them all, uses them, and waits until nothing of them is left.

use crate::prelude::*;
use core::ffi::c_void;
use core::mem::{size_of, zeroed};
use wdk_sys::{EX_RUNDOWN_REF, IO_REMOVE_LOCK, KDPC, KEVENT, KLOCK_QUEUE_HANDLE, NPAGED_LOOKASIDE_LIST};

pub const TWIN: Fault = Fault { request, ..CORRECT };

unsafe extern "C" {
    safe fn KeAcquireInStackQueuedSpinLock(lock: *mut usize, handle: *mut KLOCK_QUEUE_HANDLE);
    safe fn KeReleaseInStackQueuedSpinLock(handle: *mut KLOCK_QUEUE_HANDLE);
    safe fn ExInitializeNPagedLookasideList(
        list: *mut NPAGED_LOOKASIDE_LIST,
        allocate: *mut c_void,
        free: *mut c_void,
        flags: u32,
        size: usize,
        tag: u32,
        depth: u16,
    );
    safe fn ExDeleteNPagedLookasideList(list: *mut NPAGED_LOOKASIDE_LIST);
    safe fn ExInitializeRundownProtection(rundown: *mut EX_RUNDOWN_REF);
    safe fn ExAcquireRundownProtection(rundown: *mut EX_RUNDOWN_REF) -> u8;
    safe fn ExReleaseRundownProtection(rundown: *mut EX_RUNDOWN_REF);
    safe fn ExWaitForRundownProtectionRelease(rundown: *mut EX_RUNDOWN_REF);
    safe fn IoInitializeRemoveLockEx(lock: *mut IO_REMOVE_LOCK, tag: u32, minutes: u32, high: u32, size: u32);
    safe fn IoAcquireRemoveLockEx(
        lock: *mut IO_REMOVE_LOCK,
        tag: *mut c_void,
        file: *const u8,
        line: u32,
        size: u32,
    ) -> NTSTATUS;
    safe fn IoReleaseRemoveLockEx(lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, size: u32);
    safe fn IoReleaseRemoveLockAndWaitEx(lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, size: u32);
    safe fn ObReferenceObjectByHandle(
        handle: *mut c_void,
        access: u32,
        kind: *mut c_void,
        mode: i8,
        object: &mut *mut c_void,
        information: *mut c_void,
    ) -> NTSTATUS;
}

/// What a request makes. Zero is valid for all of it until it is initialized.
#[repr(C)]
struct Things {
    event: KEVENT,
    dpc: KDPC,
    item: *mut c_void,
    list: NPAGED_LOOKASIDE_LIST,
    rundown: EX_RUNDOWN_REF,
    removal: IO_REMOVE_LOCK,
}

/// `THREAD_ALL_ACCESS`.
const ALL_ACCESS: u32 = 0x001f_ffff;

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let things: *mut Things = pool(size_of::<Things>()).cast();
    // SAFETY: the block is large enough, all zeros, and this request's until it frees it, when all that uses it has ended.
    let things = unsafe { &mut *things };
    KeInitializeEvent(&raw mut things.event, 1, 0);
    hold_locks(state(device));
    run_dpc(things);
    run_work_item(device, things);
    run_thread(things);
    use_list(things);
    run_down(things);
    remove(things);
    let before = &mut 0;
    IoAcquireCancelSpinLock(before);
    IoReleaseCancelSpinLock(*before);
    ExFreePool(core::ptr::from_mut(things).cast());
    complete(irp, SUCCESS, 0)
}

fn hold_locks(state: &mut State) {
    // SAFETY: zero is valid for integers and pointers.
    let mut handle: KLOCK_QUEUE_HANDLE = unsafe { zeroed() };
    KeAcquireInStackQueuedSpinLock(&raw mut state.lock, &raw mut handle);
    KeAcquireSpinLockAtDpcLevel(&raw mut state.other_lock);
    KeReleaseSpinLockFromDpcLevel(&raw mut state.other_lock);
    KeReleaseInStackQueuedSpinLock(&raw mut handle);
}

extern "C" fn expire(_: *mut KDPC, event: *mut c_void, _: *mut c_void, _: *mut c_void) {
    KeSetEvent(event.cast(), 0, 0);
}

fn run_dpc(things: &mut Things) {
    let event = &raw mut things.event;
    KeInitializeDpc(&raw mut things.dpc, expire as *mut c_void, event.cast());
    KeInsertQueueDpc(&raw mut things.dpc, null_mut(), null_mut());
    wait(event);
    // The event is set before the routine has returned.
    KeFlushQueuedDpcs();
}

extern "C" fn work(_: *mut DEVICE_OBJECT, things: *mut c_void) {
    // SAFETY: the request waits for the event, then touches them again.
    let things = unsafe { &mut *things.cast::<Things>() };
    IoFreeWorkItem(things.item);
    KeSetEvent(&raw mut things.event, 0, 0);
}

fn run_work_item(device: *mut DEVICE_OBJECT, things: &mut Things) {
    const DELAYED: u32 = 1;
    things.item = IoAllocateWorkItem(device);
    if things.item.is_null() {
        return;
    }
    IoQueueWorkItem(things.item, work, DELAYED, core::ptr::from_mut(things).cast());
    wait(&raw mut things.event);
}

extern "C" fn run(event: *mut c_void) {
    KeSetEvent(event.cast(), 0, 0);
}

/// Waits for the thread itself: its event is set before it has ended.
fn run_thread(things: &mut Things) {
    let handle = start_thread(run, (&raw mut things.event).cast());
    let mut thread = null_mut();
    let found = ObReferenceObjectByHandle(handle, ALL_ACCESS, null_mut(), 0, &mut thread, null_mut());
    ZwClose(handle);
    wait(&raw mut things.event);
    if found == SUCCESS {
        wait(thread.cast());
        ObfDereferenceObject(thread);
    }
}

fn use_list(things: &mut Things) {
    const NX: u32 = 512;
    let list = &raw mut things.list;
    ExInitializeNPagedLookasideList(list, null_mut(), null_mut(), NX, 64, TAG, 0);
    ExDeleteNPagedLookasideList(list);
}

fn run_down(things: &mut Things) {
    let rundown = &raw mut things.rundown;
    ExInitializeRundownProtection(rundown);
    if ExAcquireRundownProtection(rundown) != 0 {
        ExReleaseRundownProtection(rundown);
    }
    ExWaitForRundownProtectionRelease(rundown);
}

fn remove(things: &mut Things) {
    let (lock, size) = (&raw mut things.removal, u32::try_from(size_of::<IO_REMOVE_LOCK>()).unwrap_or(0));
    IoInitializeRemoveLockEx(lock, TAG, 0, 0, size);
    // A tag is any pointer.
    let (first, second) = (lock.cast(), lock.wrapping_add(1).cast());
    for tag in [first, second] {
        IoAcquireRemoveLockEx(lock, tag, c"".as_ptr().cast(), 1, size);
    }
    IoReleaseRemoveLockEx(lock, first, size);
    IoReleaseRemoveLockAndWaitEx(lock, second, size);
}
