//! A machine that stops: its threads leave, other machines do not notice. Failing allocations.

use std::time::{Duration, Instant};

use ntlab::nt::{DEVICE_OBJECT, IRP};
use ntlab::{NtStatus, Options, Stop, rules};

use crate::bench::*;

extern "win64" fn succeed(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn twice(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    complete(irp, NtStatus::SUCCESS, 0);
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn sleep(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
    KeWaitForSingleObject((&raw const extension(device).event).cast(), 0, 0, 0, std::ptr::null())
}

extern "win64" fn keep(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    mark_pending(irp)
}

#[test]
fn a_violation_stops_its_machine_and_no_other() {
    let (broken, sound) = (Bench::new(), Bench::new());
    let pending = broken.run(keep);
    let _ = broken.run(twice);
    let since = Instant::now();
    assert_eq!(pending.wait(SECOND * 60), None, "the machine has stopped");
    assert!(since.elapsed() < SECOND);
    assert_eq!(broken.run(succeed).wait(SECOND * 60), None);
    assert!(matches!(broken.driver.unload(), Err(Stop::Violation(_))));
    assert_eq!(sound.run(succeed).take().status, NtStatus::SUCCESS);
    assert_eq!(broken.finish().violations.len(), 1);
    assert!(sound.finish().is_clean());
}

#[test]
fn a_thread_that_sleeps_in_a_driver_leaves_when_the_machine_stops() {
    let bench = Bench::with(Options::default());
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| bench.run(sleep).is_complete());
        std::thread::sleep(Duration::from_millis(50));
        let _ = bench.run(twice);
        assert!(!sleeper.join().expect("it left"));
    });
    assert_eq!(bench.finish().violations[0].rule, &rules::DOUBLE_COMPLETION);
}

#[test]
fn machines_run_side_by_side() {
    std::thread::scope(|scope| {
        for index in 0..8 {
            scope.spawn(move || {
                for _ in 0..5 {
                    let bench = Bench::new();
                    assert_eq!(bench.run(succeed).take().status, NtStatus::SUCCESS);
                    if index % 2 == 0 {
                        let _ = bench.run(twice);
                        assert_eq!(bench.finish().violations[0].rule, &rules::DOUBLE_COMPLETION);
                    } else {
                        assert!(bench.finish().is_clean());
                    }
                }
            });
        }
    });
}

#[test]
fn delays_change_when_things_happen_and_not_what_happens() {
    extern "win64" fn both(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let lock = &raw const extension(device).lock;
        let before = KeAcquireSpinLockRaiseToDpc(lock);
        extension(device).slot += 1;
        KeReleaseSpinLock(lock, before);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let bench = Bench::with(Options { seed: 7, delays: 300, ..Options::default() });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(bench.run(both).take().status, NtStatus::SUCCESS)));
        }
    });
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn each_allocation_can_be_made_to_fail() {
    extern "win64" fn allocate(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        for _ in 0..3 {
            let block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 10, TAG);
            if block.is_null() {
                return complete(irp, NtStatus::INSUFFICIENT_RESOURCES, 0);
            }
            ExFreePool(block);
        }
        complete(irp, NtStatus::SUCCESS, 0)
    }
    // The first allocation is the device.
    for fail in 1..=4 {
        let bench = Bench::with(Options { fail_allocation: Some(fail), ..Options::default() });
        let status = bench.run(allocate).take().status;
        let expected = if fail <= 3 { NtStatus::INSUFFICIENT_RESOURCES } else { NtStatus::SUCCESS };
        assert_eq!(status, expected);
        assert!(bench.finish().is_clean());
    }
}
