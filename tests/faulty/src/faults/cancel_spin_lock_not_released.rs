//! Has a cancel routine that returns with the cancel spin lock.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    set_status(irp, CANCELLED, 0);
}

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    set_cancel(irp, Some(cancel));
    mark_pending(irp)
}
