//! Allocates pool that can be executed.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    ExFreePool(ExAllocatePoolWithTag(0, 16, TAG));
    complete(irp, SUCCESS, 0)
}
