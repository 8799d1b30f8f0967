//! Has an event in paged pool.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = ExAllocatePool2(PAGED, 64, TAG);
    KeInitializeEvent(block.cast(), 0, 0);
    ExFreePool(block);
    complete(irp, SUCCESS, 0)
}
