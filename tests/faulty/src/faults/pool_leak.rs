//! Allocates pool and forgets it.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

/// Never inlined: the report has to name who called it, too.
#[inline(never)]
fn forget() {
    poke(ExAllocatePoolWithTag(NON_PAGED_NX, 100, TAG));
}

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    forget();
    complete(irp, SUCCESS, 0)
}
