//! Sends with an MDL whose pages nobody locked.

use crate::network::{Memory, own_irp, start_send};
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    let mut memory = Memory::new(4);
    let mdl = IoAllocateMdl(memory.bytes, 4, 0, 0, null_mut());
    memory.buffer.mdl = mdl.cast();
    start_send(socket, &mut memory, own_irp(reclaim, null_mut()));
    complete(irp, SUCCESS, 0)
}
