//! Fails an IRP, and returns success.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, UNSUCCESSFUL, 0);
    SUCCESS
}
