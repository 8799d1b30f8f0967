//! Queues, locks, lists and text that drivers stand on: lawful use passes, misuse is caught.

use std::ffi::c_void;
use std::ptr::null_mut;

use ntlab::nt::{DEVICE_OBJECT, IRP, UNICODE_STRING};
use ntlab::{NtStatus, rules};

use crate::bench::*;

ntlab::imports! {
    fn IoInitializeRemoveLockEx(lock: *mut c_void, tag: u32, minutes: u32, high: u32, size: u32);
    fn IoAcquireRemoveLockEx(lock: *mut c_void, tag: usize, file: usize, line: u32, size: u32) -> i32;
    fn IoReleaseRemoveLockEx(lock: *mut c_void, tag: usize, size: u32);
    fn IoReleaseRemoveLockAndWaitEx(lock: *mut c_void, tag: usize, size: u32);
    fn ExInitializeRundownProtection(rundown: *mut c_void);
    fn ExAcquireRundownProtection(rundown: *mut c_void) -> u8;
    fn ExReleaseRundownProtection(rundown: *mut c_void);
    fn ExWaitForRundownProtectionRelease(rundown: *mut c_void);
    fn ExInitializeResourceLite(resource: *mut c_void) -> i32;
    fn ExDeleteResourceLite(resource: *mut c_void) -> i32;
    fn ExAcquireResourceExclusiveLite(resource: *mut c_void, wait: u8) -> u8;
    fn ExAcquireResourceSharedLite(resource: *mut c_void, wait: u8) -> u8;
    fn ExReleaseResourceLite(resource: *mut c_void);
    fn KeInitializeMutex(mutex: *mut c_void, level: u32);
    fn KeReleaseMutex(mutex: *mut c_void, increment: i32, wait: u8) -> i32;
    fn KeReadStateMutex(mutex: *mut c_void) -> i32;
    fn ExAcquireSpinLockShared(lock: *mut c_void) -> u8;
    fn ExAcquireSpinLockSharedAtDpcLevel(lock: *mut c_void);
    fn ExReleaseSpinLockSharedFromDpcLevel(lock: *mut c_void);
    fn ExReleaseSpinLockShared(lock: *mut c_void, irql: u8);
    fn ExAcquireSpinLockExclusive(lock: *mut c_void) -> u8;
    fn ExReleaseSpinLockExclusive(lock: *mut c_void, irql: u8);
    fn ExAcquireFastMutex(mutex: *mut c_void);
    fn ExReleaseFastMutex(mutex: *mut c_void);
    fn ExInitializeLookasideListEx(list: *mut c_void, allocate: usize, free: usize, kind: u32, flags: u32, size: usize,
        tag: u32, depth: u16) -> i32;
    fn ExDeleteLookasideListEx(list: *mut c_void);
    fn MmGetSystemRoutineAddress(name: *const UNICODE_STRING) -> usize;
    fn RtlAnsiStringToUnicodeString(to: *mut UNICODE_STRING, from: *const c_void, make: u8) -> i32;
    fn RtlFreeUnicodeString(string: *mut UNICODE_STRING);
    fn RtlInitAnsiString(string: *mut c_void, text: *const u8);
    fn _snprintf(buffer: *mut u8, count: usize, format: *const u8, a: usize, b: usize, c: usize, d: usize) -> i32;
    fn _vsnwprintf(buffer: *mut u16, count: usize, format: *const u16, list: *const usize) -> i32;
}

/// Memory for an object of the kernel's, aligned as any may be.
#[repr(C, align(16))]
struct Memory([u8; 256]);

impl Memory {
    fn new() -> Self {
        Self([0; 256])
    }

    fn address(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }
}

#[test]
fn a_removed_device_is_not_acquired_again() {
    extern "win64" fn right(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut memory = Memory::new();
        let lock = memory.address();
        IoInitializeRemoveLockEx(lock, TAG, 0, 0, 32);
        assert_eq!(IoAcquireRemoveLockEx(lock, 0, 0, 0, 32), 0);
        assert_eq!(IoAcquireRemoveLockEx(lock, 0, 0, 0, 32), 0);
        IoReleaseRemoveLockEx(lock, 0, 32);
        IoReleaseRemoveLockAndWaitEx(lock, 0, 32);
        assert_eq!(NtStatus(IoAcquireRemoveLockEx(lock, 0, 0, 0, 32)), NtStatus::DELETE_PENDING);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn too_often(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut memory = Memory::new();
        IoInitializeRemoveLockEx(memory.address(), TAG, 0, 0, 32);
        IoReleaseRemoveLockEx(memory.address(), 0, 32);
        IoReleaseRemoveLockEx(memory.address(), 0, 32);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
    breaks(&rules::BAD_OBJECT, &[too_often]);
}

#[test]
fn what_is_run_down_is_not_acquired_again() {
    extern "win64" fn right(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut memory = Memory::new();
        let rundown = memory.address();
        ExInitializeRundownProtection(rundown);
        assert_eq!(ExAcquireRundownProtection(rundown), 1);
        ExReleaseRundownProtection(rundown);
        ExWaitForRundownProtectionRelease(rundown);
        assert_eq!(ExAcquireRundownProtection(rundown), 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
}

#[test]
fn mutexes_and_resources_belong_to_their_thread() {
    extern "win64" fn right(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let (mut mutex, mut resource) = (Memory::new(), Memory::new());
        let (mutex, resource) = (mutex.address(), resource.address());
        KeInitializeMutex(mutex, 0);
        for _ in 0..2 {
            assert_eq!(KeWaitForSingleObject(mutex, 0, 0, 0, std::ptr::null()), 0);
        }
        assert_eq!(KeReadStateMutex(mutex), -1);
        KeReleaseMutex(mutex, 0, 0);
        KeReleaseMutex(mutex, 0, 0);
        assert_eq!(KeReadStateMutex(mutex), 1);
        assert_eq!(ExInitializeResourceLite(resource), 0);
        assert_eq!(ExAcquireResourceExclusiveLite(resource, 1), 1);
        assert_eq!(ExAcquireResourceSharedLite(resource, 1), 1);
        ExReleaseResourceLite(resource);
        ExReleaseResourceLite(resource);
        ExDeleteResourceLite(resource);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn not_owned(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut memory = Memory::new();
        KeInitializeMutex(memory.address(), 0);
        KeReleaseMutex(memory.address(), 0, 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
    breaks(&rules::LOCK_NOT_OWNED, &[not_owned]);
}

#[test]
fn a_shared_spin_lock_has_many_readers_or_one_writer() {
    extern "win64" fn right(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut memory = Memory::new();
        let lock = memory.address();
        let before = ExAcquireSpinLockShared(lock);
        ExAcquireSpinLockSharedAtDpcLevel(lock);
        assert_eq!(KeGetCurrentIrql(), DISPATCH_LEVEL);
        ExReleaseSpinLockSharedFromDpcLevel(lock);
        ExReleaseSpinLockShared(lock, before);
        let before = ExAcquireSpinLockExclusive(lock);
        ExReleaseSpinLockExclusive(lock, before);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn the_other_way(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut memory = Memory::new();
        let before = ExAcquireSpinLockShared(memory.address());
        ExReleaseSpinLockExclusive(memory.address(), before);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right]);
    breaks(&rules::LOCK_NOT_OWNED, &[the_other_way]);
}

#[test]
fn a_fast_mutex_is_held_at_apc_level_and_taken_once() {
    extern "win64" fn twice(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut memory = Memory::new();
        memory.0[0] = 1; // ExInitializeFastMutex is inline: a count of one, an event
        // SAFETY: the event lies 24 bytes into the mutex.
        let event = unsafe { memory.address().byte_add(24) };
        // SAFETY: the event is inside the memory, and zeros are one.
        let event = unsafe { &*event.cast() };
        KeInitializeEvent(event, 1, 0);
        ExAcquireFastMutex(memory.address());
        assert_eq!(KeGetCurrentIrql(), 1);
        ExReleaseFastMutex(memory.address());
        assert_eq!(KeGetCurrentIrql(), 0);
        ExAcquireFastMutex(memory.address());
        ExAcquireFastMutex(memory.address());
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::RECURSIVE_LOCK, &[twice]);
}

#[test]
fn a_lookaside_list_is_deleted_before_unload() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let list = ExAllocatePool2(POOL_FLAG_NON_PAGED, 128, TAG).cast();
        extension(device).slot = list as usize;
        assert_eq!(ExInitializeLookasideListEx(list, 0, 0, 512, 0, 64, TAG, 0), 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn delete(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        ExDeleteLookasideListEx(extension(device).slot as *mut c_void);
        ExFreePool(extension(device).slot as *mut u8);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[right, delete]);
    breaks(&rules::LIVE_AT_UNLOAD, &[right]);
}

#[test]
fn routines_are_found_by_name_and_text_is_formatted_as_in_c() {
    extern "win64" fn ask(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let known: Vec<u16> = "KeSetEvent".encode_utf16().collect();
        let unknown: Vec<u16> = "KeNoSuchRoutine".encode_utf16().collect();
        assert_ne!(MmGetSystemRoutineAddress(&unicode(&known)), 0);
        assert_eq!(MmGetSystemRoutineAddress(&unicode(&unknown)), 0);
        let mut buffer = [0_u8; 32];
        let text = c"xy".as_ptr() as usize;
        let length =
            _snprintf(buffer.as_mut_ptr(), 32, c"%5d|%-4s|%04x|%u".as_ptr().cast(), usize::MAX - 6, text, 0x2a, 7);
        assert_eq!(&buffer[..19], b"   -7|xy  |002a|7\0\0");
        assert_eq!(length, 17);
        assert_eq!(_snprintf(buffer.as_mut_ptr(), 2, c"%d".as_ptr().cast(), 1234, 0, 0, 0), -1);
        let format: Vec<u16> = "%s%08llX\0".encode_utf16().collect();
        let word: Vec<u16> = "ab\0".encode_utf16().collect();
        let mut wide = [0_u16; 16];
        let list = [word.as_ptr() as usize, 0xfeed];
        assert_eq!(_vsnwprintf(wide.as_mut_ptr(), 16, format.as_ptr(), list.as_ptr()), 10);
        assert_eq!(String::from_utf16_lossy(&wide[..10]), "ab0000FEED");
        let (mut ansi, mut string) =
            (Memory::new(), UNICODE_STRING { Length: 0, MaximumLength: 0, Buffer: null_mut() });
        RtlInitAnsiString(ansi.address(), c"name".as_ptr().cast());
        assert_eq!(RtlAnsiStringToUnicodeString(&raw mut string, ansi.address(), 1), 0);
        // SAFETY: the conversion succeeded.
        assert_eq!(unsafe { string.text() }, "name");
        RtlFreeUnicodeString(&raw mut string);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[ask]);
}
