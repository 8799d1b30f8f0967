//! Releases received data that it does not retain.

use crate::network::{client, release};
use crate::prelude::*;

client!(connection |socket| {
    release(socket, null_mut());
});
