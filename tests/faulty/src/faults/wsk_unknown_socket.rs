//! Calls a socket function on what is no socket.

use crate::network::{client, connection, lost_irp, start_close};
use crate::prelude::*;
use wsk::sys;

client!(socket |socket| {
    let mut copy = core::hint::black_box(sys::Socket { dispatch: core::ptr::from_ref(connection(socket)).cast() });
    start_close(&raw mut copy, lost_irp());
});
