//! Passes an IRP of its own whose completion routine is for success only.

use crate::network::start_close;
use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let socket = network.socket(sys::FLAG_CONNECTION_SOCKET);
    let own = IoAllocateIrp(1, 0);
    on_completion(own, reclaim, null_mut(), 0x40);
    start_close(socket, own);
    complete(irp, SUCCESS, 0)
}
