//! Routines that some systems export and others lack: looked for when the driver starts, so that it loads on all of them.

use core::ptr::NonNull;
use wdk_sys::{UNICODE_STRING, ntddk};
use wsk::Passive;

/// The longest name that is looked for, in characters.
const LONGEST: usize = 40;

/// The address of the kernel's routine of that ASCII name (`MmGetSystemRoutineAddress`); none if it exports no such one.
pub fn routine(name: &str, _: Passive) -> Option<NonNull<()>> {
    let mut units = [0_u16; LONGEST];
    for (unit, byte) in units.iter_mut().zip(name.bytes()) {
        *unit = byte.into();
    }
    let length = u16::try_from(name.len().min(LONGEST) * size_of::<u16>()).ok()?;
    let mut name = UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() };
    // SAFETY: PASSIVE_LEVEL by the token; the name is alive during the call.
    NonNull::new(unsafe { ntddk::MmGetSystemRoutineAddress(&raw mut name) }.cast())
}
