//! Closes a socket in its own callback.

use core::ffi::c_void;
use crate::network::{own_irp, send_some, start_close};
use crate::prelude::*;
use wsk::sys;

pub const FAULT: Fault = Fault { request, ..CORRECT };

static CALLBACKS: sys::ClientConnectionDispatch = sys::ClientConnectionDispatch {
    receive_event: Some(received),
    disconnect_event: None,
    send_backlog_event: None,
};

unsafe extern "win64" fn received(
    context: *mut c_void,
    _: u32,
    _: *mut sys::DataIndication,
    _: usize,
    _: *mut usize,
) -> NTSTATUS {
    // SAFETY: the context is the device's state.
    let state = unsafe { &mut *context.cast::<State>() };
    start_close(state.slot as *mut sys::Socket, own_irp(reclaim, null_mut()));
    KeSetEvent(&raw mut state.event, 0, 0);
    SUCCESS
}

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let state = state(device);
    KeInitializeEvent(&raw mut state.event, 0, 0);
    state.network.start();
    let context: *mut State = state;
    let (socket, peer) = state.network.indicated(context.cast(), &CALLBACKS);
    state.slot = socket as usize;
    send_some(peer);
    wait(&raw mut state.event);
    complete(irp, SUCCESS, 0)
}
