//! Completes an IRP under a spin lock.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let lock = &raw mut state(device).lock;
    let before = KeAcquireSpinLockRaiseToDpc(lock);
    let status = complete(irp, SUCCESS, 0);
    KeReleaseSpinLock(lock, before);
    status
}
