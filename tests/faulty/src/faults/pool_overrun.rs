//! Writes behind the end of a pool block.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = pool(32);
    poke(block.wrapping_add(32));
    ExFreePool(block);
    complete(irp, SUCCESS, 0)
}
