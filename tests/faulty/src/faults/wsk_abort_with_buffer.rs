//! Sends last words with an abortive disconnect.

use crate::network::{Memory, client, lost_irp, start_disconnect};
use crate::prelude::*;
use wsk::sys;

client!(connection |socket, memory| {
    start_disconnect(socket, &raw mut memory.buffer, sys::FLAG_ABORTIVE, lost_irp());
});
