//! Lets the completion of its own IRP go on to the I/O manager.

use core::ffi::c_void;
use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn go_on(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    SUCCESS
}

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let own = IoAllocateIrp(1, 0);
    next(own, CREATE);
    on_completion(own, go_on, null_mut(), INVOKE_ALWAYS);
    IofCallDriver(device, own);
    complete(irp, SUCCESS, 0)
}
