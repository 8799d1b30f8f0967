//! Counts the instructions of drivers: the thread runs in single steps, and the processor traps after each.

use std::arch::asm;
use std::cell::Cell;

use crate::machine::Machine;
use crate::thread::this;

thread_local! {
    /// Steps into driver code; none while nobody counts.
    static STEPS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The trap flag of the processor.
const TRAP: u64 = 0x100;

impl Machine {
    /// Runs `body`, and gives how many instructions of drivers the calling thread has executed meanwhile. It is some thousand times
    /// slower. What other threads do, such as completions by the network's thread, is not counted.
    pub fn count_instructions<R>(&self, body: impl FnOnce() -> R) -> (R, u64) {
        STEPS.set(Some(0));
        // SAFETY: `on_fault` takes the traps (a machine exists, so it is installed), and changes nothing else.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {trap}", "popfq", trap = const TRAP) };
        let result = body();
        // SAFETY: as it was before.
        unsafe { asm!("pushfq", "and qword ptr [rsp], {mask}", "popfq", mask = const !TRAP.cast_signed()) };
        (result, STEPS.take().unwrap_or(0))
    }
}

/// The thread stands before the instruction at `code`, in a signal handler. Whether somebody counts.
pub(crate) fn stepped(code: usize) -> bool {
    let Some(steps) = STEPS.get() else { return false };
    // SAFETY: null, or the machine for which this thread runs, which outlives that.
    let machine = unsafe { this().machine.get().as_ref() };
    if machine.is_some_and(|machine| machine.in_driver(code)) {
        STEPS.set(Some(steps + 1));
    }
    true
}
