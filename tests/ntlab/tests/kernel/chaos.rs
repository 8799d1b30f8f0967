//! A machine that stops: its threads leave, other machines do not notice. What the seed has go differently; failing allocations.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ntlab::nt::{DEVICE_OBJECT, IRP, KEVENT};
use ntlab::{Chaos, Judged, NtStatus, Options, Report, Stop, low_resources, replay, rules};

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
    let bench =
        Bench::with(Options { seed: 7, chaos: Chaos { delays: 300, ..Chaos::default() }, ..Options::default() });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(bench.run(both).take().status, NtStatus::SUCCESS)));
        }
    });
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn delays_find_what_needs_one_long_delay_between_two_steps() {
    const BEGUN: usize = 1;
    const OVER: usize = 2;
    fn call() {
        ExFreePool(ExAllocatePool2(POOL_FLAG_NON_PAGED, 16, TAG));
    }
    extern "win64" fn work(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let state = &raw mut extension(device).slot;
        // SAFETY: the extension is there, and one thread runs at a time.
        unsafe { state.write_volatile(BEGUN) };
        (0..100).for_each(|_| call());
        // SAFETY: as before.
        unsafe { state.write_volatile(OVER) };
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn watch(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let state = &raw const extension(device).slot;
        // SAFETY: the extension is there, and one thread runs at a time.
        let look = || unsafe { state.read_volatile() };
        let missed_it_all = (0..40).any(|_| {
            let before = look();
            call();
            before == 0 && look() == OVER
        });
        complete(irp, NtStatus::SUCCESS, usize::from(missed_it_all))
    }
    let finds = |seed| {
        let bench =
            Bench::with(Options { seed, chaos: Chaos { delays: 100, ..Chaos::default() }, ..Options::default() });
        let missed = bench.machine.in_threads(2, |index| bench.run([work, watch][index]).take().information != 0);
        assert!(bench.finish().is_clean());
        missed[1]
    };
    // About one seed in sixty does. Drawn anew at each turn, that a thread is left out so often is a matter of one in a million.
    assert!((0..2000).any(finds), "no seed delays the one thread for as long as the other works");
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

/// Passes an IRP of its own to its own device and lets it go when `IoCallDriver` has returned: wrong when it pends.
extern "win64" fn hurry(device: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    let own = pass_down(device, None);
    IoFreeIrp(own);
    complete(pointer, NtStatus::SUCCESS, 0)
}

/// The same, but waits where it has to.
extern "win64" fn wait_for_it(device: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    let event = &raw const extension(device).event;
    KeInitializeEvent(event, 0, 0);
    let own = pass_down(device, Some(event));
    IoFreeIrp(own);
    complete(pointer, NtStatus::SUCCESS, 0)
}

extern "win64" fn reclaim(_: &DEVICE_OBJECT, _: *mut IRP, event: *const KEVENT) -> i32 {
    if !event.is_null() {
        KeSetEvent(event, 0, 0);
    }
    NtStatus::MORE_PROCESSING_REQUIRED.0
}

fn pass_down(device: &DEVICE_OBJECT, event: Option<*const KEVENT>) -> *mut IRP {
    let own = IoAllocateIrp(1, 0);
    // SAFETY: the IRP is new and has one location.
    let next = unsafe { &*irp(own).next() };
    next.MajorFunction.set(0x00);
    next.CompletionRoutine.set(reclaim as *const () as usize);
    next.Context.set(event.unwrap_or(std::ptr::null()).cast_mut().cast());
    next.Control.set(0xe0);
    let status = IofCallDriver(std::ptr::from_ref(device).cast_mut(), own);
    if let (Some(event), NtStatus::PENDING) = (event, NtStatus(status)) {
        KeWaitForSingleObject(event.cast(), 0, 0, 0, std::ptr::null());
    }
    own
}

fn with_chaos(chaos: Chaos) -> Bench {
    Bench::with(Options { seed: 3, hang: Duration::from_secs(10), chaos, ..Options::default() })
}

#[test]
fn who_counts_on_a_lower_driver_to_be_quick_is_caught_when_it_is_forced_to_pend() {
    let chaos = Chaos { pending: 1000, ..Chaos::default() };
    for (routine, chaos, expected) in [
        (hurry as Routine, Chaos::default(), None),
        (wait_for_it, Chaos::default(), None),
        (wait_for_it, chaos, None),
        (hurry, chaos, Some(&rules::IRP_FREED_IN_USE)),
    ] {
        let bench = with_chaos(chaos);
        for _ in 0..4 {
            let _ = bench.run(routine).wait(SECOND * 10);
        }
        let report = bench.finish();
        assert_eq!(report.violations.first().map(|first| first.rule), expected, "{report}");
    }
}

#[test]
fn one_in_a_few_requests_can_be_forced_to_pend() {
    let bench = with_chaos(Chaos { pending: 250, ..Chaos::default() });
    (0..100).for_each(|_| assert_eq!(bench.run(wait_for_it).take().status, NtStatus::SUCCESS));
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
}

extern "win64" fn cancel_it(_: &DEVICE_OBJECT, pointer: *mut IRP) {
    IoReleaseCancelSpinLock(irp(pointer).CancelIrql.get());
    complete(pointer, NtStatus::CANCELLED, 0);
}

/// Stays pending until it is cancelled, as "Synchronizing IRP Cancellation" has it.
extern "win64" fn pend(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    let (body, status) = (irp(pointer), mark_pending(pointer));
    body.CancelRoutine.swap(cancel_it as *const () as usize, Ordering::SeqCst);
    if body.Cancel.load(Ordering::SeqCst) != 0 && body.CancelRoutine.swap(0, Ordering::SeqCst) != 0 {
        complete(pointer, NtStatus::CANCELLED, 0);
    }
    status
}

#[test]
fn requests_are_cancelled_and_processes_killed_at_any_point_and_a_sound_driver_holds() {
    let mut killed = 0;
    for seed in 0..8 {
        let chaos = Chaos { delays: 50, cancels: 300, kills: 20, ..Chaos::default() };
        let bench = Bench::with(Options { seed, hang: Duration::from_secs(20), chaos, ..Options::default() });
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        let request = bench.run(pend);
                        let _ = request.cancel();
                        assert!(matches!(request.take().status, NtStatus::CANCELLED | NtStatus::INVALID_HANDLE));
                    }
                });
            }
        });
        let refused = bench.run(succeed).take().status == NtStatus::INVALID_HANDLE;
        killed += u32::from(refused);
        let report = bench.finish();
        assert!(report.is_clean(), "seed {seed}: {report}");
    }
    assert!(killed >= 4, "of eight processes {killed} were killed");
}

/// Two blocks; whether there is the second one is not looked at.
extern "win64" fn forget_to_look(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    let first = ExAllocatePool2(POOL_FLAG_NON_PAGED, 10, TAG);
    if first.is_null() {
        return complete(pointer, NtStatus::INSUFFICIENT_RESOURCES, 0);
    }
    let second = ExAllocatePool2(POOL_FLAG_NON_PAGED, 10, TAG);
    // SAFETY: none: the pointer may be null.
    unsafe { second.write(1) };
    ExFreePool(first);
    ExFreePool(second);
    complete(pointer, NtStatus::SUCCESS, 0)
}

fn play(options: Options, routine: Routine) -> Report {
    match Bench::try_with(options) {
        Err(report) => *report,
        Ok(bench) => {
            let _ = bench.run(routine).wait(SECOND * 10);
            bench.finish()
        }
    }
}

#[test]
fn low_resources_has_each_allocation_fail_once() {
    let Ok(found) = low_resources(&Options::default(), |options| Ok::<_, Infallible>(play(options, forget_to_look)));
    let failed: Vec<_> = found.failed.iter().map(|(number, run)| (*number, run.violations[0].rule)).collect();
    assert_eq!(failed, [(2, &rules::ACCESS_VIOLATION)], "the device, the first block, the second block");
    assert_eq!(found.allocations, 3);
    assert!(found.first.is_good() && !found.is_good());
}

/// Frees a block that another thread may free: the pointer is read and cleared in two steps.
extern "win64" fn free_what_is_there(device: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    let extension = extension(device);
    let slot = std::ptr::from_mut(&mut extension.slot);
    // SAFETY: the extension is there; that it is read without a lock is the fault.
    let before = unsafe { slot.read_volatile() };
    let block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 16, TAG);
    if before != 0 {
        ExFreePool(before as *mut u8);
    }
    // SAFETY: the extension is there; that it is written to without a lock is the fault.
    unsafe { slot.write_volatile(block as usize) };
    complete(pointer, NtStatus::SUCCESS, 0)
}

fn race(options: Options) -> Report {
    extern "win64" fn free_last(driver: &ntlab::nt::DRIVER_OBJECT) {
        // SAFETY: the device is still there.
        let device = unsafe { &*driver.DeviceObject.get() };
        if extension(device).slot != 0 {
            ExFreePool(extension(device).slot as *mut u8);
        }
    }
    extern "win64" fn prepare(device: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
        extension(device).at_unload = Some(free_last);
        complete(pointer, NtStatus::SUCCESS, 0)
    }
    let bench = Bench::with(options);
    let _ = bench.run(prepare).take();
    bench.machine.in_threads(2, |_| {
        for _ in 0..8 {
            let _ = bench.run(free_what_is_there).wait(SECOND * 10);
        }
    });
    bench.finish()
}

#[test]
fn a_seed_that_fails_fails_again_in_nine_of_ten_replays_or_the_report_says_why_not() {
    let chaos = Chaos { delays: 100, ..Chaos::default() };
    let with = |seed| Options { seed, chaos, ..Options::default() };
    let failing = (1..50).filter(|&seed| !race(with(seed)).is_good());
    let again = |seed| {
        let Ok(replays) = replay(&with(seed), 10, |options| Ok::<_, Infallible>(race(options)));
        println!("seed {seed}: {replays}");
        replays
    };
    let replays: Vec<_> = failing.take(10).map(again).collect();
    assert_eq!(replays.len(), 10, "of 49 seeds so many find the race");
    // A host that keeps a thread from running for long takes its turn away.
    assert!(replays.iter().all(|replays| replays.is_steady() != replays.to_string().contains("the seed decides")));
    assert!(replays.iter().filter(|replays| replays.is_steady()).count() >= 5, "{replays:?}");
}
