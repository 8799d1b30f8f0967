//! Closes a socket without an IRP.

use crate::network::start_close;
use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let socket = network.socket(sys::FLAG_CONNECTION_SOCKET);
    start_close(socket, null_mut());
    complete(irp, SUCCESS, 0)
}
