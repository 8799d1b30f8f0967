//! Frees an MDL twice.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = pool(100);
    let mdl = IoAllocateMdl(block, 100, 0, 0, null_mut());
    IoFreeMdl(mdl);
    IoFreeMdl(mdl);
    complete(irp, SUCCESS, 0)
}
