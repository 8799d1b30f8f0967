//! Deletes its device at `DISPATCH_LEVEL`.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    IoDeleteDevice(device);
    KeLowerIrql(before);
    complete(irp, SUCCESS, 0)
}
