//! Objects, references, names and security.

use std::ffi::c_void;

use ntlab::nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, UNICODE_STRING};
use ntlab::{Machine, NtStatus, Options, Stop, Token, rules};

use crate::bench::*;

ntlab::imports! {
    fn ObfReferenceObject(object: *mut c_void) -> i64;
    fn ObfDereferenceObject(object: *mut c_void) -> i64;
    fn ObOpenObjectByPointer(object: *mut c_void, attributes: u32, state: usize, access: u32, kind: usize, mode: i8,
        handle: *mut usize) -> i32;
    fn ZwSetSecurityObject(handle: usize, information: u32, descriptor: *const c_void) -> i32;
    fn ZwClose(handle: usize) -> i32;
    fn IoGetRequestorProcessId(irp: *mut IRP) -> u32;
    fn IoGetRequestorProcess(irp: *mut IRP) -> *mut c_void;
    fn PsGetCurrentProcessId() -> usize;
    fn PsGetProcessId(process: *mut c_void) -> usize;
}

/// Grants `GENERIC_ALL` to SYSTEM and to administrators, self-relative.
fn descriptor() -> [u8; 72] {
    let mut bytes = [0; 72];
    bytes[..4].copy_from_slice(&[1, 0, 0x04, 0x80]);
    bytes[16] = 20;
    bytes[20..28].copy_from_slice(&[2, 0, 52, 0, 2, 0, 0, 0]);
    bytes[28..36].copy_from_slice(&[0, 0, 20, 0, 0, 0, 0, 0x10]);
    bytes[36..48].copy_from_slice(&[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]);
    bytes[48..56].copy_from_slice(&[0, 0, 24, 0, 0, 0, 0, 0x10]);
    bytes[56..72].copy_from_slice(&[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0]);
    bytes
}

#[test]
fn a_device_admits_whom_its_dacl_names() {
    extern "win64" fn protect(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let mut handle = 0;
        let object = std::ptr::from_ref(device).cast_mut().cast();
        assert_eq!(ObOpenObjectByPointer(object, 0x200, 0, 0x0004_0000, 0, 0, &raw mut handle), 0);
        let descriptor = descriptor();
        assert_eq!(ZwSetSecurityObject(handle, 4, (&raw const descriptor).cast()), 0);
        assert_eq!(ZwClose(handle), 0);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    let bench = Bench::new();
    assert!(bench.machine.process_as(Token::User).open(r"\\.\Bench").is_ok(), "without a DACL everybody may");
    let _ = bench.run(protect).take();
    assert_eq!(bench.machine.process_as(Token::User).open(r"\\.\Bench").err(), Some(NtStatus::ACCESS_DENIED));
    for token in [Token::System, Token::Administrator] {
        assert!(bench.machine.process_as(token).open(r"\\.\bench").is_ok());
    }
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_driver_runs_in_the_context_of_the_process_that_asks() {
    extern "win64" fn ask(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let id = PsGetCurrentProcessId();
        assert_eq!(id, IoGetRequestorProcessId(irp) as usize);
        assert_eq!(id, PsGetProcessId(IoGetRequestorProcess(irp)));
        // SAFETY: the system buffer has 16 bytes.
        unsafe { crate::bench::irp(irp).SystemBuffer.get().cast::<usize>().write(id) };
        complete(irp, NtStatus::SUCCESS, 8)
    }
    let bench = Bench::new();
    let output = bench.run(ask).take().output;
    assert_eq!(output, u64::from(bench.process.id()).to_le_bytes());
    let report = bench.finish();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn references_are_given_back_as_often_as_taken() {
    extern "win64" fn right(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let object = std::ptr::from_ref(device).cast_mut().cast();
        ObfReferenceObject(object);
        ObfDereferenceObject(object);
        complete(irp, NtStatus::SUCCESS, 0)
    }
    extern "win64" fn too_often(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        ObfDereferenceObject(std::ptr::from_ref(device).cast_mut().cast());
        0
    }
    extern "win64" fn nothing(device: &DEVICE_OBJECT, _: *mut IRP) -> i32 {
        ObfReferenceObject(device.DeviceExtension.get());
        0
    }
    passes(&[right]);
    breaks(&rules::BAD_OBJECT, &[too_often]);
    breaks(&rules::BAD_OBJECT, &[nothing]);
}

#[test]
fn a_reference_that_is_kept_is_caught_at_unload() {
    extern "win64" fn keep(device: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        ObfReferenceObject(std::ptr::from_ref(device).cast_mut().cast());
        complete(irp, NtStatus::SUCCESS, 0)
    }
    breaks(&rules::LIVE_AT_UNLOAD, &[keep]);
}

#[test]
fn a_name_is_given_once() {
    extern "win64" fn again(_: &DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        let name: Vec<u16> = r"\??\BENCH".encode_utf16().collect();
        let string = unicode(&name);
        assert_eq!(
            NtStatus(IoCreateSymbolicLink(&raw const string, &raw const string)),
            NtStatus::OBJECT_NAME_COLLISION
        );
        complete(irp, NtStatus::SUCCESS, 0)
    }
    passes(&[again]);
}

extern "win64" fn fails_dirty(driver: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> i32 {
    entry(driver, path);
    NtStatus::INSUFFICIENT_RESOURCES.0
}

extern "win64" fn fails_clean(_: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> i32 {
    // SAFETY: the kernel passes a registry path.
    let path = unsafe { &*path };
    // SAFETY: it is a valid string.
    let path = unsafe { path.text() };
    assert_eq!(path, r"\Registry\Machine\System\CurrentControlSet\Services\builtin");
    NtStatus::INSUFFICIENT_RESOURCES.0
}

#[test]
fn a_driver_entry_that_fails_has_undone_everything() {
    let machine = Machine::new(Options::default());
    let driver = machine.load_builtin(fails_clean);
    assert!(matches!(driver.start(), Err(Stop::Status(NtStatus::INSUFFICIENT_RESOURCES))));
    assert!(machine.finish().is_clean());

    let machine = Machine::new(Options::default());
    let stop = machine.load_builtin(fails_dirty).start();
    assert!(matches!(stop, Err(Stop::Violation(violation)) if violation.rule == &rules::LINK_LIVE));
    assert!(!machine.finish().is_clean());
}
