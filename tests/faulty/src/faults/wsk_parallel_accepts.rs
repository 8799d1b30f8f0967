//! Has two accepts out on one listener.

use crate::network::{client, lost_irp, start_accept};
use crate::prelude::*;

client!(|network| {
    let (listener, _) = network.listener();
    start_accept(listener, lost_irp());
    start_accept(listener, lost_irp());
});
