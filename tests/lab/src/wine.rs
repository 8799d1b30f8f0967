//! `cargo lab wine`: the very same `.sys` in stock Wine, with somebody else's WSK and a real user process.
//!
//! The driver is installed from its INF and loaded, the harness's demonstration runs against it, a process that holds
//! pending requests is killed, the next one starts at once, each of the harness's commands is used as a person uses it, the
//! scenarios run that stock Wine can carry, the driver is unloaded and uninstalled, and nothing is left. Besides, the `wsk` crate's
//! example, the echo server, with programs of this machine as its peers.

mod commands;
mod install;
mod prefix;
mod scenarios;
mod service;
mod session;
pub mod tests;
mod wsk;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::{
    artifacts,
    cli::{self, Format},
    command::bounded,
    package,
    report::{Outcome, progress},
    setup,
    workspace::{Profile, Workspace},
};
use prefix::Prefix;
use session::{Payload, Session};

const DEMO: Duration = Duration::from_mins(4);
const HOLD: Duration = Duration::from_mins(1);
/// Where the harness lies in the prefix.
const HARNESS: &str = r"C:\wskclient\wskctl.exe";

/// `cargo lab wine`
pub fn run(workspace: &Workspace, options: &cli::Wine) -> Result<Outcome> {
    match build_and_run(workspace, options) {
        Ok(()) => Ok(Outcome::Holds),
        Err(error) => {
            options.format.summarize_failure(&error, &[("backend", "wine")]);
            Err(error)
        }
    }
}

fn build_and_run(workspace: &Workspace, options: &cli::Wine) -> Result<()> {
    let tools = setup::prepare(workspace)?;
    let (payload, drivers) = if options.package {
        artifacts::build_bcrypt_primitives(workspace, &tools)?;
        (Payload::of_package(&package::unpack(workspace)?)?, None)
    } else {
        let driver = artifacts::build_sound_driver(workspace, &tools, Profile::Release)?;
        let harness = artifacts::build_windows_harness(workspace, &tools)?;
        let drivers = (artifacts::build_echo(workspace, &tools)?, artifacts::build_wsk_cases(workspace, &tools)?);
        (Payload::built(workspace, driver, harness)?, Some(drivers))
    };
    bounded::clean_up_when_interrupted()?;
    let teller = Teller { format: options.format, start: Instant::now() };
    let mut session = Session::open(workspace, &tools, &payload, &options.debug)?;
    teller.tell("install", "file, service and parameters are there, from the INF, in a prefix made afresh");
    let mut summary = story(&mut session.prefix, &teller)?;
    summary.insert("from_package".to_owned(), json!(options.package));
    if let Some((example, cases)) = drivers {
        let bytes = wsk::echo(&mut session.prefix, &example)?;
        summary.insert("example_echoed".to_owned(), json!(bytes));
        teller.tell(
            "example",
            "the wsk crate's echo server served programs of this machine and was unloaded with a connection open",
        );
        wsk::case(&mut session.prefix, &cases, "lacks_functions")?;
        summary.insert("missing_functions_refused".to_owned(), json!(true));
        teller.tell("example", "functions that Wine's WSK lacks are errors of the wsk crate, and leave nothing behind");
    }
    session.close()?;
    teller.tell("install", "undone: no file, no service, no key, no process is left");
    teller.conclude(&summary);
    Ok(())
}

/// From loading the driver to unloading it. Gives the demonstration's summary, and what was seen besides.
fn story(prefix: &mut Prefix<'_>, teller: &Teller) -> Result<Map<String, Value>> {
    service::start(prefix)?;
    teller.tell("driver", "loaded and started by sc");
    let mut summary = demo(prefix, teller)?;
    teller.tell("demo", "ok");
    kill_a_holder(prefix, teller)?;
    demo(prefix, teller).context("after a process was killed")?;
    teller.tell("restart", "the next process starts at once, and its demo is ok");
    commands::run(prefix, teller)?;
    let scenarios = scenarios::run(prefix, teller)?;
    service::stop(prefix)?;
    teller.tell("driver", "stopped by sc");
    summary.insert("scenarios_passed".to_owned(), json!(scenarios.passed));
    summary.insert("scenarios_skipped".to_owned(), json!(scenarios.skipped));
    summary.insert("installed_from_inf".to_owned(), json!(true));
    summary.insert("backend".to_owned(), json!("wine"));
    summary.insert("survived_kill".to_owned(), json!(true));
    Ok(summary)
}

/// Runs the demonstration and gives its summary.
fn demo(prefix: &mut Prefix<'_>, teller: &Teller) -> Result<Map<String, Value>> {
    progress("running wskctl.exe demo");
    let mut process = prefix.start(HARNESS, &["demo", "--backend", "device", "--format", "json"])?;
    let status = process.wait(DEMO)?;
    let output = process.output()?;
    let mut events: Vec<_> = output.lines().filter_map(event).collect();
    let summary = events.pop_if(|event| event.get("event") == Some(&json!("summary")));
    for event in &events {
        teller.pass_on(event);
    }
    match summary {
        Some(summary) if status.success() && summary.get("result") == Some(&json!("ok")) => Ok(summary),
        Some(summary) => {
            let error = summary.get("error").and_then(Value::as_str);
            bail!("wskctl.exe demo ended with {status}: {}", error.unwrap_or("it does not say why"))
        }
        None => bail!("wskctl.exe demo ended with {status} and no summary\n{}", process.complaint()),
    }
}

/// One line of the harness's JSON output.
fn event(line: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(line).ok()
}

/// Starts a process that holds pending requests, and kills it.
fn kill_a_holder(prefix: &mut Prefix<'_>, teller: &Teller) -> Result<()> {
    progress("killing a wskctl.exe that has requests pending");
    let mut holder = prefix.start(HARNESS, &["hold", "--backend", "device", "--format", "json"])?;
    let line =
        holder.line(HOLD, |line| event(line).is_some_and(|event| event.get("event") == Some(&json!("holding"))))?;
    if let Some(event) = event(&line) {
        teller.pass_on(&event);
    }
    let process = holder.id();
    // In Wine a program's process is a process of this machine, and its command line is the Windows one.
    let command_line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let command_line = String::from_utf8_lossy(&command_line);
    ensure!(command_line.contains("wskctl.exe"), "process {process} is not wskctl.exe but {command_line}");
    holder.kill()?;
    teller.tell("kill", "a wskctl.exe with requests pending was killed");
    Ok(())
}

/// Tells each step as it is done.
struct Teller {
    format: Format,
    start: Instant,
}

impl Teller {
    fn tell(&self, step: &str, what: &str) {
        let elapsed = self.start.elapsed().as_secs_f64();
        match self.format {
            Format::Human => println!("{elapsed:6.1} s  {step:<8} {what}"),
            Format::Json => println!("{}", json!({"event": "step", "step": step, "what": what, "seconds": elapsed})),
        }
    }

    /// An event of the harness's own.
    fn pass_on(&self, event: &Map<String, Value>) {
        if self.format == Format::Json {
            println!("{}", Value::Object(event.clone()));
        }
    }

    fn conclude(&self, summary: &Map<String, Value>) {
        match self.format {
            Format::Json => println!("{}", Value::Object(summary.clone())),
            Format::Human => {
                let plain = |value: &Value| !value.is_null() && !value.is_object();
                let figures = summary.iter().filter(|(name, value)| *name != "event" && plain(value));
                let figures: Vec<_> = figures.map(|(name, value)| format!("{name}={value}")).collect();
                println!("wine: {}", figures.join(" ").replace('"', ""));
            }
        }
    }
}
