//! Deregisters a block that was never registered.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    state(device).network.deregister();
    complete(irp, SUCCESS, 0)
}
