//! Drains a connection into a buffer.

use crate::network::{Memory, client, lost_irp, start_receive};
use crate::prelude::*;
use wsk::sys;

client!(connection |socket, memory| {
    start_receive(socket, &mut memory, sys::FLAG_DRAIN, lost_irp());
});
