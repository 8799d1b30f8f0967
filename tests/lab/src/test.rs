//! `cargo lab test`: every test there is, on this machine, in the in-process kernel and in Wine, added up.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{
    artifacts, cli,
    command::{cargo, shown},
    layouts,
    report::{Outcome, progress},
    setup::{self, Tools},
    workspace::{Profile, Workspace},
};

/// `cargo lab test`
pub fn run(workspace: &Workspace, options: &cli::Test) -> Result<Outcome> {
    let everything = !(options.host || options.lab || options.wine);
    // Asked for now: the tests' builds may replace this program's file, and then the system knows the running one as deleted.
    let this_program = env::current_exe().context("this program has no path")?;
    let tools = setup::prepare(workspace)?;
    let mut tally = Tally::default();
    if everything || options.host {
        tally.add(run_host(workspace, &options.arguments)?);
    }
    if everything || options.lab {
        tally.add(check_layouts(workspace, &tools));
        tally.add(run_lab(workspace, &tools, &options.arguments)?);
    }
    if everything || options.wine {
        tally.add(run_wine(workspace, &tools, &this_program)?);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(Outcome::of(tally.failed == 0))
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Counts what a line of the test runner says: `test result: ok. 3 passed; 0 failed; ...`.
    fn count(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else {
            return;
        };
        for figure in result.split([';', '.']) {
            let mut words = figure.split_whitespace();
            if let (Some(Ok(number)), Some(kind)) = (words.next().map(str::parse::<usize>), words.next()) {
                match kind {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    _ => (),
                }
            }
        }
    }
}

/// The tests that need nothing but Rust.
fn run_host(workspace: &Workspace, arguments: &[String]) -> Result<Tally> {
    progress("host tests");
    run_tests(test_cargo(workspace).arg("--").args(arguments))
}

/// The clauses of the contract, on the real driver in the in-process kernel.
fn run_lab(workspace: &Workspace, tools: &Tools, arguments: &[String]) -> Result<Tally> {
    let release = artifacts::build_sound_driver(workspace, tools, Profile::Release)?;
    let debug = artifacts::build_sound_driver(workspace, tools, Profile::Debug)?;
    let faulty = artifacts::build_faulty(workspace, tools)?;
    let harness = artifacts::build_native_harness(workspace)?;
    progress("lab tests");
    run_tests(
        test_cargo(workspace)
            .args(["--package", "contract", "--package", "faulty-judge"])
            .env("FAULTY_SYS", faulty)
            .env("WSKCLIENT_SYS", release)
            .env("WSKCLIENT_SYS_DEBUG", debug)
            .env("WSKCTL", harness)
            .arg("--")
            .args(arguments),
    )
}

/// What stock Wine can carry: one test, which runs this program.
fn run_wine(workspace: &Workspace, tools: &Tools, this_program: &Path) -> Result<Tally> {
    artifacts::build_sound_driver(workspace, tools, Profile::Release)?;
    artifacts::build_windows_harness(workspace, tools)?;
    progress("Wine tests");
    run_tests(
        test_cargo(workspace)
            .args(["--package", "contract", "--test", "wine", "--", "--ignored"])
            .env("LAB", this_program),
    )
}

/// Counts as one test.
fn check_layouts(workspace: &Workspace, tools: &Tools) -> Tally {
    match layouts::check(workspace, tools) {
        Ok(assertions) => {
            println!("test layouts: {assertions} sizes and offsets agree with the C headers ... ok");
            Tally { passed: 1, failed: 0 }
        }
        Err(error) => {
            println!("test layouts ... FAILED\n{error:#}");
            Tally { passed: 0, failed: 1 }
        }
    }
}

fn test_cargo(workspace: &Workspace) -> Command {
    let mut command = cargo();
    command.current_dir(workspace.root()).args(["test", "--locked", "--no-fail-fast"]);
    command
}

/// Runs cargo's tests, shows what they write and counts them. A run that fails without a failed test is one failure.
fn run_tests(command: &mut Command) -> Result<Tally> {
    let name = shown(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{name}`"))?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("a pipe was asked for")?).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what `{name}` writes"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.count(&line);
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        println!("`{name}` ended with {status}");
        tally.failed = 1;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_summary_lines_are_added_up() {
        let mut tally = Tally::default();
        tally.count("test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.07s");
        tally.count("test something ... ok");
        tally
            .count("test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s");
        assert_eq!(tally, Tally { passed: 14, failed: 4 });
    }
}
