//! Unloads with a DPC that queues itself.

use core::ffi::c_void;
use crate::prelude::*;
use wdk_sys::KDPC;

pub const FAULT: Fault = Fault { request, unload };

extern "C" fn again(dpc: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    KeInsertQueueDpc(dpc, null_mut(), null_mut());
}

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if step(irp) == 0 {
        let dpc: *mut KDPC = pool(size_of::<KDPC>()).cast();
        state(device).slot = dpc as usize;
        KeInitializeDpc(dpc, again as *mut c_void, null_mut());
        KeInsertQueueDpc(dpc, null_mut(), null_mut());
    }
    complete(irp, SUCCESS, 0)
}

extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    state(device_of(driver)).slot = 0;
    crate::unload(driver);
}
