//! Unloads and leaves its registration.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, unload };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if step(irp) == 0 {
        state(device).network.start();
    }
    complete(irp, SUCCESS, 0)
}

extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    KeFlushQueuedDpcs();
    crate::unload(driver);
}
