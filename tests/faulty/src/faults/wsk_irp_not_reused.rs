//! Passes an IRP of its own to WSK again as it came back.

use crate::network::{Memory, client, lost_irp, start_send};
use crate::prelude::*;

client!(connection |socket, memory| {
    let own = lost_irp();
    start_send(socket, &mut memory, own);
    on_completion(own, reclaim, null_mut(), INVOKE_ALWAYS);
    start_send(socket, &mut memory, own);
});
