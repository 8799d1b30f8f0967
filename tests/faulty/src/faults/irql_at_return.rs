//! Raises the IRQL, and returns.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let status = complete(irp, SUCCESS, 0);
    KfRaiseIrql(DISPATCH_LEVEL);
    status
}
