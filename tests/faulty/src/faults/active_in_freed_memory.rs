//! Frees pool with a timer in it that is set.

use crate::prelude::*;
use wdk_sys::KTIMER;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let timer = pool(size_of::<KTIMER>());
    KeInitializeTimer(timer.cast());
    KeSetTimer(timer.cast(), -100_000_000, null_mut());
    ExFreePool(timer);
    complete(irp, SUCCESS, 0)
}
