//! Releases the provider once more than it captured it.

use crate::network::client;
use crate::prelude::*;

client!(|network| {
    network.release();
    network.release();
});
