//! Waits in its dispatch routine for what never comes.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let event = &raw mut state(device).event;
    KeInitializeEvent(event, 0, 0);
    wait(event);
    complete(irp, SUCCESS, 0)
}
