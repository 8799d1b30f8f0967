//! Completes an IRP and leaves its cancel routine in it.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn cancel(_: *mut DEVICE_OBJECT, _: *mut IRP) {}

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    set_cancel(irp, Some(cancel));
    complete(irp, SUCCESS, 0)
}
