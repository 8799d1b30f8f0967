//! Reads paged pool at `DISPATCH_LEVEL`.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

extern "C" fn request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let block = ExAllocatePool2(PAGED, 64, TAG);
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    peek(block);
    KeLowerIrql(before);
    ExFreePool(block);
    complete(irp, SUCCESS, 0)
}
