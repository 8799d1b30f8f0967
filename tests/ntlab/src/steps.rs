//! Counts instructions, of drivers and of the lab: the thread runs in single steps, and the processor traps after each.

use std::arch::asm;
use std::cell::Cell;

use crate::machine::Machine;
use crate::thread::this;

thread_local! {
    /// What was counted; none while nobody counts.
    static STEPS: Cell<Option<Steps>> = const { Cell::new(None) };
}

/// The trap flag of the processor.
const TRAP: u64 = 0x100;

/// Instructions of a thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps {
    /// Those of drivers.
    pub driver: u64,
    /// All others: the lab's and the test's own.
    pub lab: u64,
}

impl Machine {
    /// Runs `body`, and gives how many instructions of drivers the calling thread has executed meanwhile. It is some thousand times
    /// slower. What other threads do, such as completions by the network's thread, is not counted.
    pub fn count_instructions<R>(&self, body: impl FnOnce() -> R) -> (R, u64) {
        let (result, steps) = self.count_steps(body);
        (result, steps.driver)
    }

    /// As [`count_instructions`](Self::count_instructions), with what the lab executes told apart.
    pub fn count_steps<R>(&self, body: impl FnOnce() -> R) -> (R, Steps) {
        STEPS.set(Some(Steps::default()));
        // SAFETY: `on_fault` takes the traps (a machine exists, so it is installed), and changes nothing else.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {trap}", "popfq", trap = const TRAP) };
        let result = body();
        // SAFETY: as it was before.
        unsafe { asm!("pushfq", "and qword ptr [rsp], {mask}", "popfq", mask = const !TRAP.cast_signed()) };
        (result, STEPS.take().unwrap_or_default())
    }
}

/// The thread stands before the instruction at `code`, in a signal handler. Whether somebody counts.
pub(crate) fn stepped(code: usize) -> bool {
    let Some(mut steps) = STEPS.get() else { return false };
    // SAFETY: null, or the machine for which this thread runs, which outlives that.
    let machine = unsafe { this().machine.get().as_ref() };
    let is_drivers = machine.is_some_and(|machine| machine.in_driver(code));
    *if is_drivers { &mut steps.driver } else { &mut steps.lab } += 1;
    STEPS.set(Some(steps));
    true
}
