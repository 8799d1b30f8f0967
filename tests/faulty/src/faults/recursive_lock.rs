//! Takes a spin lock that it holds.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let lock = &raw mut state(device).lock;
    let before = KeAcquireSpinLockRaiseToDpc(lock);
    KeAcquireSpinLockAtDpcLevel(lock);
    KeReleaseSpinLock(lock, before);
    complete(irp, SUCCESS, 0)
}
