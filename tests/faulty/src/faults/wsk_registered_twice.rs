//! Registers a block that is registered.

use crate::network::client;
use crate::prelude::*;

client!(|network| {
    network.register();
});
