//! Drains a connection into a buffer.

use crate::network::{Memory, own_irp, start_receive};
use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    let mut memory = Memory::new(4);
    start_receive(socket, &mut memory, sys::FLAG_DRAIN, own_irp(reclaim, null_mut()));
    complete(irp, SUCCESS, 0)
}
