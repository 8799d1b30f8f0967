//! What the `wsk` crate's safe layer promises, tried from inside a driver.
//!
//! One idea: the name of the service that the image is started as says which case `DriverEntry` tries. It answers success if all
//! is as the crate says; if not, it prints where.
#![no_std]

extern crate wdk_panic;

mod cases;
mod failure;
mod network;

use core::slice;
use failure::Failure;
use network::Network;
use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING};
use wsk::Passive;

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// A case.
type Case = fn(&Network) -> Result<(), Failure>;

/// The case whose name is the last part of the registry path.
///
/// # Safety
/// The path is valid.
unsafe fn chosen(registry_path: PCUNICODE_STRING) -> Option<Case> {
    // SAFETY: the caller's promise.
    let path = unsafe { &*registry_path };
    // SAFETY: the buffer of a valid path (the caller's promise) is as long as it says.
    let units = unsafe { slice::from_raw_parts(path.Buffer, usize::from(path.Length / 2)) };
    let name = units.rsplit(|&unit| unit == u16::from(b'\\')).next()?;
    let named = |text: &str| name.iter().copied().eq(text.bytes().map(u16::from));
    cases::CASES.iter().find(|(text, _)| named(text)).map(|&(_, case)| case)
}

/// Tries a case. The driver stays loaded, with nothing of it left, if that succeeds.
///
/// # Safety
/// Called by the I/O manager, once, with the driver's own object.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    const NOT_FOUND: NTSTATUS = 0xC000_0225_u32.cast_signed();
    // SAFETY: the I/O manager calls DriverEntry at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the I/O manager's path.
    let Some(case) = (unsafe { chosen(registry_path) }) else { return NOT_FOUND };
    driver.DriverUnload = Some(unload);
    match Network::with(case, passive) {
        Ok(()) => 0,
        Err(failure) => failure.tell(),
    }
}

/// There is nothing to give back.
unsafe extern "C" fn unload(_driver: *mut DRIVER_OBJECT) {}
