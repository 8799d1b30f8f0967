//! Returns success, and forgets the IRP.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    set_status(irp, SUCCESS, 0);
    SUCCESS
}
