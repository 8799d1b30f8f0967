//! Sets a cancel routine on an IRP that is cancelled already, and does not look.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the I/O manager keeps the level there for the cancel routine.
    IoReleaseCancelSpinLock(unsafe { (*irp).CancelIrql });
    complete(irp, CANCELLED, 0);
}

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // As if its process had been quicker.
    IoCancelIrp(irp);
    let status = mark_pending(irp);
    set_cancel(irp, Some(cancel));
    status
}
