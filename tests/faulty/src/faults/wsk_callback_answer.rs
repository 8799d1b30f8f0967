//! Answers an indication with an error.

use core::ffi::c_void;
use crate::network::send_some;
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
    KeSetEvent(&raw mut state.event, 0, 0);
    UNSUCCESSFUL
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
    // The callback is still to return; nobody sets this event.
    KeInitializeEvent(&raw mut state.other_event, 0, 0);
    wait(&raw mut state.other_event);
    complete(irp, SUCCESS, 0)
}
