//! Closes the socket in a completion routine.

use core::ffi::c_void;
use crate::network::{Memory, own_irp, start_close, start_send};
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn close_it(_: *mut DEVICE_OBJECT, _: *mut IRP, socket: *mut c_void) -> NTSTATUS {
    start_close(socket.cast(), own_irp(reclaim, null_mut()));
    MORE_PROCESSING_REQUIRED
}

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    let mut memory = Memory::new(4);
    start_send(socket, &mut memory, own_irp(close_it, socket.cast()));
    let never = &raw mut state(device).event;
    KeInitializeEvent(never, 0, 0);
    wait(never);
    complete(irp, SUCCESS, 0)
}
