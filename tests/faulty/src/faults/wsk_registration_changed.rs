//! Writes into its registration block.

use crate::network::{blank, client};
use crate::prelude::*;

client!(|network| {
    network.block = blank();
    network.stop();
});
