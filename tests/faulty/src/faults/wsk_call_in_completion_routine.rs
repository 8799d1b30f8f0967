//! Closes the socket in a completion routine.

use core::ffi::c_void;
use crate::network::{Memory, client, lost_irp, own_irp, start_close, start_send};
use crate::prelude::*;

extern "C" fn close_it(_: *mut DEVICE_OBJECT, _: *mut IRP, socket: *mut c_void) -> NTSTATUS {
    start_close(socket.cast(), lost_irp());
    MORE_PROCESSING_REQUIRED
}

client!(connection device, |socket, memory| {
    start_send(socket, &mut memory, own_irp(close_it, socket.cast()));
    let never = &raw mut state(device).event;
    KeInitializeEvent(never, 0, 0);
    wait(never);
});
