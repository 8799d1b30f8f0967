//! Calls a socket function on what is no socket.

use crate::network::{connection, own_irp, start_close};
use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let socket = network.socket(sys::FLAG_CONNECTION_SOCKET);
    let mut copy = core::hint::black_box(sys::Socket { dispatch: core::ptr::from_ref(connection(socket)).cast() });
    start_close(&raw mut copy, own_irp(reclaim, null_mut()));
    complete(irp, SUCCESS, 0)
}
