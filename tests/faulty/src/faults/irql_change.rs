//! Lowers the IRQL by raising it.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    KfRaiseIrql(DISPATCH_LEVEL);
    KfRaiseIrql(0);
    complete(irp, SUCCESS, 0)
}
