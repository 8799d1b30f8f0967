//! Sends last words with an abortive disconnect.

use crate::network::{Memory, own_irp, start_disconnect};
use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    let mut memory = Memory::new(4);
    start_disconnect(socket, &raw mut memory.buffer, sys::FLAG_ABORTIVE, own_irp(reclaim, null_mut()));
    complete(irp, SUCCESS, 0)
}
