//! Unload: what must be gone; and drivers that do not come to an end.

use std::time::Duration;

use ntlab::nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, UNICODE_STRING};
use ntlab::{Machine, NtStatus, Options, Stop, rules};

use crate::bench::*;

extern "win64" fn no_unload(_: &DRIVER_OBJECT) {}

extern "win64" fn leaves_device(driver: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> i32 {
    let status = entry(driver, path);
    // SAFETY: the kernel passes a driver object.
    unsafe { &*driver }.DriverUnload.set(no_unload as *const () as usize);
    status
}

#[test]
fn a_device_and_a_link_left_at_unload_are_caught() {
    let machine = Machine::new(Options::default());
    let driver = machine.load_builtin(leaves_device);
    driver.start().expect("starts");
    let Err(Stop::Violation(violation)) = driver.unload() else { panic!("it left a device") };
    assert_eq!(violation.rule, &rules::LINK_LIVE);
    assert!(violation.message.contains("device") && violation.message.contains("symbolic link"), "{violation}");
}

#[test]
fn an_irp_of_the_driver_left_at_unload_is_caught() {
    extern "win64" fn forget(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        IoAllocateIrp(1, 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::IRP_LEAK, &[forget]);
}

#[test]
fn a_driver_without_an_unload_routine_stays() {
    extern "win64" fn stays(_: *mut DRIVER_OBJECT, _: *const UNICODE_STRING) -> i32 {
        0
    }
    let machine = Machine::new(Options::default());
    let driver = machine.load_builtin(stays);
    driver.start().expect("starts");
    assert!(matches!(driver.start(), Err(Stop::Status(NtStatus::IMAGE_ALREADY_LOADED))));
    assert!(matches!(driver.unload(), Err(Stop::Status(NtStatus::INVALID_DEVICE_REQUEST))));
}

fn impatient() -> Bench {
    Bench::with(Options { hang: Duration::from_millis(300), ..Options::default() })
}

#[test]
fn a_dispatch_routine_that_waits_for_ever_is_a_hang() {
    extern "win64" fn wait(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KeWaitForSingleObject((&raw const extension(device).event).cast(), 0, 0, 0, std::ptr::null())
    }
    let bench = impatient();
    assert_eq!(bench.run(wait).wait(SECOND), None);
    let report = bench.finish();
    assert_eq!(report.violations[0].rule, &rules::HANGS, "{report}");
}

#[test]
fn a_spin_lock_that_never_comes_free_is_a_hang() {
    extern "win64" fn spin(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        extension(device).lock.store(1, std::sync::atomic::Ordering::SeqCst);
        KeAcquireSpinLockRaiseToDpc(&raw const extension(device).lock);
        0
    }
    let bench = impatient();
    let _ = bench.run(spin).wait(SECOND);
    let report = bench.finish();
    assert_eq!(report.violations[0].rule, &rules::HANGS, "{report}");
}

#[test]
fn a_request_that_cannot_be_cancelled_hangs_its_process() {
    extern "win64" fn keep(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        mark_pending(irp)
    }
    let bench = impatient();
    let request = bench.run(keep);
    assert!(request.cancel(), "it is pending, though nobody listens");
    bench.process.exit();
    let report = bench.finish();
    assert_eq!(report.violations[0].rule, &rules::SLOW_CANCEL, "{report}");
    assert!(report.violations[0].history.iter().any(|line| line.contains("IoCancelIrp")), "{report}");
}

#[test]
fn an_unload_that_waits_for_ever_is_a_hang() {
    extern "win64" fn wait(driver: &DRIVER_OBJECT) {
        // SAFETY: the driver's device is still there.
        let device = unsafe { &*driver.DeviceObject.get() };
        KeWaitForSingleObject((&raw const extension(device).event).cast(), 0, 0, 0, std::ptr::null());
    }
    extern "win64" fn plan(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        extension(device).at_unload = Some(wait);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let bench = impatient();
    let _ = bench.run(plan).take();
    assert_eq!(bench.handle.close(), NtStatus::SUCCESS);
    assert!(matches!(bench.driver.unload(), Err(Stop::Violation(violation)) if violation.rule == &rules::HANGS));
}

#[test]
#[should_panic(expected = "allocated by")]
fn taking_a_request_that_never_ends_tells_its_history() {
    extern "win64" fn keep(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        mark_pending(irp)
    }
    let _ = impatient().run(keep).take();
}
