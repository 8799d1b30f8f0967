//! `IoCancelIrp`, with the cancel spin lock held for the cancel routine as Windows does.
//!
//! Models "Canceling IRPs" and "Using the System's Cancel Spin Lock".

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Header, header};
use crate::call::{self, Stopped};
use crate::locks;
use crate::machine;
use crate::nt::IRP;
use crate::rules;
use crate::thread::{LockKind, this};

/// `IoSetCancelRoutine`: sets the routine (0: none) and returns the one before.
pub(crate) fn set_cancel_routine(irp: *mut IRP, routine: usize) -> usize {
    // SAFETY: the caller owns the IRP.
    unsafe { &*irp }.CancelRoutine.swap(routine, Ordering::AcqRel)
}

/// Whether an IRP that was cancelled before has a cancel routine, and keeps it: who has just set it may be about to look at `Cancel`.
fn keeps_routine(body: &IRP) -> bool {
    let (since, machine) = (Instant::now(), machine::current());
    while body.CancelRoutine.load(Ordering::Acquire) != 0 {
        if since.elapsed() > machine.options.hang / 4 {
            return true;
        }
        if !machine.hand_turn_over() {
            std::thread::yield_now();
        }
    }
    false
}

/// `IoCancelIrp`: true when the IRP had a cancel routine, which has run. `by` is who called it: 0 for the I/O manager.
pub(crate) fn cancel(irp: *mut IRP, by: usize) -> Result<bool, Stopped> {
    let saved = locks::acquire_cancel()?;
    // SAFETY: the caller keeps the IRP; if it is none, the fault is the driver's.
    let body = unsafe { &*irp };
    if let Some(header) = header(irp) {
        header.note("IoCancelIrp by", by);
    }
    if body.Cancel.swap(1, Ordering::SeqCst) != 0 && keeps_routine(body) {
        return Err(rules::record(
            &rules::CANCEL_NOT_CHECKED,
            "the IRP was cancelled before its driver set a cancel routine, and stays pending",
            header(irp).map_or_else(Vec::new, Header::history),
        ));
    }
    let routine = body.CancelRoutine.swap(0, Ordering::AcqRel);
    if routine == 0 {
        locks::release_cancel(saved)?;
        return Ok(false);
    }
    machine::current().at_point();
    body.CancelIrql.set(saved);
    if let Some(header) = header(irp) {
        header.note("cancel routine", routine);
    }
    // SAFETY: the IRP is at a driver's location, or it would have no cancel routine.
    let device = unsafe { &*body.current() }.DeviceObject.get();
    // The routine may complete the IRP: its body is not touched any more.
    let history = header(irp);
    call::driver_any(routine, &[device as usize, irp as usize])?;
    if this().locks().any(|lock| lock.kind == LockKind::Cancel) {
        return Err(rules::record(
            &rules::CANCEL_LOCK_NOT_RELEASED,
            "a cancel routine returned holding the cancel spin lock",
            history.map_or_else(Vec::new, Header::history),
        ));
    }
    if this().irql.get() != saved {
        return Err(rules::record(
            &rules::IRQL_AT_RETURN,
            format!("a cancel routine released the cancel spin lock to IRQL {}, not {saved}", this().irql.get()),
            history.map_or_else(Vec::new, Header::history),
        ));
    }
    Ok(true)
}
