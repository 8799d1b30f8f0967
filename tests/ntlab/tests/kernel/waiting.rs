//! Events, system threads, timers, DPCs and work items.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use ntlab::nt::{DEVICE_OBJECT, IRP, KDPC, KEVENT, KTIMER};
use ntlab::{NtStatus, rules};

use crate::bench::*;

ntlab::imports! {
    fn PsCreateSystemThread(handle: *mut usize, access: u32, attributes: usize, process: usize, client: usize,
        start: usize, context: *mut c_void) -> i32;
    fn PsTerminateSystemThread(status: i32) -> i32;
    fn ObReferenceObjectByHandle(handle: usize, access: u32, kind: usize, mode: i8, object: *mut *mut c_void,
        information: usize) -> i32;
    fn ObfDereferenceObject(object: *mut c_void) -> i64;
    fn ZwClose(handle: usize) -> i32;
    fn KeResetEvent(event: *const KEVENT) -> i32;
    fn KeReadStateEvent(event: *const KEVENT) -> i32;
    fn KeWaitForMultipleObjects(count: u32, objects: *const *const c_void, kind: u32, reason: u32, mode: i8,
        alertable: u8, timeout: *const i64, blocks: usize) -> i32;
    fn KeDelayExecutionThread(mode: i8, alertable: u8, interval: *const i64) -> i32;
    fn KeInitializeTimer(timer: *mut KTIMER);
    fn KeSetTimer(timer: *mut KTIMER, due: i64, dpc: *mut KDPC) -> u8;
    fn KeSetTimerEx(timer: *mut KTIMER, due: i64, period: u32, dpc: *mut KDPC) -> u8;
    fn KeCancelTimer(timer: *mut KTIMER) -> u8;
    fn KeInitializeDpc(dpc: *mut KDPC, routine: usize, context: *mut c_void);
    fn KeInsertQueueDpc(dpc: *mut KDPC, a: *mut c_void, b: *mut c_void) -> u8;
    fn KeFlushQueuedDpcs();
    fn IoAllocateWorkItem(device: *const DEVICE_OBJECT) -> *mut c_void;
    fn IoQueueWorkItem(item: *mut c_void, routine: usize, queue: u32, context: *mut c_void);
    fn IoFreeWorkItem(item: *mut c_void);
}

/// Ten milliseconds from now.
static SOON: i64 = -100_000;

fn event(device: &DEVICE_OBJECT) -> *const KEVENT {
    &raw const extension(device).event
}

fn wait(object: *const c_void, timeout: Option<i64>) -> NtStatus {
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    NtStatus(KeWaitForSingleObject(object, 0, 0, 0, timeout))
}

/// A zeroed object in nonpaged pool.
fn pool<T>() -> *mut T {
    ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of::<T>(), TAG).cast()
}

extern "win64" fn set_and_end(context: *mut c_void) {
    assert_eq!(KeGetCurrentIrql(), 0);
    KeSetEvent(context.cast(), 0, 0);
}

extern "win64" fn set_and_terminate(context: *mut c_void) {
    KeSetEvent(context.cast(), 0, 0);
    PsTerminateSystemThread(0);
    unreachable!("the thread has ended");
}

fn start(routine: extern "win64" fn(*mut c_void), context: *const KEVENT) -> *mut c_void {
    let (handle, thread) = start_and_keep_handle(routine, context);
    assert_eq!(ZwClose(handle), 0);
    thread
}

fn start_and_keep_handle(routine: extern "win64" fn(*mut c_void), context: *const KEVENT) -> (usize, *mut c_void) {
    let (mut handle, mut thread) = (0, null_mut());
    let start = routine as *const () as usize;
    assert_eq!(PsCreateSystemThread(&raw mut handle, 0, 0, 0, 0, start, context.cast_mut().cast()), 0);
    assert_eq!(ObReferenceObjectByHandle(handle, 0, 0, 0, &raw mut thread, 0), 0);
    (handle, thread)
}

#[test]
fn events_wake_and_time_out() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let event = event(device);
        assert_eq!(wait(event.cast(), Some(0)), NtStatus::TIMEOUT);
        assert_eq!(wait(event.cast(), Some(SOON)), NtStatus::TIMEOUT);
        assert_eq!(KeSetEvent(event, 0, 0), 0);
        assert_eq!(wait(event.cast(), None), NtStatus::SUCCESS);
        assert_eq!((KeReadStateEvent(event), KeResetEvent(event), KeReadStateEvent(event)), (1, 1, 0));
        KeInitializeEvent(event, 1, 1);
        assert_eq!(wait(event.cast(), None), NtStatus::SUCCESS);
        assert_eq!(wait(event.cast(), Some(0)), NtStatus::TIMEOUT, "a synchronization event wakes one");
        let before = KfRaiseIrql(DISPATCH_LEVEL);
        assert_eq!(wait(event.cast(), Some(0)), NtStatus::TIMEOUT, "looking is allowed at DISPATCH_LEVEL");
        KeLowerIrql(before);
        assert_eq!(KeDelayExecutionThread(0, 0, &raw const SOON), 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn a_wait_for_several_objects_ends_with_any_or_all() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (a, b): (*mut KEVENT, *const KEVENT) = (pool(), event(device));
        KeInitializeEvent(a, 1, 0);
        KeSetEvent(b, 0, 0);
        let objects = [a.cast_const().cast(), b.cast::<c_void>()];
        let any = KeWaitForMultipleObjects(2, objects.as_ptr(), 1, 0, 0, 0, std::ptr::null(), 0);
        assert_eq!(any, 1);
        let all = KeWaitForMultipleObjects(2, objects.as_ptr(), 0, 0, 0, 0, &raw const SOON, 0);
        assert_eq!(NtStatus(all), NtStatus::TIMEOUT);
        let thread = start(set_and_terminate, a);
        let all = KeWaitForMultipleObjects(2, objects.as_ptr(), 0, 0, 0, 0, std::ptr::null(), 0);
        assert_eq!(all, 0);
        assert_eq!(wait(thread, None), NtStatus::SUCCESS);
        ObfDereferenceObject(thread);
        ExFreePool(a.cast());
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn no_thread_waits_at_dispatch_level() {
    extern "win64" fn high(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KfRaiseIrql(DISPATCH_LEVEL);
        wait(event(device).cast(), Some(SOON)).0
    }
    breaks(&rules::WAIT_AT_DISPATCH, &[high]);
}

#[test]
fn a_system_thread_ends_by_returning_or_by_terminating() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        for routine in [set_and_end as extern "win64" fn(*mut c_void), set_and_terminate] {
            KeResetEvent(event(device));
            let thread = start(routine, event(device));
            assert_eq!(wait(event(device).cast(), None), NtStatus::SUCCESS);
            assert_eq!(wait(thread, None), NtStatus::SUCCESS);
            ObfDereferenceObject(thread);
        }
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn a_thread_that_still_runs_at_unload_is_caught() {
    extern "win64" fn sleep(context: *mut c_void) {
        wait(context, None);
    }
    extern "win64" fn forget(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        ObfDereferenceObject(start(sleep, event(device)));
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::THREAD_LIVE, &[forget]);
}

#[test]
fn a_thread_handle_that_is_not_closed_is_caught() {
    extern "win64" fn forget(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (_, thread) = start_and_keep_handle(set_and_end, event(device));
        wait(thread.cast_const(), None);
        ObfDereferenceObject(thread);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::LIVE_AT_UNLOAD, &[forget]);
}

extern "win64" fn on_dpc(_: *mut KDPC, context: *mut c_void, a: *mut c_void, _: *mut c_void) {
    assert_eq!(KeGetCurrentIrql(), DISPATCH_LEVEL);
    assert_eq!(a as usize & !7, 0);
    KeSetEvent(context.cast(), 0, 0);
}

/// A timer and the DPC behind it.
type Clockwork = [u64; (size_of::<KTIMER>() + size_of::<KDPC>()) / 8];

fn clockwork(device: &DEVICE_OBJECT) -> (*mut Clockwork, *mut KTIMER, *mut KDPC) {
    let block: *mut Clockwork = pool();
    let timer: *mut KTIMER = block.cast();
    let dpc: *mut KDPC = timer.wrapping_add(1).cast();
    KeInitializeTimer(timer);
    KeInitializeDpc(dpc, on_dpc as *const () as usize, event(device).cast_mut().cast());
    (block, timer, dpc)
}

#[test]
fn a_timer_fires_its_dpc_at_dispatch_level() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (block, timer, dpc) = clockwork(device);
        let since = Instant::now();
        assert_eq!(KeSetTimer(timer, SOON, dpc), 0);
        assert_eq!(wait(event(device).cast(), None), NtStatus::SUCCESS);
        assert!(since.elapsed() >= Duration::from_millis(10));
        assert_eq!(KeCancelTimer(timer), 0, "it has fired");
        assert_eq!(wait(timer.cast_const().cast(), Some(0)), NtStatus::SUCCESS);
        assert_eq!(KeSetTimerEx(timer, SOON, 1, null_mut()), 0);
        assert_eq!(KeSetTimer(timer, SOON * 1000, dpc), 1, "it was set");
        assert_eq!(KeCancelTimer(timer), 1);
        assert_eq!(KeInsertQueueDpc(dpc, 7 as *mut c_void, null_mut()), 1);
        KeFlushQueuedDpcs();
        ExFreePool(block.cast());
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn a_timer_set_at_unload_or_freed_while_set_is_caught() {
    extern "win64" fn forget(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (_, timer, dpc) = clockwork(device);
        KeSetTimer(timer, SOON * 1000, dpc);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn free(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (block, timer, dpc) = clockwork(device);
        KeSetTimer(timer, SOON * 1000, dpc);
        ExFreePool(block.cast());
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::TIMER_LIVE, &[forget]);
    breaks(&rules::TIMER_FREED, &[free]);
}

#[test]
fn the_last_timer_is_the_one_that_is_due_last() {
    extern "win64" fn set(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        for times in [100_000, 1000] {
            let (_, timer, dpc) = clockwork(device);
            KeSetTimer(timer, SOON * times, dpc);
        }
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let bench = Bench::new();
    assert_eq!(bench.machine.last_timer(), None);
    assert_eq!(bench.run(set).take().status, NtStatus::SUCCESS);
    let left = bench.machine.last_timer().expect("two are set");
    assert!(left <= Duration::from_secs(1000) && left > Duration::from_secs(10), "{left:?}");
    assert_eq!(bench.finish().violations[0].rule, &rules::TIMER_LIVE);
}

extern "win64" fn work(_: *const DEVICE_OBJECT, context: *mut c_void) {
    assert_eq!(KeGetCurrentIrql(), 0);
    KeSetEvent(context.cast(), 0, 0);
}

#[test]
fn a_work_item_runs_at_passive_level() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let item = IoAllocateWorkItem(device);
        for _ in 0..3 {
            KeResetEvent(event(device));
            let before = KfRaiseIrql(DISPATCH_LEVEL);
            IoQueueWorkItem(item, work as *const () as usize, 1, event(device).cast_mut().cast());
            KeLowerIrql(before);
            assert_eq!(wait(event(device).cast(), None), NtStatus::SUCCESS);
        }
        IoFreeWorkItem(item);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn a_work_item_that_is_not_freed_is_caught() {
    extern "win64" fn forget(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        IoAllocateWorkItem(device);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::WORK_LIVE, &[forget]);
}

#[test]
fn a_work_item_is_queued_once_at_a_time() {
    extern "win64" fn twice(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let items: Vec<_> = (0..64).map(|_| IoAllocateWorkItem(device)).collect();
        let items = std::mem::ManuallyDrop::new(items);
        for &item in &*items {
            IoQueueWorkItem(item, work as *const () as usize, 1, event(device).cast_mut().cast());
            IoQueueWorkItem(item, work as *const () as usize, 1, event(device).cast_mut().cast());
        }
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::BAD_OBJECT, &[twice]);
}
