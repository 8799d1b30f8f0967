//! Completes an IRP that it has allocated itself.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(IoAllocateIrp(1, 0), SUCCESS, 0);
    complete(irp, SUCCESS, 0)
}
