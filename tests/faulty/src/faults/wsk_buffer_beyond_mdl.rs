//! Sends more bytes than the MDL describes.

use crate::network::{Memory, client, lost_irp, start_send};
use crate::prelude::*;

client!(connection |socket, memory| {
    memory.buffer.length = 5;
    start_send(socket, &mut memory, lost_irp());
});
