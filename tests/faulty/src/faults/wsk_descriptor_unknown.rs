//! Releases a security descriptor that it never cached.

use crate::network::client;
use crate::prelude::*;

/// `WSK_RELEASE_SD`.
const RELEASE_SD: u32 = 5;

client!(|network| {
    let mut own = core::hint::black_box(0_usize);
    let mut descriptor: *mut usize = &raw mut own;
    let (client, size) = (network.provider.client, size_of::<*mut usize>());
    if let Some(control) = network.dispatch().control_client {
        let input = (&raw mut descriptor).cast();
        // SAFETY: the arguments of WskControlClient, but for what is released.
        unsafe { control(client, RELEASE_SD, size, input, 0, null_mut(), null_mut(), null_mut()) };
    }
});
