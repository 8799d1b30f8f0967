//! Correct drivers that use what the wrong ones misuse: the lab must have nothing to say about them.

mod indications;
mod network;
mod requests;
mod services;

use crate::prelude::Fault;

/// The drivers, by name.
pub static TWINS: &[(&str, Fault)] = &[
    ("Indications", indications::TWIN),
    ("Network", network::TWIN),
    ("Requests", requests::TWIN),
    ("Services", services::TWIN),
];
