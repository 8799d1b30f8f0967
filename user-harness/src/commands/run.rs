//! `wskctl run`: scenario files, each on a fresh start of the backend.

use crate::{
    Error, Exit,
    backend::{Backend, Choice},
    cli::Run,
    output::{Event, Output, report},
    scenario::{Done, Failure, Scenario, Source},
};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Scenario { file: &'a str, title: &'a str, proves: &'a [String], steps: usize },
    Step(&'a Done),
    Skipped { file: &'a str, lacks: &'static str },
    Problem { file: &'a str, line: usize, column: usize, message: &'a str, label: &'a str, help: Option<&'a str> },
    Result { file: &'a str, result: &'static str, steps: usize, violations: Option<usize>, leaks: Option<usize> },
    Summary { result: &'static str, passed: usize, failed: usize, skipped: usize },
}

const HEAD: anstyle::Style = anstyle::AnsiColor::Cyan.on_default().bold();
const GOOD: anstyle::Style = anstyle::AnsiColor::Green.on_default().bold();
const BAD: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
const FAINT: anstyle::Style = anstyle::Style::new().dimmed();

impl Event for Told<'_> {
    fn human(&self) -> String {
        match self {
            Self::Scenario { file, title, proves, .. } => {
                let proves = if proves.is_empty() { String::new() } else { format!(" ({})", proves.join(", ")) };
                format!("{HEAD}{title}{HEAD:#}{proves}\n{FAINT}{file}{FAINT:#}")
            }
            Self::Step(done) => {
                let note = done.note.as_ref().map(|note| format!("{FAINT}      # {note}{FAINT:#}\n"));
                format!("{}{:5} {:<50} {}", note.unwrap_or_default(), done.line, done.what, done.outcome)
            }
            Self::Skipped { lacks, .. } => format!("skipped: needs `{lacks}`, which this backend is without\n"),
            // The excerpt goes to standard error.
            Self::Problem { file, line, column, message, .. } => format!("{file}:{line}:{column}: {message}"),
            Self::Result { result: "ok", steps, violations, leaks, .. } => {
                let verdict = match (violations, leaks) {
                    (Some(violations), Some(leaks)) => format!(", {violations} violations, {leaks} leaks"),
                    _ => String::new(),
                };
                format!("{GOOD}ok{GOOD:#}: {steps} steps{verdict}\n")
            }
            Self::Result { steps, .. } => format!("{BAD}failed{BAD:#} after {steps} steps\n"),
            Self::Summary { result, passed, failed, skipped } => {
                let style = if *result == "ok" { GOOD } else { BAD };
                format!("{style}{result}{style:#}: {passed} passed, {failed} failed, {skipped} skipped")
            }
        }
    }
}

/// How many came out how, and the exit code of the worst.
struct Sum {
    passed: usize,
    failed: usize,
    skipped: usize,
    exit: Exit,
}

pub(super) fn run(choice: &Choice, arguments: &Run, output: &mut Output) -> Result<Exit, Error> {
    let mut sum = Sum { passed: 0, failed: 0, skipped: 0, exit: Exit::Success };
    let mut scenarios = Vec::new();
    for path in &arguments.files {
        scenarios.extend(read(path, output, &mut sum)?);
    }
    // Nothing runs before every file is understood.
    if sum.failed == 0 && !arguments.check {
        for scenario in &scenarios {
            one(choice, scenario, output, &mut sum)?;
        }
    } else if arguments.check {
        sum.passed = scenarios.len();
    }
    if arguments.files.len() > 1 || arguments.check || sum.exit == Exit::Usage {
        let result = if sum.failed == 0 { "ok" } else { "failed" };
        let Sum { passed, failed, skipped, .. } = sum;
        output.emit(&Told::Summary { result, passed, failed, skipped })?;
    }
    Ok(sum.exit)
}

/// Reads a file; one that is no scenario is told of in full.
fn read(path: &Path, output: &mut Output, sum: &mut Sum) -> Result<Option<Scenario>, Error> {
    let wrong = match Scenario::read(path)? {
        Ok(scenario) => return Ok(Some(scenario)),
        Err(wrong) => wrong,
    };
    anstream::eprintln!("{}\n", wrong.text());
    for problem in &wrong.problems {
        let (line, column) = wrong.source.position(problem.span.start);
        let help = problem.help.as_deref();
        output.emit_json(&Told::Problem {
            file: &wrong.source.name,
            line,
            column,
            message: &problem.message,
            label: &problem.label,
            help,
        })?;
    }
    (sum.failed, sum.exit) = (sum.failed + 1, Exit::Usage);
    Ok(None)
}

fn one(choice: &Choice, scenario: &Scenario, output: &mut Output, sum: &mut Sum) -> Result<(), Error> {
    let Source { name: file, .. } = &scenario.source;
    let backend = choice.open()?;
    output.emit(&Told::Scenario { file, title: &scenario.title, proves: &scenario.proves, steps: scenario.len() })?;
    if let Some(feature) = scenario.lacking(&backend) {
        sum.skipped += 1;
        output.emit(&Told::Skipped { file, lacks: feature.name() })?;
        return backend.finish_clean();
    }
    let mut steps = 0;
    let ran = scenario.run(&backend, |done| {
        steps += 1;
        output.emit(&Told::Step(&done))
    });
    let exit = match &ran {
        Ok(()) => Exit::Success,
        Err(Failure::Step(problem)) => {
            anstream::eprintln!("{}", problem.text(&scenario.source));
            let (line, column) = scenario.source.position(problem.span.start);
            output.emit_json(&Told::Problem {
                file,
                line,
                column,
                message: &problem.message,
                label: &problem.label,
                help: None,
            })?;
            Exit::Failed
        }
        Err(Failure::Error(error)) => {
            report(error);
            error.exit()
        }
    };
    let (exit, violations, leaks) = finish(backend, exit);
    let result = if exit == Exit::Success { "ok" } else { "failed" };
    if exit == Exit::Success {
        sum.passed += 1;
    } else {
        sum.failed += 1;
        sum.exit = exit;
    }
    output.emit(&Told::Result { file, result, steps, violations, leaks })
}

/// Ends the backend; a broken rule explains whatever else went wrong.
fn finish(backend: Backend, exit: Exit) -> (Exit, Option<usize>, Option<usize>) {
    let Some(verdict) = backend.finish() else { return (exit, None, None) };
    let (violations, leaks) = (verdict.violations, verdict.leaks);
    let exit = if verdict.is_clean() {
        exit
    } else {
        let error = verdict.into_error();
        report(&error);
        error.exit()
    };
    (exit, Some(violations), Some(leaks))
}
