//! Returns `STATUS_PENDING` for an IRP that it keeps and did not mark.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the I/O manager keeps the level there for the cancel routine.
    IoReleaseCancelSpinLock(unsafe { (*irp).CancelIrql });
    complete(irp, CANCELLED, 0);
}

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    set_cancel(irp, Some(cancel));
    PENDING
}
