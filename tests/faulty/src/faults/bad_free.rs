//! Frees what lies inside a pool block.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    ExFreePool(pool(100).wrapping_add(16));
    complete(irp, SUCCESS, 0)
}
