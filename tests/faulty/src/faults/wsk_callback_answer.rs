//! Answers an indication with an error.

use core::ffi::c_void;
use crate::network::{indicated, send_some, told};
use crate::prelude::*;
use wsk::sys;

unsafe extern "win64" fn received(
    context: *mut c_void,
    _: u32,
    _: *mut sys::DataIndication,
    _: usize,
    _: *mut usize,
) -> NTSTATUS {
    told(context);
    UNSUCCESSFUL
}

indicated!(received, |state, _socket| {
    // The callback is still to return; nobody sets this event.
    KeInitializeEvent(&raw mut state.other_event, 0, 0);
    wait(&raw mut state.other_event);
});
