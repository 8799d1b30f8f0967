//! Spin locks and IRQL.

use ntlab::nt::{DEVICE_OBJECT, IRP};
use ntlab::{NtStatus, rules};

use crate::bench::*;

#[test]
fn a_lock_taken_and_released_passes() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (lock, other) = (&raw const extension(device).lock, &raw const extension(device).other_lock);
        KeInitializeSpinLock(lock);
        let before = KeAcquireSpinLockRaiseToDpc(lock);
        assert_eq!((before, KeGetCurrentIrql()), (0, DISPATCH_LEVEL));
        KeAcquireSpinLockAtDpcLevel(other);
        KeReleaseSpinLockFromDpcLevel(other);
        KeReleaseSpinLock(lock, before);
        assert_eq!(KeGetCurrentIrql(), 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn no_lock_is_held_at_return() {
    extern "win64" fn keep(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let status = complete(irp, NtStatus::SUCCESS, 0);
        KeAcquireSpinLockRaiseToDpc(&raw const extension(device).lock);
        status
    }
    breaks(&rules::LOCK_HELD_AT_RETURN, &[keep]);
}

#[test]
fn the_irql_at_return_is_that_at_the_call() {
    extern "win64" fn raise(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let status = complete(irp, NtStatus::SUCCESS, 0);
        KfRaiseIrql(DISPATCH_LEVEL);
        status
    }
    breaks(&rules::IRQL_AT_RETURN, &[raise]);
}

#[test]
fn a_lock_is_not_taken_twice_by_one_thread() {
    extern "win64" fn twice(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KeAcquireSpinLockRaiseToDpc(&raw const extension(device).lock);
        KeAcquireSpinLockAtDpcLevel(&raw const extension(device).lock);
        0
    }
    breaks(&rules::RECURSIVE_LOCK, &[twice]);
}

#[test]
fn a_lock_that_is_not_held_is_not_released() {
    extern "win64" fn release(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KfRaiseIrql(DISPATCH_LEVEL);
        KeReleaseSpinLock(&raw const extension(device).lock, 0);
        0
    }
    breaks(&rules::LOCK_NOT_OWNED, &[release]);
}

#[test]
fn a_lock_is_released_the_way_it_was_taken() {
    extern "win64" fn mix(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KeAcquireSpinLockRaiseToDpc(&raw const extension(device).lock);
        KeReleaseSpinLockFromDpcLevel(&raw const extension(device).lock);
        0
    }
    breaks(&rules::LOCK_NOT_OWNED, &[mix]);
}

#[test]
fn locks_are_taken_in_one_order() {
    fn both(first: *const ntlab::nt::KSPIN_LOCK, second: *const ntlab::nt::KSPIN_LOCK) {
        let before = KeAcquireSpinLockRaiseToDpc(first);
        KeAcquireSpinLockAtDpcLevel(second);
        KeReleaseSpinLockFromDpcLevel(second);
        KeReleaseSpinLock(first, before);
    }
    extern "win64" fn there_and_back(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (a, b) = (&raw const extension(device).lock, &raw const extension(device).other_lock);
        both(a, b);
        both(b, a);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn twice(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (a, b) = (&raw const extension(device).lock, &raw const extension(device).other_lock);
        both(a, b);
        both(a, b);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[twice]);
    breaks(&rules::LOCK_ORDER, &[there_and_back]);
}

#[test]
fn the_dpc_level_routine_wants_dispatch_level() {
    extern "win64" fn low(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KeAcquireSpinLockAtDpcLevel(&raw const extension(device).lock);
        0
    }
    breaks(&rules::LOCK_IRQL, &[low]);
}

#[test]
fn the_irql_is_not_lowered_under_a_lock() {
    extern "win64" fn lower(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KeAcquireSpinLockRaiseToDpc(&raw const extension(device).lock);
        KeLowerIrql(0);
        0
    }
    breaks(&rules::LOCK_IRQL, &[lower]);
}

#[test]
fn raising_does_not_lower() {
    extern "win64" fn lower(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KfRaiseIrql(DISPATCH_LEVEL);
        KfRaiseIrql(0);
        0
    }
    breaks(&rules::IRQL_CHANGE, &[lower]);
}

#[test]
fn no_export_is_called_above_its_highest_irql() {
    extern "win64" fn high(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KfRaiseIrql(DISPATCH_LEVEL);
        IoDeleteDevice(std::ptr::from_ref(device).cast_mut());
        0
    }
    breaks(&rules::IRQL_TOO_HIGH, &[high]);
}

#[test]
fn paged_pool_is_not_allocated_at_dispatch_level() {
    extern "win64" fn high(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KfRaiseIrql(DISPATCH_LEVEL);
        ExAllocatePool2(POOL_FLAG_PAGED, 64, TAG);
        0
    }
    breaks(&rules::IRQL_TOO_HIGH, &[high]);
}
