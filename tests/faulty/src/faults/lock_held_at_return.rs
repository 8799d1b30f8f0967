//! Returns with a spin lock.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let status = complete(irp, SUCCESS, 0);
    KeAcquireSpinLockRaiseToDpc(&raw mut state(device).lock);
    status
}
