//! `wskctl stress`: much at once, seeded and bounded, and then nothing may be left.

use crate::{
    Client, Error,
    backend::{Choice, Kind},
    cli::Global,
    interrupt::Interrupt,
    output::{BAD, DIM, Event, GOOD, HEAD, Output, Table, counted},
    progress::Progress,
    stress::{self, Balance, Load, Nature, Outcome, Tally},
};
use serde::Serialize;
use std::time::Duration;

/// How much, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// No process begins after so many seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// End after so many processes in each place
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Processes at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: u32,
    /// Threads of each process
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Lab: of a thousand kernel calls, how many are delayed
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    delays: u32,
    /// Be one of the processes, with this seed
    #[arg(long, value_name = "SEED", hide = true)]
    process: Option<u64>,
}

pub(super) fn run(choice: &Choice, global: &Global, arguments: &Arguments, output: &mut Output) -> Result<(), Error> {
    let choice = Choice { delays: arguments.delays, ..choice.clone() };
    let backend = choice.open()?;
    if let Some(seed) = arguments.process {
        let tally = stress::be_a_process(backend.device(), seed, arguments.threads, Nature::of(&backend));
        return output.emit(&Part(tally));
    }
    let interrupt = Interrupt::watch()?;
    let load = Load {
        seed: choice.seed,
        processes: arguments.processes,
        threads: arguments.threads,
        time: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds.unwrap_or(u64::MAX),
    };
    let client = Client::open(backend.device())?;
    let driver = super::driver_version(client.version()?.driver);
    output.emit(&Told::Start {
        driver,
        backend: choice.kind.name(),
        seed: load.seed,
        processes: load.processes,
        threads: load.threads,
        seconds: arguments.seconds,
    })?;
    let progress = Progress::of(arguments.seconds);
    let outcome = stress::run(&backend, &client, &load, interrupt, &|elapsed, processes, failures| {
        progress.at(elapsed.as_secs(), format!("{processes} processes, {failures} failures"));
    });
    drop(progress);
    client.close();
    let replay = |rounds| replay(&choice, global, arguments, rounds);
    conclude(backend, outcome, &replay, output)
}

/// Ends the backend, tells the outcome, and makes an error of what must not be. A broken rule explains whatever failed with it.
fn conclude(
    backend: crate::backend::Backend,
    outcome: Result<Outcome, Error>,
    replay: &dyn Fn(u64) -> String,
    output: &mut Output,
) -> Result<(), Error> {
    let verdict = backend.finish();
    let (violations, leaks) = (verdict.as_ref().map(|of| of.violations), verdict.as_ref().map(|of| of.leaks));
    let told = match outcome {
        Ok(outcome) => {
            let interrupted = outcome.interrupted;
            let replay = replay(outcome.rounds);
            let failed = failure(&outcome);
            let result =
                if failed.is_some() || verdict.as_ref().is_some_and(|of| !of.is_clean()) { "failed" } else { "ok" };
            output.emit(&Told::Summary(Box::new(Summary { result, outcome, violations, leaks, replay })))?;
            match failed {
                Some(error) => Err(error),
                None if interrupted => Err(Interrupt::error("stress")),
                None => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    match verdict {
        Some(verdict) if !verdict.is_clean() => Err(verdict.into_error()),
        _ => told,
    }
}

fn failure(outcome: &Outcome) -> Option<Error> {
    if outcome.tally.failures > 0 {
        let told = outcome.tally.told.join("\n        ");
        return Some(Error::unexpected(counted(outcome.tally.failures, "failure"), told));
    }
    if !outcome.balance.is_even() {
        return Some(Error::unexpected("the balance", format!("not given back: {}", outcome.balance.lacking())));
    }
    None
}

/// The command that does the same again. Threads meet elsewhere each time: it may take a few tries.
fn replay(choice: &Choice, global: &Global, arguments: &Arguments, rounds: u64) -> String {
    let lab = choice.kind == Kind::Lab;
    let driver = global.driver.as_ref().filter(|_| lab).map(|driver| format!(" --driver {}", driver.display()));
    let delays = (lab && arguments.delays > 0).then(|| format!(" --delays {}", arguments.delays));
    let Arguments { processes, threads, seconds, .. } = arguments;
    format!(
        "wskctl stress --backend {}{}{} --seed {} --processes {processes} --threads {threads} --seconds {seconds} --rounds {}",
        choice.kind.name(),
        driver.unwrap_or_default(),
        delays.unwrap_or_default(),
        choice.seed,
        rounds.max(1)
    )
}

/// One process' part of a run, for the process that started it.
struct Part(Tally);

impl Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Event for Part {
    fn human(&self) -> String {
        format!("{} lives, {} failures", self.0.lives, self.0.failures)
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    #[serde(rename = "stress")]
    Start {
        driver: String,
        backend: &'static str,
        seed: u64,
        processes: u32,
        threads: u32,
        seconds: u64,
    },
    Summary(Box<Summary>),
}

struct Summary {
    result: &'static str,
    outcome: Outcome,
    violations: Option<usize>,
    leaks: Option<usize>,
    replay: String,
}

impl Serialize for Summary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Outcome { tally, processes, killed, rounds, elapsed, balance, interrupted } = &self.outcome;
        serde_json::json!({
            "result": self.result,
            "interrupted": interrupted,
            "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "processes": processes,
            "killed": killed,
            "rounds": rounds,
            "work": tally,
            "balance": balance,
            "violations": self.violations,
            "leaks": self.leaks,
            "replay": self.replay,
        })
        .serialize(serializer)
    }
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Start { driver, backend, seed, processes, threads, seconds } => format!(
                "{HEAD}stress{HEAD:#}   wskclient.sys {driver} ({backend}), seed {seed}: {} of {} at a time, for {seconds} s",
                counted((*processes).into(), "process").replace("processs", "processes"),
                counted((*threads).into(), "thread"),
            ),
            Self::Summary(summary) => summary.human(),
        }
    }
}

impl Summary {
    fn human(&self) -> String {
        let Outcome { tally, processes, killed, elapsed, balance, interrupted, .. } = &self.outcome;
        let mut work = Table::new(&["done", ""], &[1]);
        for (what, count) in [
            ("processes", *processes),
            ("of them killed", *killed),
            ("lives: startup, work, cleanup", tally.lives),
            ("startups", tally.startups),
            ("connections", tally.connections),
            ("bytes compared", tally.bytes),
            ("graceful closes, all bytes arrived", tally.graceful),
            ("requests cancelled by their caller", tally.cancels),
            ("requests left to a cleanup or a death", tally.left),
            ("lives cut by another thread or a kill", tally.cut.values().sum()),
        ] {
            work.row([what.to_owned(), count.to_string()]);
        }
        format!("\n{}\n\n{}\n{}", work.text(0), balance_text(balance), self.verdict(*elapsed, *interrupted))
    }

    fn verdict(&self, elapsed: Duration, interrupted: bool) -> String {
        let style = if self.result == "ok" { GOOD } else { BAD };
        let rules = match (self.violations, self.leaks) {
            (Some(violations), Some(leaks)) => format!("; {violations} violations of the lab's rules, {leaks} leaks"),
            _ => String::new(),
        };
        let early = if interrupted { ", ended by Ctrl-C" } else { "" };
        format!(
            "{style}{}{style:#}: {:.1} s{early}; {}{rules}\n{DIM}again: {}{DIM:#}",
            self.result,
            elapsed.as_secs_f64(),
            counted(self.outcome.tally.failures, "failure"),
            self.replay
        )
    }
}

fn balance_text(balance: &Balance) -> String {
    let even = if balance.is_even() {
        "nothing is left".to_owned()
    } else {
        format!("{BAD}not given back: {}{BAD:#}", balance.lacking())
    };
    let pool = balance.pool.map_or_else(String::new, |pool| {
        format!(
            "\npool      {} blocks, {} bytes after the first life; {} blocks, {} bytes now",
            pool.blocks_before, pool.bytes_before, pool.blocks, pool.bytes
        )
    });
    format!(
        "balance   {} requests taken, {} completed, {} of them cancelled; {} teardowns; {even}{pool}",
        balance.taken, balance.completed, balance.cancelled, balance.teardowns
    )
}
