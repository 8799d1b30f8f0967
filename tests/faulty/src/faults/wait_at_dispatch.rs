//! Waits at `DISPATCH_LEVEL`.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let event = &raw mut state(device).event;
    KeInitializeEvent(event, 0, 1);
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    wait(event);
    KeLowerIrql(before);
    complete(irp, SUCCESS, 0)
}
