//! Frees an address list that it did not get from WSK.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let mut list = 0_u64;
    if let Some(free) = network.dispatch().free_address_info {
        // SAFETY: broken on purpose: the list is none.
        unsafe { free(network.provider.client, (&raw mut list).cast()) };
    }
    complete(irp, SUCCESS, 0)
}
