//! Closes a socket of which it retains received data.

use core::ffi::c_void;
use crate::network::{close, indicated, send_some, told};
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
    PENDING
}

indicated!(received, |state, socket| {
    close(socket);
});
