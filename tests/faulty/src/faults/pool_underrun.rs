//! Writes in front of a pool block.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = pool(32);
    poke(block.wrapping_sub(1));
    ExFreePool(block);
    complete(irp, SUCCESS, 0)
}
