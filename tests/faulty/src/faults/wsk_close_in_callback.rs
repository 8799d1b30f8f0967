//! Closes a socket in its own callback.

use crate::network::{indicated, lost_irp, send_some, start_close, told};
use crate::prelude::*;
use wsk::sys;

indicated!(|context| {
    start_close(told(context), lost_irp());
    SUCCESS
}, |state, _socket| {
    // The callback is still to return; nobody sets this event.
    KeInitializeEvent(&raw mut state.other_event, 0, 0);
    wait(&raw mut state.other_event);
});
