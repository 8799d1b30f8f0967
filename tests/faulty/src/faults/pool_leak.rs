//! Allocates pool and forgets it.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    ExAllocatePoolWithTag(NON_PAGED_NX, 100, TAG);
    complete(irp, SUCCESS, 0)
}
