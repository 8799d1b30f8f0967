//! Correct drivers that use what the wrong ones misuse: the lab must have nothing to say about them.

mod network;
mod requests;

use crate::prelude::Fault;

/// The drivers, by name.
pub static TWINS: &[(&str, Fault)] = &[("Network", network::TWIN), ("Requests", requests::TWIN)];
