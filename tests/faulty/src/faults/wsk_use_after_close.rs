//! Sends on a socket that it has closed.

use crate::network::{Memory, close, own_irp, start_send};
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    close(socket);
    let mut memory = Memory::new(4);
    start_send(socket, &mut memory, own_irp(reclaim, null_mut()));
    complete(irp, SUCCESS, 0)
}
