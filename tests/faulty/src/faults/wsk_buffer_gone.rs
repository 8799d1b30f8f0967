//! Sends from pool that it has freed.

use crate::network::{Memory, client, lost_irp, start_send};
use crate::prelude::*;

client!(connection |socket, memory| {
    ExFreePool(memory.bytes);
    start_send(socket, &mut memory, lost_irp());
});
