//! Makes a socket after it released the provider.

use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    network.release();
    network.socket(sys::FLAG_CONNECTION_SOCKET);
    complete(irp, SUCCESS, 0)
}
