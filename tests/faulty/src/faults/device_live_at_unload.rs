//! Unloads and leaves its device.

use crate::prelude::*;

pub const FAULT: Fault = Fault { unload, ..CORRECT };

extern "C" fn unload(_: *mut DRIVER_OBJECT) {
    crate::delete_link();
}
