//! Recurses until the kernel stack is used up.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

#[inline(never)]
fn deep(levels: usize) -> u8 {
    let room = core::hint::black_box([0_u8; 1024]);
    if levels == 0 {
        return KeGetCurrentIrql();
    }
    deep(levels - 1) + room[levels]
}

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    deep(40);
    complete(irp, SUCCESS, 0)
}
