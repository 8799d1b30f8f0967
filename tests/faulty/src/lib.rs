//! Wrong drivers for the lab: one for each rule, all in one image.
//!
//! One idea: the name of the service that the image is started as says which driver it is. `DriverEntry` finds it in the
//! table of [`faults`] and makes a device that works but for that one fault.
#![no_std]

extern crate wdk_panic;

mod faults;
mod network;
mod prelude;
mod twins;

use core::slice;
use prelude::*;
use wdk_alloc::WdkAllocator;
use wdk_sys::{PCUNICODE_STRING, UNICODE_STRING};

/// What the `wsk` crate allocates from, if anything here has it do so.
#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

const DEVICE_NAME: [u16; 14] = utf16(br"\Device\Faulty");
const LINK_NAME: [u16; 10] = utf16(br"\??\Faulty");

const fn utf16<const N: usize>(text: &[u8; N]) -> [u16; N] {
    let (mut units, mut index) = ([0; N], 0);
    while index < N {
        units[index] = text[index] as u16;
        index += 1;
    }
    units
}

fn unicode(units: &'static [u16]) -> UNICODE_STRING {
    let bytes = u16::try_from(size_of_val(units)).unwrap_or(0);
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units.as_ptr().cast_mut() }
}

/// The driver whose name is the last part of the registry path.
fn chosen(registry_path: PCUNICODE_STRING) -> Option<&'static Fault> {
    // SAFETY: the I/O manager passes a valid string.
    let path = unsafe { &*registry_path };
    // SAFETY: the string's buffer has as many units as its length says.
    let units = unsafe { slice::from_raw_parts(path.Buffer, usize::from(path.Length / 2)) };
    let name = units.rsplit(|&unit| unit == u16::from(b'\\')).next()?;
    let named = |text: &str| name.iter().copied().eq(text.bytes().map(u16::from));
    faults::FAULTS.iter().chain(twins::TWINS).find(|(text, _)| named(text)).map(|(_, fault)| fault)
}

/// Makes the device of the driver that the service's name says.
///
/// # Safety
/// Called by the I/O manager, once, with the driver's own object.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    let Some(fault) = chosen(registry_path) else { return NOT_FOUND };
    let (mut name, mut link) = (unicode(&DEVICE_NAME), unicode(&LINK_NAME));
    let mut device = core::ptr::null_mut();
    let extension = u32::try_from(size_of::<State>()).unwrap_or(0);
    let status = IoCreateDevice(driver, extension, &raw mut name, 0x8000, 0, 0, &raw mut device);
    if status != SUCCESS {
        return status;
    }
    let status = IoCreateSymbolicLink(&raw mut link, &raw mut name);
    if status != SUCCESS {
        IoDeleteDevice(device);
        return status;
    }
    driver.MajorFunction[0x00] = Some(succeed);
    driver.MajorFunction[0x02] = Some(succeed);
    driver.MajorFunction[0x0e] = Some(fault.request);
    driver.MajorFunction[0x0f] = Some(keep);
    driver.MajorFunction[0x12] = Some(succeed);
    driver.DriverUnload = Some(fault.unload);
    SUCCESS
}

/// Completes what it gets: create, cleanup, close.
extern "C" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, SUCCESS, 0)
}

/// Stands for a lower driver that keeps what it gets.
extern "C" fn keep(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    mark_pending(irp)
}

fn delete_link() {
    let mut link = unicode(&LINK_NAME);
    IoDeleteSymbolicLink(&raw mut link);
}

/// A correct `DriverUnload`.
extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    delete_link();
    IoDeleteDevice(device_of(driver));
}
