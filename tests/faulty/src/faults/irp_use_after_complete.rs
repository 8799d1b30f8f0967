//! Writes to an IRP that it has completed.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, SUCCESS, 0);
    set_status(irp, CANCELLED, 0);
    SUCCESS
}
