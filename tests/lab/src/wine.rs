//! `cargo lab wine`: the very same `.sys` in stock Wine, with somebody else's WSK and a real user process.
//!
//! The driver is installed from its INF and loaded, the harness's demonstration runs against it, a process that holds
//! pending requests is killed, the next one starts at once, the driver is unloaded and uninstalled, and nothing is left. Then the
//! `wsk` crate's example, the echo server, with programs of this machine as its peers.

mod install;
mod prefix;
mod service;
mod wsk;

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::{
    artifacts,
    cli::{self, Format},
    command::bounded,
    report::{Outcome, progress},
    setup::{self, files},
    workspace::{Profile, Workspace},
};
use prefix::Prefix;

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
    let driver = artifacts::build_sound_driver(workspace, &tools, Profile::Release)?;
    let harness = artifacts::build_windows_harness(workspace, &tools)?;
    let example = artifacts::build_echo(workspace, &tools)?;
    let cases = artifacts::build_wsk_cases(workspace, &tools)?;
    bounded::clean_up_when_interrupted()?;
    let _only_one = lock(workspace)?;
    let teller = Teller { format: options.format, start: Instant::now() };

    progress("making a Wine prefix");
    let mut prefix = Prefix::create(&tools, &workspace.lab().join("wine"), &options.wine_debug)?;
    teller.tell("prefix", "made afresh");
    let mut summary = story(workspace, &mut prefix, &driver, &harness, &teller)?;
    let bytes = wsk::echo(&mut prefix, &example)?;
    summary.insert("example_echoed".to_owned(), json!(bytes));
    teller.tell(
        "example",
        "the wsk crate's echo server served programs of this machine and was unloaded with a connection open",
    );
    wsk::case(&mut prefix, &cases, "lacks_functions")?;
    summary.insert("missing_functions_refused".to_owned(), json!(true));
    teller.tell("example", "functions that Wine's WSK lacks are errors of the wsk crate, and leave nothing behind");
    prefix.close()?;
    install::ensure_no_key(&workspace.lab().join("wine"))?;
    teller.tell("prefix", "no process left, no file, no key");
    teller.conclude(&summary);
    Ok(())
}

/// From loading the driver to unloading it. Gives the demonstration's summary, and what was seen besides.
fn story(
    workspace: &Workspace,
    prefix: &mut Prefix<'_>,
    driver: &Path,
    harness: &Path,
    teller: &Teller,
) -> Result<Map<String, Value>> {
    install_harness(prefix, harness, &workspace.lab().join("wine-libraries"))?;
    let installed = install::install(workspace, prefix, driver)?;
    teller.tell("install", "file and service are there, from the INF");
    service::start(prefix)?;
    teller.tell("driver", "loaded and started by sc");
    let mut summary = demo(prefix, teller)?;
    teller.tell("demo", "ok");
    kill_a_holder(prefix, teller)?;
    demo(prefix, teller).context("after a process was killed")?;
    teller.tell("restart", "the next process starts at once, and its demo is ok");
    service::stop(prefix)?;
    teller.tell("driver", "stopped by sc");
    installed.uninstall(prefix)?;
    teller.tell("install", "undone: file and service are gone");
    summary.insert("installed_from_inf".to_owned(), json!(true));
    summary.insert("backend".to_owned(), json!("wine"));
    summary.insert("survived_kill".to_owned(), json!(true));
    Ok(summary)
}

/// Two sessions in one prefix would end each other.
fn lock(workspace: &Workspace) -> Result<File> {
    let path = workspace.lab().join("wine.lock");
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if lock.try_lock().is_err() {
        progress("waiting for another `cargo lab wine`");
        lock.lock().context("cannot lock the Wine prefix")?;
    }
    Ok(lock)
}

fn install_harness(prefix: &Prefix<'_>, harness: &Path, libraries: &Path) -> Result<()> {
    let folder = prefix.drive_c("wskclient");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    files::copy(harness, &folder.join("wskctl.exe"))?;
    files::copy(&libraries.join("bcryptprimitives.dll"), &folder.join("bcryptprimitives.dll"))
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
                let figures = summary.iter().filter(|(name, value)| *name != "event" && !value.is_null());
                let figures: Vec<_> = figures.map(|(name, value)| format!("{name}={value}")).collect();
                println!("wine: {}", figures.join(" ").replace('"', ""));
            }
        }
    }
}
