//! Stressing the driver: processes with threads that start up, work with real peers, cancel, clean up, exit and are killed, all of it
//! from one seed, bounded in time and count. At the end nothing may be left: the ledger says so.
//!
//! One idea: a process' plan comes from its seed alone, so the processes of a run can be made anywhere (in the lab, as children of this
//! program) and again.

mod balance;
mod plan;
mod process;
mod tally;
mod work;
mod worker;

pub(crate) use balance::Balance;
pub(crate) use tally::Tally;

use crate::{Client, Error, backend::Backend, device::Device, interrupt::Interrupt};
use plan::{Ending, Plan};
use process::Signals;
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How much, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Where every choice comes from.
    pub seed: u64,
    /// Processes at a time.
    pub processes: u32,
    /// Threads of each.
    pub threads: u32,
    /// No process begins after this time.
    pub time: Duration,
    /// How many processes there are one after the other in each place.
    pub rounds: u64,
}

/// What the place where the driver runs can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    /// Graceful closes.
    pub graceful: bool,
    /// `CancelIoEx` ends requests that WSK has.
    pub cancels_reach_requests: bool,
}

impl Nature {
    pub fn of(backend: &Backend) -> Self {
        Self { graceful: backend.close_is_abortive(), cancels_reach_requests: backend.cancels_reach_requests() }
    }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub tally: Tally,
    pub processes: u64,
    pub killed: u64,
    /// The most rounds that a place went through: what a replay needs.
    pub rounds: u64,
    pub elapsed: Duration,
    pub balance: Balance,
    pub interrupted: bool,
}

/// A run under way, as its places see it.
struct Run<'a> {
    backend: &'a Backend,
    load: &'a Load,
    nature: Nature,
    begun: Instant,
    stop: AtomicBool,
    tally: Mutex<Tally>,
    processes: AtomicU64,
    killed: AtomicU64,
    rounds: AtomicU64,
}

/// Stresses the driver, whose only client is `client`, until the time or the rounds are over, Ctrl-C is pressed, or something is wrong; then waits for the balance.
pub(crate) fn run(
    backend: &Backend,
    client: &Client,
    load: &Load,
    interrupt: Interrupt,
    watch: &(dyn Fn(Duration, u64, u64) + Sync),
) -> Result<Outcome, Error> {
    balance::alone(client)?;
    let run = Run {
        backend,
        load,
        nature: Nature::of(backend),
        begun: Instant::now(),
        stop: AtomicBool::new(false),
        tally: Mutex::default(),
        processes: AtomicU64::new(0),
        killed: AtomicU64::new(0),
        rounds: AtomicU64::new(0),
    };
    // What the driver keeps for good is there after the first life.
    run.process(&Plan { seed: load.seed, wild: false, ending: Ending::Orderly, lives: 1 }, 1);
    let settled = balance::settle(client, None)?;
    let pool = backend.pool_in_use();

    let interrupted = run.places(interrupt, watch);
    let balance = if settled.is_even() { balance::settle(client, pool.map(|pool| (backend, pool)))? } else { settled };
    let tally = run.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome {
        tally,
        processes: run.processes.into_inner(),
        killed: run.killed.into_inner(),
        rounds: run.rounds.into_inner(),
        elapsed: run.begun.elapsed(),
        balance,
        interrupted,
    })
}

impl Run<'_> {
    /// Runs all places to their end, and tells whether Ctrl-C ended them.
    fn places(&self, interrupt: Interrupt, watch: &(dyn Fn(Duration, u64, u64) + Sync)) -> bool {
        let begun = Instant::now();
        let left = AtomicU64::new(self.load.processes.into());
        thread::scope(|scope| {
            for place in 0..self.load.processes {
                let left = &left;
                scope.spawn(move || {
                    self.place(place, begun);
                    left.fetch_sub(1, Ordering::SeqCst);
                });
            }
            while left.load(Ordering::SeqCst) > 0 {
                if interrupt.wait(Duration::from_millis(50)) {
                    self.stop.store(true, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(10));
                }
                let failures = self.tally.lock().unwrap_or_else(PoisonError::into_inner).failures;
                watch(begun.elapsed(), self.processes.load(Ordering::Relaxed), failures);
            }
        });
        interrupt.is_pressed()
    }

    /// One process after the other.
    fn place(&self, place: u32, begun: Instant) {
        for round in 0..self.load.rounds {
            if self.stop.load(Ordering::SeqCst) || begun.elapsed() >= self.load.time {
                break;
            }
            self.process(&Plan::of(plan::seed_of(self.load.seed, place, round)), self.load.threads);
            self.rounds.fetch_max(round + 1, Ordering::SeqCst);
        }
    }

    fn process(&self, plan: &Plan, threads: u32) {
        let tally = match self.backend.process_within() {
            Some(process) => self.in_the_lab(&process, plan, threads),
            None => Self::as_a_child(plan, threads),
        };
        if tally.failures > 0 {
            self.stop.store(true, Ordering::SeqCst);
        }
        self.processes.fetch_add(1, Ordering::Relaxed);
        self.killed.fetch_add(u64::from(matches!(plan.ending, Ending::Killed(_))), Ordering::Relaxed);
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
    }

    /// A process of the lab's machine; its threads are threads of this program.
    fn in_the_lab(&self, process: &crate::backend::Process, plan: &Plan, threads: u32) -> Tally {
        let signals = Signals::default();
        let tally = thread::scope(|scope| {
            let living = scope.spawn(|| process::live(process.device(), plan, threads, self.nature, &signals));
            if let Ending::Killed(after) = plan.ending {
                wait_for(after, || living.is_finished());
                signals.killed.store(true, Ordering::SeqCst);
                process.kill();
            }
            living.join().unwrap_or_default()
        });
        process.exit();
        tally
    }

    /// A process of the system: this program again.
    fn as_a_child(plan: &Plan, threads: u32) -> Tally {
        Self::child(plan, threads).unwrap_or_else(|error| {
            let mut tally = Tally::default();
            tally.fail(plan.seed, &error);
            tally
        })
    }

    fn child(plan: &Plan, threads: u32) -> Result<Tally, Error> {
        let failed = |error| Error::host("run a stressing process", error);
        let program: PathBuf = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["stress", "--backend", "device", "--format", "json"])
            .args(["--threads", &threads.to_string(), "--process", &plan.seed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        if let Ending::Killed(after) = plan.ending {
            wait_for(after + CHILD_STARTS, || ended(&mut child));
            // It may have ended by itself.
            drop(child.kill());
            child.wait().map_err(failed)?;
            return Ok(Tally::default());
        }
        let output = child.wait_with_output().map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|_| {
            let seen = format!("it ended with {} and said: {line}", output.status);
            Error::unexpected(format!("the stressing process {:#018x}", plan.seed), seen)
        })
    }
}

/// How long a process of the system takes until its threads run.
const CHILD_STARTS: Duration = Duration::from_millis(40);

fn ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)))
}

/// Waits for a time, or until `is_over`.
fn wait_for(time: Duration, mut is_over: impl FnMut() -> bool) {
    const LOOK: Duration = Duration::from_millis(5);
    let until = Instant::now() + time;
    while !is_over() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(LOOK));
    }
}

/// One process of a run, in this process: what [`Run::as_a_child`] starts.
pub(crate) fn be_a_process(device: &dyn Device, seed: u64, threads: u32, nature: Nature) -> Tally {
    let mut plan = Plan::of(seed);
    if matches!(plan.ending, Ending::Killed(_)) {
        // The kill comes from outside; what fails before it must not.
        plan.ending = Ending::Exit;
    }
    process::live(device, &plan, threads, nature, &Signals::default())
}
