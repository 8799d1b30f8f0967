//! Sends on a socket that it has closed.

use crate::network::{Memory, client, close, lost_irp, start_send};
use crate::prelude::*;

client!(connection |socket, memory| {
    close(socket);
    start_send(socket, &mut memory, lost_irp());
});
