//! Many machines for one scenario: each allocation failing in turn, and the same once more.
//!
//! One idea: a scenario is a function from [`Options`] to what became of a machine with them. Who asks says what it does, and
//! the rules judge.

use std::collections::BTreeMap;

use crate::machine::Options;
use crate::report::Report;

/// What a scenario came to.
pub trait Judged {
    /// What the machine says.
    fn report(&self) -> &Report;

    /// Whether all is as it must be. By default: no rule was broken, nothing leaked.
    fn is_good(&self) -> bool {
        self.report().is_clean()
    }
}

impl Judged for Report {
    fn report(&self) -> &Report {
        self
    }
}

/// What [`low_resources`] found.
#[derive(Debug)]
pub struct LowResources<R> {
    /// What the scenario came to without a failure. When that is not good, nothing else was tried.
    pub first: R,
    /// Allocations that failed, each in a run of its own.
    pub allocations: u64,
    /// Places in drivers that made them, the innermost function first, and how many allocations each made fail.
    pub sites: BTreeMap<String, u64>,
    /// The runs that were not good, by the number of the allocation that failed.
    pub failed: Vec<(u64, R)>,
}

impl<R: Judged> LowResources<R> {
    /// Whether every run was good.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.first.is_good() && self.failed.is_empty()
    }
}

/// Driver Verifier's "systematic low resources simulation": runs `scenario` once as it is, then once for each allocation
/// that it reaches (of pool, an IRP, an MDL, a work item, a device), with that one failing.
///
/// An allocation that fails must be survived: what the scenario asks for may fail too, but no rule may be broken and nothing may
/// leak. Goes on until the allocation that is to fail is not reached any more, twice in a row, as threads may make one more or less.
///
/// # Errors
/// The first error of `scenario`, which is one of the tester and not of the driver.
pub fn low_resources<R: Judged, E>(
    options: &Options,
    mut scenario: impl FnMut(Options) -> Result<R, E>,
) -> Result<LowResources<R>, E> {
    let first = scenario(Options { fail_allocation: None, ..options.clone() })?;
    let mut found = LowResources { first, allocations: 0, sites: BTreeMap::new(), failed: Vec::new() };
    if !found.first.is_good() {
        return Ok(found);
    }
    let mut unreached = 0;
    for number in 0.. {
        let run = scenario(Options { fail_allocation: Some(number), ..options.clone() })?;
        if let Some(stack) = &run.report().failed_allocation {
            found.allocations += 1;
            *found.sites.entry(stack.join(", called by ")).or_default() += 1;
            unreached = 0;
        } else {
            unreached += 1;
        }
        if !run.is_good() {
            found.failed.push((number, run));
        }
        if unreached == 2 {
            break;
        }
    }
    Ok(found)
}

/// What [`replay`] of a run that failed found.
#[derive(Debug, Clone, Default)]
pub struct Replays {
    /// Runs.
    pub times: u32,
    /// How often the run was not good.
    pub failed: u32,
    /// What the runs came to, and how often: a rule's name, `leak`, `other` or `passed`.
    pub outcomes: BTreeMap<&'static str, u32>,
}

impl Replays {
    /// Whether a failure replays: in nine of ten runs.
    #[must_use]
    pub const fn is_steady(&self) -> bool {
        self.failed * 10 >= self.times * 9
    }
}

impl std::fmt::Display for Replays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} replays failed", self.failed, self.times)?;
        let outcomes: Vec<String> = self.outcomes.iter().map(|(what, times)| format!("{what} {times}")).collect();
        write!(f, " ({})", outcomes.join(", "))?;
        if !self.is_steady() {
            write!(
                f,
                ": the seed decides what each thread does and, where there are delays, whose turn it is; not what real sockets \
                 bring, how late it is, or that the host keeps a thread from running for long"
            )?;
        }
        Ok(())
    }
}

/// Runs `scenario` with the same options `times` times, and counts what it comes to.
///
/// # Errors
/// The first error of `scenario`.
pub fn replay<R: Judged, E>(
    options: &Options,
    times: u32,
    mut scenario: impl FnMut(Options) -> Result<R, E>,
) -> Result<Replays, E> {
    let mut replays = Replays::default();
    for _ in 0..times {
        let run = scenario(options.clone())?;
        let report = run.report();
        let outcome = match report.violations.first() {
            Some(violation) => violation.rule.name,
            None if report.leaks != 0 => "leak",
            None if !run.is_good() => "other",
            None => "passed",
        };
        replays.times += 1;
        replays.failed += u32::from(!run.is_good());
        *replays.outcomes.entry(outcome).or_default() += 1;
    }
    Ok(replays)
}
