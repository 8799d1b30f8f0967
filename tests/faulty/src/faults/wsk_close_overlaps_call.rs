//! Closes a socket while another thread is inside a send on it.

use core::ffi::c_void;
use crate::network::{Memory, lost_irp, own_irp, start_close, start_send};
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

/// The send's completion routine, which is inside the send: has the other thread close the socket.
extern "C" fn hand_over(_: *mut DEVICE_OBJECT, _: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the device's state.
    let state = unsafe { &mut *context.cast::<State>() };
    KeSetEvent(&raw mut state.event, 0, 0);
    wait(&raw mut state.other_event);
    MORE_PROCESSING_REQUIRED
}

extern "C" fn closer(context: *mut c_void) {
    // SAFETY: the context is the device's state.
    let state = unsafe { &mut *context.cast::<State>() };
    wait(&raw mut state.event);
    start_close(state.slot as *mut wsk::sys::Socket, lost_irp());
    KeSetEvent(&raw mut state.other_event, 0, 0);
}

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, _) = network.connection();
    let state = state(device);
    state.slot = socket as usize;
    KeInitializeEvent(&raw mut state.event, 0, 0);
    KeInitializeEvent(&raw mut state.other_event, 0, 0);
    let context: *mut State = state;
    let thread = start_thread(closer, context.cast());
    let mut memory = Memory::new(4);
    start_send(socket, &mut memory, own_irp(hand_over, context.cast()));
    ZwClose(thread);
    complete(irp, SUCCESS, 0)
}
