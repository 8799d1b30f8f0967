//! `cargo lab test`: every test there is, on this machine, in the in-process kernel and in Wine, added up.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    artifacts, cli, contract, layouts,
    report::{Outcome, progress},
    setup::{self, Tools},
    suite::{self, Place, Program, Results, Run},
    wine,
    workspace::{Profile, Workspace},
};

/// `cargo lab test`
pub fn run(workspace: &Workspace, options: &cli::Test) -> Result<Outcome> {
    let everything = !(options.host || options.lab || options.wine);
    let bench = Bench::prepare(workspace, |line| println!("{line}"))?;
    let mut results = Results::default();
    if everything || options.host {
        results.add(bench.host(&options.arguments)?);
        results.add(bench.documentation(&options.arguments)?);
        results.add(bench.models(&options.arguments)?);
    }
    if everything || options.lab {
        results.add(bench.layouts());
        results.add(bench.lab(&options.arguments, options.seed)?);
        for seed in (options.seed..).take(usize::try_from(options.seeds)?).skip(1) {
            results.add(bench.contract(&options.arguments, seed)?);
        }
    }
    if everything || options.wine {
        results.add(bench.wine(&options.arguments)?);
        results.add(bench.portable(&options.arguments)?);
    }
    let mut proven = true;
    if everything && options.arguments.is_empty() {
        let (state, all) = contract::state(workspace, &results)?;
        proven = all;
        println!("{state}");
    }
    println!("{} passed, {} failed", results.passed, results.failed);
    Ok(Outcome::of(proven && results.failed == 0))
}

/// All that tests need, and where what they write goes.
pub struct Bench<'a> {
    workspace: &'a Workspace,
    tools: Tools,
    this_program: PathBuf,
    show: fn(&str),
    /// Of all test programs, which are run.
    chosen: Box<dyn Fn(&Program) -> bool + 'a>,
}

impl<'a> Bench<'a> {
    /// Runs every program.
    pub fn prepare(workspace: &'a Workspace, show: fn(&str)) -> Result<Self> {
        // Asked for now: the tests' builds may replace this program's file, and then the system knows the running one as deleted.
        let this_program = env::current_exe().context("this program has no path")?;
        let tools = setup::prepare(workspace)?;
        Ok(Self { workspace, tools, this_program, show, chosen: Box::new(|_| true) })
    }

    /// Runs only the chosen programs.
    pub fn only(mut self, chosen: impl Fn(&Program) -> bool + 'a) -> Self {
        self.chosen = Box::new(chosen);
        self
    }

    /// The tests that need nothing but Rust.
    pub fn host(&self, arguments: &[String]) -> Result<Results> {
        progress("host tests");
        Run { place: Place::Host, arguments, environment: &[], show: self.show }.run(&self.programs(&[])?)
    }

    /// The examples in the documentation.
    fn documentation(&self, arguments: &[String]) -> Result<Results> {
        let run = Run { place: Place::Host, arguments: &[], environment: &[], show: self.show };
        let mut command = suite::test_cargo(self.workspace);
        run.run_command(command.args(["--doc", "--"]).args(arguments), self.workspace.root())
    }

    /// The pieces that must be right, in every interleaving that has at most three preemptions.
    fn models(&self, arguments: &[String]) -> Result<Results> {
        progress("model checking");
        let run = Run { place: Place::Host, arguments: &[], environment: &[], show: self.show };
        let mut results = Results::default();
        for (package, folder) in [("wskclient-lifecycle", "lifecycle"), ("wsk", "wsk")] {
            let mut command = suite::test_cargo(self.workspace);
            command
                .args(["--release", "--package", package, "--test", "models", "--target-dir"])
                .arg(self.workspace.lab().join("models"))
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .env("RUSTFLAGS", "--cfg loom")
                .env("LOOM_MAX_PREEMPTIONS", "3");
            let root = self.workspace.root().join("driver").join(folder).join("tests/models.rs");
            results.add(run.run_command(command.arg("--").args(arguments), &root)?);
        }
        Ok(results)
    }

    /// The clauses of the contract, on the real driver in the in-process kernel; and the wrong drivers.
    pub fn lab(&self, arguments: &[String], seed: u64) -> Result<Results> {
        let faulty = artifacts::build_faulty(self.workspace, &self.tools)?;
        let echo = artifacts::build_echo(self.workspace, &self.tools)?;
        let cases = artifacts::build_wsk_cases(self.workspace, &self.tools)?;
        artifacts::build_sound_driver(self.workspace, &self.tools, Profile::Release)?;
        artifacts::build_sound_driver(self.workspace, &self.tools, Profile::Debug)?;
        artifacts::build_native_harness(self.workspace)?;
        progress("lab tests");
        let seed_text = seed.to_string();
        let environment = [
            ("FAULTY_SYS", faulty.as_os_str()),
            ("WSK_ECHO_SYS", echo.as_os_str()),
            ("WSK_CASES_SYS", cases.as_os_str()),
            ("WSK_SEED", seed_text.as_ref()),
        ];
        let run = Run { place: Place::Lab, arguments, environment: &environment, show: self.show };
        let mut results = run.run(&self.programs(&["--package", "faulty-judge", "--package", "wsk-tests"])?)?;
        results.add(self.contract(arguments, seed)?);
        Ok(results)
    }

    /// The clauses of the contract, on drivers that have been built, with the lab's choices from `seed`.
    fn contract(&self, arguments: &[String], seed: u64) -> Result<Results> {
        let seed_text = seed.to_string();
        let (release, debug) = (self.workspace.driver(Profile::Release), self.workspace.driver(Profile::Debug));
        let harness = self.workspace.native_wskctl();
        let environment = [
            ("WSKCLIENT_SYS", release.as_os_str()),
            ("WSKCLIENT_SYS_DEBUG", debug.as_os_str()),
            ("WSKCTL", harness.as_os_str()),
            ("WSKCLIENT_SEED", seed_text.as_ref()),
        ];
        let run = Run { place: Place::Lab, arguments, environment: &environment, show: self.show };
        let results = run.run(&self.programs(&["--package", "contract"])?)?;
        for test in results.failures() {
            (self.show)(&format!("replay: cargo lab test --lab --seed {seed} -- --exact {}", test.name));
        }
        Ok(results)
    }

    /// The story that this program tells in stock Wine, as one test.
    pub fn wine(&self, arguments: &[String]) -> Result<Results> {
        artifacts::build_sound_driver(self.workspace, &self.tools, Profile::Release)?;
        artifacts::build_windows_harness(self.workspace, &self.tools)?;
        progress("Wine tests");
        let programs = self.programs(&["--package", "contract", "--test", "wine"])?;
        let environment = [("LAB", self.this_program.as_os_str())];
        let arguments = [&["--ignored".to_owned()], arguments].concat();
        Run { place: Place::Wine, arguments: &arguments, environment: &environment, show: self.show }.run(&programs)
    }

    /// Those of the contract's tests that need nothing of the lab's own, in stock Wine.
    pub fn portable(&self, arguments: &[String]) -> Result<Results> {
        let driver = artifacts::build_sound_driver(self.workspace, &self.tools, Profile::Release)?;
        artifacts::build_windows_harness(self.workspace, &self.tools)?;
        let mut programs = artifacts::build_contract_for_windows(self.workspace)?;
        programs.retain(|program| (self.chosen)(program));
        wine::tests::run(self.workspace, &self.tools, driver, &programs, arguments, self.show)
    }

    /// Counts as one test.
    fn layouts(&self) -> Results {
        match layouts::check(self.workspace, &self.tools) {
            Ok(assertions) => {
                (self.show)(&format!("test layouts: {assertions} sizes and offsets agree with the C headers ... ok"));
                Results::of_one(true)
            }
            Err(error) => {
                (self.show)(&format!("test layouts ... FAILED\n{error:#}"));
                Results::of_one(false)
            }
        }
    }

    fn programs(&self, arguments: &[&str]) -> Result<Vec<Program>> {
        let mut programs = suite::build(self.workspace, arguments)?;
        programs.retain(|program| (self.chosen)(program));
        Ok(programs)
    }
}
