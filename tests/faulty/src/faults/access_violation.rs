//! Reads through a null pointer.

use core::ptr::null;
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    peek(null::<u8>().wrapping_add(8));
    complete(irp, SUCCESS, 0)
}
