//! Passes an IRP of its own whose completion routine is for success only.

use crate::network::{client, start_close};
use crate::prelude::*;
use wsk::sys;

client!(socket |socket| {
    let own = IoAllocateIrp(1, 0);
    on_completion(own, reclaim, null_mut(), INVOKE_ON_SUCCESS);
    start_close(socket, own);
});
