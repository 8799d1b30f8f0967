//! Closes a socket of which it retains received data.

use crate::network::{close, indicated, send_some, told};
use crate::prelude::*;
use wsk::sys;

indicated!(|context| {
    told(context);
    PENDING
}, |state, socket| {
    close(socket);
});
