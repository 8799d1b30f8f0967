//! Has two accepts out on one listener.

use crate::network::{own_irp, start_accept};
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (listener, _) = network.listener();
    start_accept(listener, own_irp(reclaim, null_mut()));
    start_accept(listener, own_irp(reclaim, null_mut()));
    complete(irp, SUCCESS, 0)
}
