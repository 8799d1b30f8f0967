//! Releases a spin lock that it does not hold.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    KeReleaseSpinLock(&raw mut state(device).lock, before);
    complete(irp, SUCCESS, 0)
}
