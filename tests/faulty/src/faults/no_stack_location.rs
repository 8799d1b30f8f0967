//! Passes an IRP on that has no location left.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let status = IofCallDriver(device, irp);
    core::hint::black_box(status)
}
