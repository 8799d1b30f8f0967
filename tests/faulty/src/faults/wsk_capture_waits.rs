//! Waits for the provider without a limit in its dispatch routine.

use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.register();
    network.capture(sys::INFINITE_WAIT);
    complete(irp, SUCCESS, 0)
}
