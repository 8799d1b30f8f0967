//! Allocates a work item and forgets it.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    IoAllocateWorkItem(device);
    complete(irp, SUCCESS, 0)
}
