//! Frees pool, and frees it again.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = pool(100);
    ExFreePool(block);
    ExFreePool(block);
    complete(irp, SUCCESS, 0)
}
