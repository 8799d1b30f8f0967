//! Sends with an MDL whose pages nobody locked.

use crate::network::{Memory, client, lost_irp, start_send};
use crate::prelude::*;

client!(connection |socket, memory| {
    memory.buffer.mdl = IoAllocateMdl(memory.bytes, 4, 0, 0, null_mut()).cast();
    start_send(socket, &mut memory, lost_irp());
});
