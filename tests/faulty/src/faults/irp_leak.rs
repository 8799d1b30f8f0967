//! Allocates an IRP and forgets it.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    IoAllocateIrp(1, 0);
    complete(irp, SUCCESS, 0)
}
