//! The I/O manager's routines for IRPs, as drivers call them.

use super::{Owner, State, header, initialize, size_of_irp};
use crate::call::or_escape;
use crate::exports::{Export, routines};
use crate::irp;
use crate::machine;
use crate::nt::{DEVICE_OBJECT, IRP};
use crate::rules::{self, Rule};
use crate::thread::this;

extern "win64" fn io_allocate_irp(stack_size: i8, _charge_quota: u8) -> *mut IRP {
    if machine::current().fails_allocation() {
        return std::ptr::null_mut();
    }
    irp::allocate(stack_size, Owner::Driver, None)
}

/// The checks that `IoFreeIrp` and `IoReuseIrp` share: the driver allocated the IRP (or `foreign` is broken) and has it back.
fn require_own(irp: *mut IRP, what: &str, foreign: &'static Rule) {
    let Some(header) = header(irp) else {
        rules::violate(foreign, format!("{what} on {irp:p}, which is no IRP of the kernel"), Vec::new())
    };
    if header.owner.get() != Owner::Driver {
        rules::violate(foreign, format!("{what} on an IRP of the I/O manager"), header.history());
    }
    // SAFETY: slots with a header are readable.
    let body = unsafe { &*irp };
    match header.state().0 {
        State::Free => rules::violate(
            &rules::IRP_USE_AFTER_COMPLETE,
            format!("{what} on an IRP that is freed already"),
            header.history(),
        ),
        State::Live if body.CurrentLocation.get() == body.StackCount.get() + 1 => {}
        _ => rules::violate(
            &rules::IRP_FREED_IN_USE,
            format!("{what} on an IRP that another driver has"),
            header.history(),
        ),
    }
}

extern "win64" fn io_free_irp(irp: *mut IRP) {
    require_own(irp, "IoFreeIrp", &rules::IRP_FOREIGN);
    irp::history(irp, "freed by", this().caller.get());
    machine::current().release_body(irp);
}

extern "win64" fn io_reuse_irp(irp: *mut IRP, status: i32) {
    require_own(irp, "IoReuseIrp", &rules::IRP_REUSED_FOREIGN);
    // SAFETY: the IRP is live and its owner's.
    let stack_size = unsafe { &*irp }.StackCount.get();
    // SAFETY: it has room for the stack size that it was allocated with.
    unsafe { initialize(irp, size_of_irp(stack_size), stack_size) };
    // SAFETY: the IRP is live and its owner's: `require_own` has seen to it.
    unsafe { &*irp }.set_status(status, 0);
    if let Some(header) = header(irp) {
        header.begin_use();
        header.set_state(State::Live);
        header.note("reused by", this().caller.get());
    }
}

extern "win64" fn io_initialize_irp(irp: *mut IRP, packet_size: u16, stack_size: i8) {
    if usize::from(packet_size) < size_of_irp(stack_size) {
        rules::violate(&rules::IRP_FOREIGN, "IoInitializeIrp with too small a packet", Vec::new());
    }
    // SAFETY: the driver vouches for `packet_size` bytes; if they are not there, the fault is its own.
    unsafe { initialize(irp, usize::from(packet_size), stack_size) };
}

extern "win64" fn iof_call_driver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    or_escape(super::complete::call_lower_driver(device, irp))
}

extern "win64" fn iof_complete_request(irp: *mut IRP, _priority_boost: i8) {
    or_escape(irp::complete(irp));
}

extern "win64" fn io_cancel_irp(irp: *mut IRP) -> u8 {
    u8::from(or_escape(irp::cancel(irp, this().caller.get())))
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: IoAllocateIrp => io_allocate_irp, IoFreeIrp => io_free_irp, IoReuseIrp => io_reuse_irp,
            IoInitializeIrp => io_initialize_irp, IofCallDriver => iof_call_driver, IoCancelIrp => io_cancel_irp;
        // Its documented highest IRQL is a rule of its own.
        HIGH: IofCompleteRequest => iof_complete_request;
    ]
}
