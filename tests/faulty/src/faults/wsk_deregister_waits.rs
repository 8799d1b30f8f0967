//! Deregisters before it released the provider.

use crate::network::client;
use crate::prelude::*;

client!(|network| {
    network.deregister();
});
