//! Keeps a request that cannot be cancelled.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    mark_pending(irp)
}
