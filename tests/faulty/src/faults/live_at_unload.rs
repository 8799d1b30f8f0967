//! Unloads and keeps a reference.

use crate::prelude::*;

pub const FAULT: Fault = Fault { unload, ..CORRECT };

extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    ObfReferenceObject(device_of(driver).cast());
    crate::unload(driver);
}
