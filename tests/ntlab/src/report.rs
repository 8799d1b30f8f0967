//! The end of a machine, and what is said about it.

use std::fmt;
use std::time::Duration;

use crate::etw::Event;
use crate::machine::Machine;
use crate::rules::Violation;

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The rules broken; the first one stopped the machine.
    pub violations: Vec<Violation>,
    /// Pool blocks of drivers that were never freed.
    pub leaks: usize,
    /// IRPs that there were.
    pub irps: u64,
    /// Pool blocks, IRPs, MDLs and other things that drivers asked for; each could be made to fail.
    pub allocations: u64,
    /// Pool blocks that had no pages of their own because there were too many ([`Options::special_blocks`](crate::Options)).
    pub patterned: u64,
    /// Where the allocation that was to fail was asked for, the innermost function first; none if it was not reached.
    pub failed_allocation: Option<Vec<String>>,
    /// The most stack that a driver was seen to use in one call, in bytes.
    pub stack: usize,
    /// The events that drivers have written to ETW.
    pub events: Vec<Event>,
    /// What drivers have printed.
    pub output: Vec<String>,
    /// The seed of the machine's choices.
    pub seed: u64,
    /// How long the machine existed.
    pub duration: Duration,
}

impl Report {
    /// Whether no rule was broken and nothing leaked.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.leaks == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} violations, {} blocks leaked, {} IRPs, {} allocations, {} bytes of stack, {:.3} s, seed {:#x}",
            self.violations.len(),
            self.leaks,
            self.irps,
            self.allocations,
            self.stack,
            self.duration.as_secs_f64(),
            self.seed
        )?;
        if self.patterned != 0 {
            writeln!(f, "{} pool blocks had no pages of their own: overruns of those show late", self.patterned)?;
        }
        self.violations.iter().try_for_each(|violation| write!(f, "{violation}"))
    }
}

impl Machine {
    /// Pool blocks of drivers that are allocated now, and their bytes.
    #[must_use]
    pub fn pool_in_use(&self) -> (usize, usize) {
        crate::call::guard(&self.inner, || self.inner.pool.live()).unwrap_or_default()
    }

    /// How many allocations (of pool, IRPs, MDLs, work items) drivers have asked for so far.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.inner.allocations()
    }

    /// Shuts the machine down: processes end, drivers that still run are unloaded, freed memory is checked, threads end.
    #[must_use = "the report says whether a rule was broken"]
    pub fn finish(self) -> Report {
        let inner = &self.inner;
        // What goes wrong here is a violation, which is in the report; what cannot be unloaded stays.
        let _ = self.run(|| inner.end_processes());
        for driver in inner.drivers() {
            if driver.is_started() {
                let _ = driver.unload(&self);
            }
        }
        let leaks = self.run(|| {
            inner.irps.check_freed();
            Ok(inner.pool.live().0)
        });
        let leaks = leaks.unwrap_or_else(|_| crate::call::guard(inner, || inner.pool.live().0).unwrap_or(0));
        inner.stop();
        inner.join(Duration::from_secs(5));
        Report {
            violations: inner.violations(),
            leaks,
            irps: inner.irps.total(),
            allocations: inner.allocations(),
            patterned: inner.pool.patterned(),
            failed_allocation: inner.failed_allocation(),
            stack: inner.deepest_stack(),
            events: inner.etw.events(),
            output: inner.debug_output(),
            seed: inner.options.seed,
            duration: inner.age(),
        }
    }
}
