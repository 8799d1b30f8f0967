//! Frees an IRP that a lower driver has.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let own = IoAllocateIrp(1, 0);
    next(own, INTERNAL_DEVICE_CONTROL);
    on_completion(own, reclaim, null_mut(), INVOKE_ALWAYS);
    IofCallDriver(device, own);
    IoFreeIrp(own);
    complete(irp, SUCCESS, 0)
}
