//! Takes two spin locks in one order, then in the other.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

fn both(first: *mut usize, second: *mut usize) {
    let before = KeAcquireSpinLockRaiseToDpc(first);
    KeAcquireSpinLockAtDpcLevel(second);
    KeReleaseSpinLockFromDpcLevel(second);
    KeReleaseSpinLock(first, before);
}

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let state = state(device);
    let (a, b) = (&raw mut state.lock, &raw mut state.other_lock);
    both(a, b);
    both(b, a);
    complete(irp, SUCCESS, 0)
}
