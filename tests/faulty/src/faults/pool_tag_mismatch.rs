//! Frees pool with another tag than its own.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    ExFreePoolWithTag(pool(100), TAG + 1);
    complete(irp, SUCCESS, 0)
}
