//! Passes an IRP to WSK that WSK has.

use crate::network::{Memory, client, lost_irp, start_close, start_receive};
use crate::prelude::*;

client!(connection |socket, memory| {
    let own = lost_irp();
    start_receive(socket, &mut memory, 0, own);
    start_close(socket, own);
});
