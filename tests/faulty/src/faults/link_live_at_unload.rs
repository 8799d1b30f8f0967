//! Unloads and leaves its symbolic link.

use crate::prelude::*;

pub const FAULT: Fault = Fault { unload, ..CORRECT };

extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    IoDeleteDevice(device_of(driver));
}
