//! IRPs, locks, pool, MDLs, timers, events and tracing, used as they should be.

use crate::prelude::*;
use core::ffi::c_void;

pub const TWIN: Fault = Fault { request, unload };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    match step(irp) {
        0 => return pend(irp),
        DIRECT => return look_at_data(irp),
        _ => {}
    }
    let state = state(device);
    take_locks(state);
    use_pool();
    pass_down(device);
    start_timer(state);
    write_event(state);
    complete(irp, SUCCESS, 16)
}

/// Keeps the request until it is cancelled.
fn pend(irp: *mut IRP) -> NTSTATUS {
    let status = mark_pending(irp);
    set_cancel(irp, Some(cancel));
    status
}

/// Reads the memory that a process wants sent, at `DISPATCH_LEVEL`.
fn look_at_data(irp: *mut IRP) -> NTSTATUS {
    let memory = mapped(irp);
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    peek(memory);
    KeLowerIrql(before);
    complete(irp, SUCCESS, 16)
}

fn take_locks(state: &mut State) {
    for _ in 0..3 {
        let before = KeAcquireSpinLockRaiseToDpc(&raw mut state.lock);
        KeAcquireSpinLockAtDpcLevel(&raw mut state.other_lock);
        KeReleaseSpinLockFromDpcLevel(&raw mut state.other_lock);
        KeReleaseSpinLock(&raw mut state.lock, before);
    }
}

fn use_pool() {
    let block = pool(33);
    poke(block.wrapping_add(32));
    let mdl = IoAllocateMdl(block, 33, 0, 0, null_mut());
    MmBuildMdlForNonPagedPool(mdl);
    IoFreeMdl(mdl);
    ExFreePoolWithTag(block, TAG);
    let paged = ExAllocatePool2(PAGED, 64, TAG);
    poke(paged);
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    KeLowerIrql(before);
    // It may have been paged out meanwhile; now it comes back, and stays while it is locked.
    poke(paged);
    let mdl = IoAllocateMdl(paged, 64, 0, 0, null_mut());
    MmProbeAndLockPages(mdl, 0, 2);
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    poke(paged);
    KeLowerIrql(before);
    MmUnlockPages(mdl);
    IoFreeMdl(mdl);
    ExFreePool(paged);
}

/// Sends an IRP of the driver's own, twice.
fn pass_down(device: *mut DEVICE_OBJECT) {
    let own = IoAllocateIrp(1, 0);
    for _ in 0..2 {
        next(own, CREATE);
        on_completion(own, reclaim, null_mut(), INVOKE_ALWAYS);
        IofCallDriver(device, own);
        IoReuseIrp(own, SUCCESS);
    }
    IoFreeIrp(own);
}

/// Writes an event between the registration of its provider and the end of it.
fn write_event(state: &mut State) {
    EtwRegister(&PROVIDER, null_mut(), null_mut(), &mut state.trace);
    if EtwProviderEnabled(state.trace, 4, 0) != 0 {
        EtwWriteTransfer(state.trace, &EventDescriptor::INFORMATION, null_mut(), null_mut(), 0, null_mut());
    }
    EtwUnregister(state.trace);
}

extern "C" fn expire(_: *mut c_void, event: *mut c_void, _: *mut c_void, _: *mut c_void) {
    KeSetEvent(event.cast(), 0, 0);
}

/// Waits for a timer's DPC, and sets the timer again for the unload routine to cancel.
fn start_timer(state: &mut State) {
    let event = &raw mut state.event;
    KeInitializeEvent(event, 0, 0);
    KeInitializeDpc(&raw mut state.dpc, expire as *mut c_void, event.cast());
    KeInitializeTimer(&raw mut state.timer);
    KeSetTimer(&raw mut state.timer, -10_000, &raw mut state.dpc);
    wait(event);
    KeSetTimer(&raw mut state.timer, -600_000_000, &raw mut state.dpc);
}

extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    KeCancelTimer(&raw mut state(device_of(driver)).timer);
    KeFlushQueuedDpcs();
    crate::unload(driver);
}
