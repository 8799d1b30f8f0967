//! Releases a security descriptor that it never cached.

use crate::prelude::*;

pub const FAULT: Fault = Fault { request, ..CORRECT };

/// `WSK_RELEASE_SD`.
const RELEASE_SD: u32 = 5;

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let mut own = core::hint::black_box(0_usize);
    let mut descriptor: *mut usize = &raw mut own;
    let (client, size) = (network.provider.client, size_of::<*mut usize>());
    if let Some(control) = network.dispatch().control_client {
        let input = (&raw mut descriptor).cast();
        // SAFETY: the arguments of WskControlClient, but for what is released.
        unsafe { control(client, RELEASE_SD, size, input, 0, null_mut(), null_mut(), null_mut()) };
    }
    complete(irp, SUCCESS, 0)
}
