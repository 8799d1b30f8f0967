//! Closes a socket in its own callback.

use core::ffi::c_void;
use crate::network::{indicated, lost_irp, send_some, start_close, told};
use crate::prelude::*;
use wsk::sys;

unsafe extern "win64" fn received(
    context: *mut c_void,
    _: u32,
    _: *mut sys::DataIndication,
    _: usize,
    _: *mut usize,
) -> NTSTATUS {
    let socket = told(context);
    start_close(socket, lost_irp());
    SUCCESS
}

indicated!(received, |state, _socket| {
    KeInitializeEvent(&raw mut state.other_event, 0, 0);
    wait(&raw mut state.other_event);
});
