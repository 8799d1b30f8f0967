//! Drops a reference to what is no object.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = pool(64);
    ObfDereferenceObject(block.cast());
    ExFreePool(block);
    complete(irp, SUCCESS, 0)
}
