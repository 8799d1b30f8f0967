//! Sets a cancel routine on an IRP that is cancelled already, and does not look.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // As if its process had been quicker.
    IoCancelIrp(irp);
    let status = mark_pending(irp);
    set_cancel(irp, Some(cancel));
    status
}
