//! Unloads with a timer that is set.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if step(irp) == 0 {
        let timer = &raw mut state(device).timer;
        KeInitializeTimer(timer);
        KeSetTimer(timer, -600_000_000, null_mut());
    }
    complete(irp, SUCCESS, 0)
}
