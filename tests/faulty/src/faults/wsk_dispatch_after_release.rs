//! Makes a socket after it released the provider.

use crate::network::client;
use crate::prelude::*;
use wsk::sys;

client!(|network| {
    network.release();
    network.socket(sys::FLAG_CONNECTION_SOCKET);
});
