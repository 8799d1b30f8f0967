//! Completes an IRP without a status of its own.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    mark_pending(irp);
    complete(irp, PENDING, 0)
}
