//! Closes a socket twice.

use crate::network::{client, close};
use crate::prelude::*;
use wsk::sys;

client!(socket |socket| {
    close(socket);
    close(socket);
});
