//! Passes an IRP to WSK that WSK has.

use crate::network::{Memory, own_irp, start_close, start_receive};
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    let mut memory = Memory::new(4);
    let own = own_irp(reclaim, null_mut());
    start_receive(socket, &mut memory, 0, own);
    start_close(socket, own);
    complete(irp, SUCCESS, 0)
}
