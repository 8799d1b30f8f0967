//! Answers an indication with an error.

use crate::network::{indicated, send_some, told};
use crate::prelude::*;
use wsk::sys;

indicated!(|context| {
    told(context);
    UNSUCCESSFUL
}, |state, _socket| {
    // The callback is still to return; nobody sets this event.
    KeInitializeEvent(&raw mut state.other_event, 0, 0);
    wait(&raw mut state.other_event);
});
