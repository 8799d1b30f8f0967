//! What the provider asks of the kernel underneath it.

use std::cell::Cell;
use std::sync::Arc;

use super::Provider;
use crate::call::Stopped;
use crate::locks;
use crate::machine;
use crate::nt;

/// `STATUS_MORE_PROCESSING_REQUIRED`.
#[cfg(test)]
pub const MORE_PROCESSING_REQUIRED: i32 = crate::NtStatus::MORE_PROCESSING_REQUIRED.0;

thread_local! {
    static COMPLETIONS: Cell<u32> = const { Cell::new(0) };
    /// The socket whose event callback runs.
    static CALLBACK_OF: Cell<usize> = const { Cell::new(0) };
}

/// The provider of the machine that the calling thread runs for.
pub fn provider() -> Arc<Provider> {
    Arc::clone(&machine::current().wsk.provider)
}

/// Whether an IRP that could complete at once is to pend, as the machine's chaos has it.
pub fn forces_pending() -> bool {
    machine::current().forces_pending()
}

/// The next number of the calling thread's random source.
pub fn random() -> u64 {
    machine::current().random()
}

/// Lets the machine's other threads go on while this one waits.
pub fn give_turn_up() {
    machine::current().give_turn_up();
}

/// Starts a thread of the machine.
pub fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) {
    machine::current().share().spawn(name, body);
}

/// `IoSetCancelRoutine`.
pub fn set_cancel_routine(irp: *mut nt::IRP, routine: usize) -> usize {
    crate::irp::set_cancel_routine(irp, routine)
}

/// `IoReleaseCancelSpinLock(Irp->CancelIrql)`, in a cancel routine.
pub fn release_cancel_lock(irp: *mut nt::IRP) -> Result<(), Stopped> {
    // SAFETY: the IRP is the provider's while its cancel routine has not completed it.
    let irql = unsafe { &*irp }.CancelIrql.get();
    locks::release_cancel(irql)
}

/// Runs `body`, which runs completion routines.
pub fn in_completion<R>(body: impl FnOnce() -> R) -> R {
    COMPLETIONS.set(COMPLETIONS.get() + 1);
    let result = body();
    COMPLETIONS.set(COMPLETIONS.get() - 1);
    result
}

/// Whether the thread runs a completion routine of an IRP that the provider completes.
pub fn completing() -> bool {
    COMPLETIONS.get() != 0
}

/// Runs `body`, which runs an event callback of the driver's socket `object`.
pub fn in_callback<R>(object: usize, body: impl FnOnce() -> R) -> R {
    let before = CALLBACK_OF.replace(object);
    let result = body();
    CALLBACK_OF.set(before);
    result
}

/// Whether the thread runs an event callback of the driver's socket `object`.
pub fn in_callback_of(object: usize) -> bool {
    object != 0 && CALLBACK_OF.get() == object
}
