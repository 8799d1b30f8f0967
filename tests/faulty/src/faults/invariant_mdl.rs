//! Writes to the memory that a process wants sent.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if step(irp) == DIRECT {
        poke(mapped(irp));
    }
    complete(irp, SUCCESS, 0)
}
