//! Closes a socket without an IRP.

use crate::network::{client, start_close};
use crate::prelude::*;
use wsk::sys;

client!(socket |socket| {
    start_close(socket, null_mut());
});
