//! Releases the cancel spin lock that it does not hold.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    IoReleaseCancelSpinLock(KeGetCurrentIrql());
    complete(irp, SUCCESS, 0)
}
