//! Writes an event after its provider is unregistered.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let trace = &mut state(device).trace;
    EtwRegister(&PROVIDER, null_mut(), null_mut(), trace);
    EtwUnregister(*trace);
    EtwWriteTransfer(*trace, &EventDescriptor::INFORMATION, null_mut(), null_mut(), 0, null_mut());
    complete(irp, SUCCESS, 0)
}
