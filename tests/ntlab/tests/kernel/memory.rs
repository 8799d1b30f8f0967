//! Pool and MDLs.

use std::ptr::null_mut;
use std::time::Duration;

use ntlab::nt::{DEVICE_OBJECT, IRP};
use ntlab::{NtStatus, Options, rules};

use crate::bench::*;

ntlab::imports! {
    fn InitializeSListHead(head: *mut u8);
    fn ExpInterlockedPushEntrySList(head: *mut u8, entry: *mut u8) -> *mut u8;
    fn ExpInterlockedPopEntrySList(head: *mut u8) -> *mut u8;
    fn ExQueryDepthSList(head: *mut u8) -> u16;
}

fn pool(size: usize) -> *mut u8 {
    ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG)
}

/// Writes `value` into a block, wherever the test says.
fn poke(block: *mut u8, offset: isize, value: u8) {
    // SAFETY: none, when the test means to break a rule.
    unsafe { block.wrapping_offset(offset).write_volatile(value) };
}

fn peek(block: *mut u8, offset: isize) -> u8 {
    // SAFETY: none, when the test means to break a rule.
    unsafe { block.wrapping_offset(offset).read_volatile() }
}

extern "win64" fn right(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    for size in [1, 15, 16, 17, 4095, 4096, 4097, 100_000] {
        let block = pool(size);
        assert_eq!(block as usize % 16, 0);
        assert_eq!((peek(block, 0), peek(block, size.cast_signed() - 1)), (0, 0), "pool is zeroed");
        poke(block, size.cast_signed() - 1, 1);
        ExFreePoolWithTag(block, TAG);
    }
    complete(irp, NtStatus::SUCCESS, 0)
}

#[test]
fn pool_used_within_its_bounds_passes() {
    passes(&[right]);
}

#[test]
fn pool_without_pages_of_its_own_passes_too() {
    let bench = Bench::with(Options { special_pool: false, ..Options::default() });
    let _ = bench.run(right).take();
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_hundred_thousand_blocks_at_once_are_possible() {
    extern "win64" fn many(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let blocks: *mut *mut u8 = pool(100_000 * 8).cast();
        for index in 0..100_000 {
            // SAFETY: the table has a place for each block.
            unsafe { blocks.wrapping_add(index).write(pool(48)) };
        }
        for index in 0..100_000 {
            // SAFETY: the table has a place for each block, written above.
            ExFreePool(unsafe { blocks.wrapping_add(index).read() });
        }
        ExFreePool(blocks.cast());
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let bench = Bench::with(Options { special_blocks: 1000, ..Options::default() });
    assert_eq!(bench.run(many).take().status, NtStatus::SUCCESS);
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
    assert!(report.patterned > 98_000, "the report says how many had no pages of their own: {report}");
}

#[test]
fn a_leak_shows_at_unload_by_its_tag() {
    extern "win64" fn leak(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        pool(100);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::POOL_LEAK, &[leak]);
    let text = report(&[leak]).to_string();
    assert!(text.contains("'Test' 1 blocks, 100 bytes"), "{text}");
}

#[test]
fn a_block_is_not_freed_twice() {
    extern "win64" fn twice(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        let block = pool(100);
        ExFreePool(block);
        ExFreePool(block);
        0
    }
    breaks(&rules::DOUBLE_FREE, &[twice]);
}

#[test]
fn what_is_no_block_is_not_freed() {
    extern "win64" fn inside(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        ExFreePool(pool(100).wrapping_add(16));
        0
    }
    extern "win64" fn elsewhere(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        ExFreePool(std::ptr::from_ref(device).cast_mut().cast());
        0
    }
    extern "win64" fn stack(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        let mut local = 0_u64;
        ExFreePool((&raw mut local).cast());
        0
    }
    breaks(&rules::BAD_FREE, &[inside]);
    breaks(&rules::BAD_FREE, &[elsewhere]);
    breaks(&rules::BAD_FREE, &[stack]);
}

#[test]
fn a_block_is_freed_with_its_own_tag() {
    extern "win64" fn other(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        ExFreePoolWithTag(pool(100), TAG + 1);
        0
    }
    breaks(&rules::POOL_TAG, &[other]);
}

#[test]
fn pool_has_a_size_and_is_not_executable() {
    extern "win64" fn nothing(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        pool(0);
        0
    }
    extern "win64" fn executable(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        ExAllocatePoolWithTag(0, 16, TAG);
        0
    }
    breaks(&rules::ZERO_SIZE, &[nothing]);
    breaks(&rules::EXECUTABLE_POOL, &[executable]);
}

#[test]
fn freed_pool_is_not_touched() {
    extern "win64" fn late(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        let block = pool(100);
        ExFreePool(block);
        i32::from(peek(block, 8))
    }
    breaks(&rules::USE_AFTER_FREE, &[late]);
    let text = report(&[late]).to_string();
    assert!(text.contains("allocated by") && text.contains("freed by"), "{text}");
}

#[test]
fn nothing_is_touched_before_or_behind_a_block() {
    extern "win64" fn far(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        poke(pool(32), 32, 1);
        0
    }
    extern "win64" fn near(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        let block = pool(30);
        poke(block, 30, 1);
        ExFreePool(block);
        0
    }
    extern "win64" fn before(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        let block = pool(32);
        poke(block, -1, 1);
        ExFreePool(block);
        0
    }
    breaks(&rules::POOL_OVERRUN, &[far]);
    breaks(&rules::POOL_OVERRUN, &[near]);
    breaks(&rules::POOL_UNDERRUN, &[before]);
}

#[test]
fn patterns_find_what_pages_do_not() {
    extern "win64" fn beyond(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let block = pool(32);
        poke(block, 32, 1);
        ExFreePool(block);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let bench = Bench::with(Options { special_pool: false, ..Options::default() });
    let _ = bench.run(beyond).wait(Duration::from_millis(1));
    let report = bench.finish();
    assert_eq!(report.violations[0].rule, &rules::POOL_OVERRUN, "{report}");
}

#[test]
fn a_null_pointer_is_an_access_violation() {
    extern "win64" fn null(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        i32::from(peek(null_mut(), 8))
    }
    breaks(&rules::ACCESS_VIOLATION, &[null]);
}

#[test]
fn the_system_buffer_is_no_longer_than_the_request_said() {
    extern "win64" fn beyond(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
        i32::from(peek(irp(pointer).SystemBuffer.get().cast(), 16))
    }
    breaks(&rules::POOL_OVERRUN, &[beyond]);
}

#[test]
fn an_mdl_for_pool_is_built_and_freed() {
    extern "win64" fn right(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let block = pool(100);
        let mdl = IoAllocateMdl(block.cast(), 100, 0, 0, null_mut());
        MmBuildMdlForNonPagedPool(mdl);
        IoFreeMdl(mdl);
        ExFreePool(block);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn an_mdl_is_freed_once_and_not_if_it_is_the_io_managers() {
    extern "win64" fn twice(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        let block = pool(100);
        let mdl = IoAllocateMdl(block.cast(), 100, 0, 0, null_mut());
        IoFreeMdl(mdl);
        IoFreeMdl(mdl);
        0
    }
    breaks(&rules::BAD_MDL, &[twice]);
}

#[test]
fn an_mdl_does_not_reach_beyond_its_pool_block() {
    extern "win64" fn beyond(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        MmBuildMdlForNonPagedPool(IoAllocateMdl(pool(100).cast(), 101, 0, 0, null_mut()));
        0
    }
    breaks(&rules::BAD_MDL, &[beyond]);
}

#[test]
fn an_event_is_not_in_paged_pool() {
    extern "win64" fn paged(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KeInitializeEvent(ExAllocatePool2(POOL_FLAG_PAGED, 64, TAG).cast(), 0, 0);
        0
    }
    breaks(&rules::PAGED_OBJECT, &[paged]);
}

#[test]
fn a_bug_check_is_a_violation() {
    extern "win64" fn stop(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        KeBugCheckEx(0xdead_beef, 1, 2, 3, 4);
        0
    }
    breaks(&rules::BUG_CHECK, &[stop]);
}

#[test]
fn a_sequenced_list_gives_back_what_came_last() {
    extern "win64" fn right(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (head, a, b) = (pool(16), pool(32), pool(32));
        InitializeSListHead(head);
        assert_eq!(ExpInterlockedPushEntrySList(head, a), null_mut());
        assert_eq!(ExpInterlockedPushEntrySList(head, b), a);
        assert_eq!(ExQueryDepthSList(head), 2);
        assert_eq!(ExpInterlockedPopEntrySList(head), b);
        assert_eq!(ExpInterlockedPopEntrySList(head), a);
        assert_eq!(ExpInterlockedPopEntrySList(head), null_mut());
        for block in [head, a, b] {
            ExFreePool(block);
        }
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn a_kernel_stack_is_small() {
    extern "win64" fn large(_: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        #[expect(clippy::large_stack_arrays, reason = "that is the fault")]
        let bytes = [1_u8; 30_000];
        std::hint::black_box(&bytes);
        i32::from(KeGetCurrentIrql())
    }
    breaks(&rules::KERNEL_STACK, &[large]);
}

/// Paged pool that one routine leaves for another.
fn paged_block(device: &DEVICE_OBJECT) -> *mut u8 {
    extension(device).slot as *mut u8
}

extern "win64" fn allocate_paged(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    extension(device).slot = ExAllocatePool2(POOL_FLAG_PAGED, 100, TAG) as usize;
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn write_raised(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let before = KeAcquireSpinLockRaiseToDpc(&raw const extension(device).lock);
    // SAFETY: the block is live; at this IRQL it may be touched only when it is locked.
    unsafe { paged_block(device).write_volatile(1) };
    KeReleaseSpinLock(&raw const extension(device).lock, before);
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn write_between_raises(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    for _ in 0..3 {
        // SAFETY: the block is live, and the IRQL low.
        unsafe { paged_block(device).write_volatile(1) };
        let before = KfRaiseIrql(DISPATCH_LEVEL);
        KeLowerIrql(before);
    }
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn free_paged(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    ExFreePool(paged_block(device));
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn free_paged_raised(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    ExFreePool(paged_block(device));
    KeLowerIrql(before);
    complete(irp, NtStatus::SUCCESS, 0)
}

#[test]
fn paged_pool_is_not_there_at_dispatch_level() {
    breaks(&rules::PAGED_AT_DISPATCH, &[allocate_paged, write_raised]);
    breaks(&rules::IRQL_TOO_HIGH, &[allocate_paged, free_paged_raised]);
    passes(&[allocate_paged, write_between_raises, free_paged]);
}

#[test]
fn paged_pool_serves_many_threads_some_of_which_are_at_dispatch_level() {
    extern "win64" fn raise_often(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        for _ in 0..200 {
            let before = KeAcquireSpinLockRaiseToDpc(&raw const extension(device).lock);
            KeReleaseSpinLock(&raw const extension(device).lock, before);
        }
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn use_paged(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        for _ in 0..50 {
            let block = ExAllocatePool2(POOL_FLAG_PAGED, 5000, TAG);
            let last = block.wrapping_add(4999);
            // SAFETY: the block is live and that long.
            unsafe { last.write_volatile(1) };
            ExFreePool(block);
        }
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for routine in [raise_often as Routine, raise_often, use_paged, use_paged] {
            let bench = &bench;
            scope.spawn(move || (0..10).for_each(|_| drop(bench.run(routine).take())));
        }
    });
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
}
