//! IRQL, kept per thread. Raising it does not stop other threads: host threads stand for processors.

use crate::rules;
use crate::thread::this;

/// Threads run and may wait.
pub(crate) const PASSIVE: u8 = 0;
/// Asynchronous procedure calls are held off.
pub(crate) const APC: u8 = 1;
/// No thread is dispatched: no waiting, no paged memory.
pub(crate) const DISPATCH: u8 = 2;
/// Any level.
pub(crate) const HIGH: u8 = 15;

/// The IRQL of the calling thread.
pub(crate) fn current() -> u8 {
    this().irql.get()
}

/// Raises the IRQL and returns the one before.
pub(crate) fn raise(to: u8) -> u8 {
    let before = this().irql.get();
    if to < before || to > HIGH {
        rules::violate(&rules::IRQL_CHANGE, format!("the IRQL was to be raised from {before} to {to}"), Vec::new());
    }
    set(to);
    before
}

/// Sets the IRQL of the calling thread. Pageable memory goes with the raise to `DISPATCH_LEVEL`.
pub(crate) fn set(to: u8) {
    let before = this().irql.replace(to);
    if before < DISPATCH && to >= DISPATCH && !this().machine.get().is_null() {
        crate::machine::current().paged.close();
    }
}

/// Lowers the IRQL.
pub(crate) fn lower(to: u8) {
    let before = this().irql.get();
    if to > before {
        rules::violate(&rules::IRQL_CHANGE, format!("the IRQL was to be lowered from {before} to {to}"), Vec::new());
    }
    this().irql.set(to);
}
