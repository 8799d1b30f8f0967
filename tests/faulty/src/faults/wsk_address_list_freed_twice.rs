//! Frees an address list that it did not get from WSK.

use crate::network::client;
use crate::prelude::*;

client!(|network| {
    let mut list = 0_u64;
    if let Some(free) = network.dispatch().free_address_info {
        // SAFETY: broken on purpose: the list is none.
        unsafe { free(network.provider.client, (&raw mut list).cast()) };
    }
});
