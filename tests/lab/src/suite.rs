//! Test programs: built by cargo, run one after the other, and what became of each test.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;
use serde::Serialize;

use crate::{
    command::{cargo, shown},
    workspace::Workspace,
};

/// Where tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On this machine, without a driver.
    Host,
    /// On the driver in the in-process kernel.
    Lab,
    /// On the driver in stock Wine.
    Wine,
}

impl Place {
    /// Whether it is the real `.sys` that runs there.
    pub fn runs_the_driver(self) -> bool {
        self != Self::Host
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Lab => "lab",
            Self::Wine => "Wine",
        }
    }
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    Passed,
    Failed,
    Ignored,
}

/// A test: the root source file of its program, and its path in there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    pub root: PathBuf,
    pub name: String,
}

/// One test program.
pub struct Program {
    /// The source file that is its root.
    pub root: PathBuf,
    pub file: PathBuf,
    package: PathBuf,
}

/// How many tests passed and failed, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    pub passed: usize,
    pub failed: usize,
    pub endings: BTreeMap<(Test, Place), Ending>,
}

impl Results {
    /// One check that is no test program's.
    pub fn of_one(passed: bool) -> Self {
        Self { passed: usize::from(passed), failed: usize::from(!passed), ..Self::default() }
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        for (test, ending) in other.endings {
            let known = self.endings.entry(test).or_insert(ending);
            // With one seed it passed, with another it did not.
            if ending == Ending::Failed {
                *known = ending;
            }
        }
    }

    /// The tests that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Test> {
        self.endings.iter().filter(|(_, ending)| **ending == Ending::Failed).map(|((test, _), _)| test)
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

/// What a line of the test runner says of one test: `test pool::grows ... ok`.
fn ending(line: &str) -> Option<(&str, Ending)> {
    let (name, how) = line.strip_prefix("test ")?.split_once(" ... ")?;
    // Some runners pad the names.
    let name = name.trim_end();
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    match how.split(|letter: char| !letter.is_alphabetic()).next()? {
        "ok" => Some((name, Ending::Passed)),
        "FAILED" => Some((name, Ending::Failed)),
        "ignored" => Some((name, Ending::Ignored)),
        _ => None,
    }
}

/// Builds the test programs that cargo's `arguments` choose.
pub fn build(workspace: &Workspace, arguments: &[&str]) -> Result<Vec<Program>> {
    build_with(test_cargo(workspace).args(arguments))
}

/// Builds the test programs that a `cargo test` chooses.
pub fn build_with(command: &mut Command) -> Result<Vec<Program>> {
    command.args(["--no-run", "--message-format", "json-render-diagnostics"]);
    let name = shown(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{name}`"))?;
    let output = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
    let mut programs = Vec::new();
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message?
            && let (true, Some(file)) = (artifact.profile.test, artifact.executable)
        {
            let package = artifact.manifest_path.parent().context("a manifest lies in a folder")?;
            programs.push(Program {
                root: artifact.target.src_path.into(),
                file: file.into(),
                package: package.to_owned().into(),
            });
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`{name}` ended with {status}");
    Ok(programs)
}

/// `cargo test`, ready for arguments.
pub fn test_cargo(workspace: &Workspace) -> Command {
    let mut command = cargo();
    command.current_dir(workspace.root()).args(["test", "--locked", "--no-fail-fast"]);
    command
}

/// How programs are run.
pub struct Run<'a> {
    pub place: Place,
    /// For the test runner.
    pub arguments: &'a [String],
    pub environment: &'a [(&'a str, &'a OsStr)],
    /// Where the lines go that the programs write.
    pub show: fn(&str),
}

impl Run<'_> {
    /// Runs the programs, one after the other.
    pub fn run(&self, programs: &[Program]) -> Result<Results> {
        let mut results = Results::default();
        for program in programs {
            (self.show)(&format!("     Running {}", program.file.display()));
            let mut command = Command::new(&program.file);
            command
                .args(self.arguments)
                .current_dir(&program.package)
                .env("CARGO_MANIFEST_DIR", &program.package)
                .envs(self.environment.iter().copied());
            results.add(self.run_command(&mut command, &program.root)?);
        }
        Ok(results)
    }

    /// Runs a command that writes what the test runner writes. One that fails without a failed test is one failure.
    pub fn run_command(&self, command: &mut Command, root: &Path) -> Result<Results> {
        let name = shown(command);
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{name}`"))?;
        let mut results = Results::default();
        for line in BufReader::new(child.stdout.take().context("a pipe was asked for")?).split(b'\n') {
            let line = line.with_context(|| format!("cannot read what `{name}` writes"))?;
            self.take(&String::from_utf8_lossy(&line), root, &mut results);
        }
        let status = child.wait()?;
        if !status.success() && results.failed == 0 {
            (self.show)(&format!("`{name}` ended with {status}"));
            results.failed = 1;
        }
        Ok(results)
    }

    /// What became of the tests, from all that their program has written.
    pub fn read(&self, output: &str, root: &Path) -> Results {
        let mut results = Results::default();
        output.lines().for_each(|line| self.take(line, root, &mut results));
        results
    }

    fn take(&self, line: &str, root: &Path, results: &mut Results) {
        (self.show)(line);
        results.count(line);
        if let Some((name, ending)) = ending(line) {
            let test = Test { root: root.to_owned(), name: name.to_owned() };
            results.endings.insert((test, self.place), ending);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_summary_lines_are_added_up() {
        let mut results = Results::default();
        results.count("test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.07s");
        results.count("test something ... ok");
        results
            .count("test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s");
        assert_eq!((results.passed, results.failed), (14, 4));
    }

    #[test]
    fn the_runners_lines_say_how_each_test_ended() {
        assert_eq!(ending("test gate::tests::opens ... ok"), Some(("gate::tests::opens", Ending::Passed)));
        assert_eq!(ending("test opens ... FAILED"), Some(("opens", Ending::Failed)));
        assert_eq!(ending("test opens ... ignored, needs Wine"), Some(("opens", Ending::Ignored)));
        assert_eq!(ending("test opens - should panic ... ok"), Some(("opens", Ending::Passed)));
        assert_eq!(ending("test opens   ... ignored (needs cancel)"), Some(("opens", Ending::Ignored)));
        assert_eq!(ending("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(ending("running 3 tests"), None);
    }
}
