//! Marks an IRP pending, and returns another status.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    mark_pending(irp);
    complete(irp, SUCCESS, 0)
}
