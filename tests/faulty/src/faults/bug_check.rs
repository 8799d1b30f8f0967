//! Stops the system when it does not know what to do.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, _: *mut IRP) -> NTSTATUS {
    KeBugCheckEx(0xe2, 1, 2, 3, 4)
}
