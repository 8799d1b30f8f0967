//! Completes an IRP, and returns `STATUS_PENDING`.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, SUCCESS, 0);
    PENDING
}
