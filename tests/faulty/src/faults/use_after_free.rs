//! Reads pool that it has freed.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = pool(100);
    ExFreePool(block);
    peek(block);
    complete(irp, SUCCESS, 0)
}
