//! Unloads while a thread of its own waits.

use core::ffi::c_void;
use crate::prelude::*;
use wdk_sys::KEVENT;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn idle(event: *mut c_void) {
    loop {
        wait(event.cast());
    }
}

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if step(irp) == 0 {
        let never = pool(size_of::<KEVENT>());
        KeInitializeEvent(never.cast(), 0, 0);
        ZwClose(start_thread(idle, never.cast()));
    }
    complete(irp, SUCCESS, 0)
}
