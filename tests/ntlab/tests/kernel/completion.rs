//! IRPs: completed once, pending exactly when marked, cancelled under the cancel spin lock.

use std::ffi::c_void;
use std::ptr::null_mut;

use ntlab::nt::{DEVICE_OBJECT, IO_STACK_LOCATION, IRP, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS};
use ntlab::{NtStatus, rules};

use crate::bench::*;

extern "win64" fn succeed(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn keep(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    extension(device).slot = irp as usize;
    mark_pending(irp)
}

fn kept(device: &DEVICE_OBJECT) -> *mut IRP {
    extension(device).slot as *mut IRP
}

#[test]
fn a_request_completed_in_its_dispatch_routine_passes() {
    passes(&[succeed]);
}

#[test]
fn a_request_marked_and_completed_later_passes() {
    extern "win64" fn complete_kept(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(kept(device), NtStatus::SUCCESS, 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[keep, complete_kept]);
}

#[test]
fn an_irp_is_not_completed_twice() {
    extern "win64" fn twice(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(irp, NtStatus::SUCCESS, 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::DOUBLE_COMPLETION, &[twice]);
}

#[test]
fn pending_is_not_returned_for_an_unmarked_irp_that_the_dispatch_routine_has_completed() {
    extern "win64" fn unmarked(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(irp, NtStatus::SUCCESS, 0);
        NtStatus::PENDING.0
    }
    breaks(&rules::PENDED_COMPLETED, &[unmarked]);
}

#[test]
fn pending_returned_without_the_mark_shows_when_the_irp_is_completed_later() {
    extern "win64" fn keep_unmarked(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        extension(device).slot = irp as usize;
        NtStatus::PENDING.0
    }
    extern "win64" fn complete_kept(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(kept(device), NtStatus::SUCCESS, 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::PENDING_NOT_MARKED, &[keep_unmarked, complete_kept]);
}

#[test]
fn a_marked_irp_is_not_answered_with_another_status() {
    extern "win64" fn marked(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        mark_pending(irp);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::MARKED_NOT_RETURNED, &[marked]);
}

#[test]
fn a_marked_irp_completed_inside_its_dispatch_routine_passes_when_pending_is_returned() {
    extern "win64" fn marked(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        mark_pending(irp);
        complete(irp, NtStatus::SUCCESS, 0);
        NtStatus::PENDING.0
    }
    passes(&[marked]);
}

#[test]
fn a_status_is_not_returned_for_an_irp_that_is_not_completed() {
    extern "win64" fn forget(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        NtStatus::SUCCESS.0
    }
    breaks(&rules::STATUS_WITHOUT_COMPLETION, &[forget]);
}

#[test]
fn the_status_returned_is_the_one_completed_with() {
    extern "win64" fn differ(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(irp, NtStatus::INVALID_PARAMETER, 0);
        NtStatus::SUCCESS.0
    }
    breaks(&rules::STATUS_DIFFERS, &[differ]);
}

#[test]
fn no_irp_is_completed_with_status_pending() {
    extern "win64" fn pending(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        mark_pending(irp);
        complete(irp, NtStatus::PENDING, 0)
    }
    breaks(&rules::COMPLETED_PENDING, &[pending]);
}

extern "win64" fn never_runs(_: &DEVICE_OBJECT, _: *mut IRP) {}

#[test]
fn no_irp_is_completed_with_its_cancel_routine_set() {
    extern "win64" fn leave_routine(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
        irp(pointer).CancelRoutine.store(never_runs as *const () as usize, std::sync::atomic::Ordering::SeqCst);
        complete(pointer, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::CANCEL_ROUTINE_SET, &[leave_routine]);
}

#[test]
fn no_irp_is_completed_above_dispatch_level() {
    extern "win64" fn raised(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let before = KfRaiseIrql(DISPATCH_LEVEL + 1);
        let status = complete(irp, NtStatus::SUCCESS, 0);
        KeLowerIrql(before);
        status
    }
    breaks(&rules::COMPLETION_IRQL, &[raised]);
}

#[test]
fn an_irp_may_be_completed_at_dispatch_level() {
    extern "win64" fn raised(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let before = KfRaiseIrql(DISPATCH_LEVEL);
        let status = complete(irp, NtStatus::SUCCESS, 0);
        KeLowerIrql(before);
        status
    }
    passes(&[raised]);
}

#[test]
fn no_irp_is_completed_under_a_spin_lock() {
    extern "win64" fn locked(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let lock = &raw const extension(device).lock;
        let before = KeAcquireSpinLockRaiseToDpc(lock);
        let status = complete(irp, NtStatus::SUCCESS, 0);
        KeReleaseSpinLock(lock, before);
        status
    }
    breaks(&rules::COMPLETION_UNDER_LOCK, &[locked]);
}

#[test]
fn information_is_not_beyond_the_output_buffer() {
    extern "win64" fn too_much(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(irp, NtStatus::SUCCESS, 17)
    }
    breaks(&rules::INFORMATION_BEYOND_BUFFER, &[too_much]);
}

#[test]
fn an_irp_is_not_read_as_before_once_it_is_completed() {
    extern "win64" fn late(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
        complete(pointer, NtStatus::SUCCESS, 0);
        // SAFETY: none: that is the fault.
        let stack = unsafe { &*irp(pointer).current() };
        i32::from(stack.MajorFunction.get()) - 0x0e
    }
    breaks(&rules::ACCESS_VIOLATION, &[late]);
}

#[test]
fn an_irp_is_not_written_to_once_it_is_completed() {
    extern "win64" fn late(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
        complete(pointer, NtStatus::SUCCESS, 0);
        irp(pointer).set_status(NtStatus::CANCELLED.0, 0);
        NtStatus::SUCCESS.0
    }
    breaks(&rules::IRP_USE_AFTER_COMPLETE, &[late]);
}

extern "win64" fn cancel_right(_: &DEVICE_OBJECT, pointer: *mut IRP) {
    IoReleaseCancelSpinLock(irp(pointer).CancelIrql.get());
    complete(pointer, NtStatus::CANCELLED, 0);
}

extern "win64" fn cancel_wrong(_: &DEVICE_OBJECT, _: *mut IRP) {}

fn cancellable(device: &DEVICE_OBJECT, pointer: *mut IRP, routine: extern "win64" fn(&DEVICE_OBJECT, *mut IRP)) -> i32 {
    irp(pointer).CancelRoutine.store(routine as *const () as usize, std::sync::atomic::Ordering::SeqCst);
    keep(device, pointer)
}

extern "win64" fn keep_cancellable(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    cancellable(device, irp, cancel_right)
}

extern "win64" fn cancel_kept(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let ran = IoCancelIrp(kept(device));
    complete(irp, NtStatus::SUCCESS, usize::from(ran))
}

#[test]
fn a_cancel_routine_that_releases_the_cancel_spin_lock_passes() {
    passes(&[keep_cancellable, cancel_kept]);
}

#[test]
fn a_cancel_routine_releases_the_cancel_spin_lock() {
    extern "win64" fn keep_wrong(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        cancellable(device, irp, cancel_wrong)
    }
    breaks(&rules::CANCEL_LOCK_NOT_RELEASED, &[keep_wrong, cancel_kept]);
}

/// Stands for a lower driver: takes an IRP's next location and completes it.
fn lower(pointer: *mut IRP, status: NtStatus) {
    irp(pointer).advance();
    complete(pointer, status, 0);
}

fn next<'a>(pointer: *mut IRP) -> &'a IO_STACK_LOCATION {
    // SAFETY: tests allocate IRPs with a free location.
    unsafe { &*irp(pointer).next() }
}

extern "win64" fn reclaim(_: *mut DEVICE_OBJECT, _: *mut IRP, context: *mut c_void) -> i32 {
    // SAFETY: the context is a counter on the stack of the routine that waits for the completion.
    unsafe { *context.cast::<usize>() += 1 };
    NtStatus::MORE_PROCESSING_REQUIRED.0
}

extern "win64" fn go_on(_: *mut DEVICE_OBJECT, pointer: *mut IRP, _: *mut c_void) -> i32 {
    if irp(pointer).PendingReturned.get() != 0 {
        mark_pending(pointer);
    }
    NtStatus::SUCCESS.0
}

#[test]
fn a_drivers_own_irp_comes_back_to_it_and_can_be_reused() {
    extern "win64" fn own(_: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        let own = IoAllocateIrp(1, 0);
        let mut count = 0_usize;
        for round in 1..=3 {
            next(own).set_completion(reclaim as *const () as usize, (&raw mut count).cast(), 0xe0);
            lower(own, NtStatus::UNSUCCESSFUL);
            assert_eq!(count, round);
            IoReuseIrp(own, 0);
        }
        IoFreeIrp(own);
        complete(request, NtStatus::SUCCESS, 0)
    }
    passes(&[own]);
}

extern "win64" fn count_and_go_on(device: *mut DEVICE_OBJECT, pointer: *mut IRP, context: *mut c_void) -> i32 {
    reclaim(device, pointer, context);
    go_on(device, pointer, context)
}

/// One IRP of two locations, completed with `status`: how often the lower one's completion routine with `flags` has run.
fn runs(flags: u8, status: NtStatus, is_cancelled: bool) -> usize {
    let own = IoAllocateIrp(2, 0);
    let (mut asked, mut always) = (0_usize, 0_usize);
    next(own).set_completion(reclaim as *const () as usize, (&raw mut always).cast(), INVOKE_ALWAYS);
    irp(own).advance();
    next(own).set_completion(count_and_go_on as *const () as usize, (&raw mut asked).cast(), flags);
    if is_cancelled {
        IoCancelIrp(own);
    }
    lower(own, status);
    assert_eq!(always, 1);
    IoFreeIrp(own);
    asked
}

const INVOKE_ALWAYS: u8 = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;

#[test]
fn a_completion_routine_runs_for_each_outcome_that_its_flags_name_and_no_other() {
    extern "win64" fn own(_: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        // Success may be informational; STATUS_TIMEOUT and warnings tell which sign counts.
        let statuses = [(NtStatus::SUCCESS, true), (NtStatus::TIMEOUT, true), (NtStatus::BUFFER_OVERFLOW, false)];
        let statuses = statuses.into_iter().chain([(NtStatus::UNSUCCESSFUL, false), (NtStatus::CANCELLED, false)]);
        for (status, is_success) in statuses {
            for flags in [0, SL_INVOKE_ON_SUCCESS, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_CANCEL, INVOKE_ALWAYS] {
                for is_cancelled in [false, true] {
                    let on_status = if is_success { SL_INVOKE_ON_SUCCESS } else { SL_INVOKE_ON_ERROR };
                    let wanted = flags & on_status != 0 || is_cancelled && flags & SL_INVOKE_ON_CANCEL != 0;
                    assert_eq!(runs(flags, status, is_cancelled), usize::from(wanted), "{flags:#x} {status:?}");
                }
            }
        }
        complete(request, NtStatus::SUCCESS, 0)
    }
    passes(&[own]);
}

#[test]
fn the_completion_of_a_drivers_own_irp_does_not_reach_the_io_manager() {
    extern "win64" fn own(_: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        let own = IoAllocateIrp(1, 0);
        next(own).set_completion(go_on as *const () as usize, null_mut(), 0xe0);
        lower(own, NtStatus::SUCCESS);
        complete(request, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::IRP_NOT_RECLAIMED, &[own]);
}

#[test]
fn an_irp_is_not_freed_while_another_driver_has_it() {
    extern "win64" fn free_early(_: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        let own = IoAllocateIrp(1, 0);
        irp(own).advance();
        IoFreeIrp(own);
        complete(request, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::IRP_FREED_IN_USE, &[free_early]);
}

#[test]
fn an_irp_is_not_freed_twice() {
    extern "win64" fn twice(_: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        let own = IoAllocateIrp(1, 0);
        IoFreeIrp(own);
        IoFreeIrp(own);
        complete(request, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::IRP_USE_AFTER_COMPLETE, &[twice]);
}

#[test]
fn the_io_managers_irp_is_not_freed() {
    extern "win64" fn foreign(_: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        IoFreeIrp(request);
        0
    }
    breaks(&rules::IRP_FOREIGN, &[foreign]);
}

#[test]
fn an_irp_is_not_passed_on_without_a_free_location() {
    extern "win64" fn pass(device: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        irp(request).advance();
        IofCallDriver(std::ptr::from_ref(device).cast_mut(), request)
    }
    breaks(&rules::NO_STACK_LOCATION, &[pass]);
}

#[test]
fn the_requests_own_irp_passed_down_and_completed_there_passes() {
    extern "win64" fn forward(device: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        mark_pending(request);
        next(request).set_completion(go_on as *const () as usize, null_mut(), 0xe0);
        irp(request).advance();
        extension(device).slot = request as usize;
        mark_pending(request)
    }
    extern "win64" fn complete_kept(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(kept(device), NtStatus::SUCCESS, 3);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[forward, complete_kept]);
}

#[test]
fn a_completion_routine_that_does_not_pass_the_mark_on_is_caught() {
    extern "win64" fn silent(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> i32 {
        NtStatus::SUCCESS.0
    }
    extern "win64" fn forward(device: &DEVICE_OBJECT, request: *mut IRP) -> i32 {
        next(request).set_completion(silent as *const () as usize, null_mut(), 0xe0);
        irp(request).advance();
        extension(device).slot = request as usize;
        mark_pending(request)
    }
    extern "win64" fn complete_kept(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(kept(device), NtStatus::SUCCESS, 3);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::PENDING_NOT_MARKED, &[forward, complete_kept]);
}

#[test]
fn a_violation_tells_what_happened_to_the_irp() {
    extern "win64" fn twice(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        complete(irp, NtStatus::SUCCESS, 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let text = report(&[twice]).violations[0].to_string();
    for part in ["DoubleCompletion", "0x44", "allocated by", "IoCompleteRequest by", "completed with"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn nothing_is_written_beyond_an_irp() {
    extern "win64" fn write_beyond(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
        let own = IoAllocateIrp(2, 0);
        let end = own.cast::<u8>().wrapping_add(208 + 2 * 72);
        // SAFETY: none: the IRP and its two locations end there.
        unsafe { end.write_volatile(1) };
        IoFreeIrp(own);
        complete(pointer, NtStatus::SUCCESS, 0)
    }
    let report = report(&[write_beyond]);
    let text = report.to_string();
    assert_eq!(report.violations.first().map(|first| first.rule.name), Some("AccessViolation"), "{text}");
    assert!(text.contains("offset 0x160 of an IRP"), "{text}");
}
