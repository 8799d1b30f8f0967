//! Reuses an IRP of the I/O manager.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    IoReuseIrp(irp, SUCCESS);
    complete(irp, SUCCESS, 0)
}
