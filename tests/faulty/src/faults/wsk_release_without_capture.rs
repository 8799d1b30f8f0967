//! Releases the provider once more than it captured it.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    network.release();
    network.release();
    complete(irp, SUCCESS, 0)
}
