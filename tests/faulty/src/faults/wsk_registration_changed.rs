//! Writes into its registration block.

use crate::network::blank;
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    network.block = blank();
    network.stop();
    complete(irp, SUCCESS, 0)
}
