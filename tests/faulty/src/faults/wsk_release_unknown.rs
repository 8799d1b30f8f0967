//! Releases received data that it does not retain.

use crate::network::release;
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    release(socket, null_mut());
    complete(irp, SUCCESS, 0)
}
