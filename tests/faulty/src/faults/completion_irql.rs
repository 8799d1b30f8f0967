//! Completes an IRP above `DISPATCH_LEVEL`.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let before = KfRaiseIrql(DISPATCH_LEVEL + 1);
    let status = complete(irp, SUCCESS, 0);
    KeLowerIrql(before);
    status
}
