//! Unloads and leaves its ETW provider registered.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, unload };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if step(irp) == 0 {
        EtwRegister(&PROVIDER, null_mut(), null_mut(), &mut state(device).trace);
    }
    complete(irp, SUCCESS, 0)
}

extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    state(device_of(driver)).trace = 0;
    crate::unload(driver);
}
