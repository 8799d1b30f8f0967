//! `cargo lab run`: any WDM driver in the in-process kernel: load, start, a scenario, unload, and what was broken.

mod player;
mod scenario;

use std::{path::Path, time::Duration};

use anyhow::Result;
use ntlab::{Chaos, Driver, Judged, LoadError, Machine, Options, Replays, Report, Stop, etw::Event};
use serde_json::json;

use self::{
    player::Player,
    scenario::{Parameter, Scenario},
};
use crate::{
    cli::{self, Format},
    report::{Misused, Outcome, Unloadable, progress},
};

/// `cargo lab run`
pub fn run(options: &cli::Run) -> Result<Outcome> {
    let outcome = run_all(options);
    if let Err(error) = &outcome {
        options.format.summarize_failure(error, &[]);
    }
    outcome
}

fn run_all(options: &cli::Run) -> Result<Outcome> {
    let scenario = match options.scenario.as_deref().map(Scenario::read).transpose() {
        Ok(scenario) => scenario,
        Err(error) => return Err(Misused(format!("{error:#}")).into()),
    };
    if options.low_resources {
        return low_resources(options, scenario.as_ref());
    }
    let seeds = options.seed..options.seed.saturating_add(options.seeds.max(1));
    let (runs, mut failed) = (seeds.end - seeds.start, Vec::new());
    for seed in seeds {
        let run = Run::new(options, scenario.as_ref(), Options { seed, ..machine_options(options) });
        let verdict = run.play()?;
        let replays = if verdict.is_good() || options.replays == 0 {
            None
        } else {
            Some(ntlab::replay(&run.machine_options, options.replays, |_| run.play())?)
        };
        verdict.tell(options, &run.machine_options, replays.as_ref(), runs == 1);
        if !verdict.is_good() {
            failed.push(seed);
        }
    }
    if runs > 1 {
        sum_up(options, runs, &failed);
    }
    Ok(Outcome::of(failed.is_empty()))
}

/// The last words about several seeds.
fn sum_up(options: &cli::Run, runs: u64, failed: &[u64]) {
    match options.format {
        Format::Human => println!("{runs} seeds, {} failed{}", failed.len(), listed(failed)),
        Format::Json => {
            let result = if failed.is_empty() { "passed" } else { "failed" };
            println!(
                "{}",
                json!({"event": "summary", "result": result, "runs": runs, "failed": failed.len(), "seeds": failed})
            );
        }
    }
}

fn listed(seeds: &[u64]) -> String {
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    if seeds.is_empty() { String::new() } else { format!(": {}", seeds.join(", ")) }
}

fn machine_options(options: &cli::Run) -> Options {
    Options {
        seed: options.seed,
        hang: Duration::from_secs(options.hang),
        fail_allocation: options.fail_allocation,
        chaos: options.chaos,
        windows: options.windows,
        ..Options::default()
    }
}

/// Every allocation that the scenario reaches fails once.
fn low_resources(options: &cli::Run, scenario: Option<&Scenario>) -> Result<Outcome> {
    let play = |machine_options: Options| {
        if let Some(number) = machine_options.fail_allocation
            && number % 25 == 0
        {
            progress(format!("allocation {number} fails"));
        }
        Run::new(options, scenario, machine_options).play()
    };
    let basis = machine_options(options);
    let found = ntlab::low_resources(&basis, play)?;
    found.first.tell(options, &basis, None, false);
    for (number, verdict) in &found.failed {
        verdict.tell(options, &Options { fail_allocation: Some(*number), ..basis.clone() }, None, false);
    }
    match options.format {
        Format::Human => println!(
            "low resources: {} allocations, made in {} places, failed in turn; {} runs broke a rule or leaked",
            found.allocations,
            found.sites.len(),
            found.failed.len()
        ),
        Format::Json => {
            let sites: Vec<_> =
                found.sites.iter().map(|(site, times)| json!({"site": site, "allocations": times})).collect();
            println!(
                "{}",
                json!({
                    "event": "summary", "result": if found.is_good() { "passed" } else { "failed" },
                    "allocations": found.allocations, "sites": sites, "failed": found.failed.len(),
                })
            );
        }
    }
    Ok(Outcome::of(found.is_good()))
}

/// One machine's life.
struct Run<'a> {
    options: &'a cli::Run,
    scenario: Option<&'a Scenario>,
    machine_options: Options,
}

/// What became of it.
struct Verdict {
    names: Vec<String>,
    steps: u64,
    /// What was not as the scenario expects, or how the driver refused.
    unexpected: Option<String>,
    report: Report,
}

impl<'a> Run<'a> {
    fn new(options: &'a cli::Run, scenario: Option<&'a Scenario>, machine_options: Options) -> Self {
        Self { options, scenario, machine_options }
    }

    /// An allocation that fails on purpose, a cancellation, a death excuse every error but a broken rule.
    fn is_strict(&self) -> bool {
        self.machine_options.fail_allocation.is_none() && !self.machine_options.chaos.disturbs()
    }

    fn play(&self) -> Result<Verdict> {
        let machine = Machine::new(self.machine_options.clone());
        let driver = load(&machine, self.options)?;
        for (name, value) in self.scenario.iter().flat_map(|scenario| &scenario.parameters) {
            match value {
                Parameter::Number(number) => driver.set_parameter(name, *number),
                Parameter::Text(text) => driver.set_parameter(name, text.as_str()),
            }
        }
        let network = self.scenario.and_then(|scenario| scenario.network.as_ref());
        let _echoes = network.map(|network| network.make(&machine)).transpose()?;
        let mut verdict = Verdict { names: Vec::new(), steps: 0, unexpected: None, report: Report::default() };
        let outcome = self.live(&machine, &driver, &mut verdict);
        verdict.report = machine.finish();
        if self.is_strict() && verdict.report.violations.is_empty() {
            verdict.unexpected = outcome.err().map(|error| format!("{error:#}"));
        }
        Ok(verdict)
    }

    fn live(&self, machine: &Machine, driver: &Driver, verdict: &mut Verdict) -> Result<()> {
        driver.start().map_err(|stop| stopped("DriverEntry failed", &stop))?;
        verdict.names = machine.device_names();
        let mut player = Player::new(machine, Duration::from_secs(self.options.hang), self.is_strict());
        let outcome = match self.scenario {
            Some(scenario) => player.play(&scenario.steps),
            None => player.open_all(&verdict.names),
        };
        player.end();
        verdict.steps = player.played;
        let unloaded = driver.unload().map_err(|stop| stopped("the driver could not be unloaded", &stop));
        outcome.and(unloaded)
    }
}

fn stopped(what: &str, stop: &Stop) -> anyhow::Error {
    match stop {
        // The report says it in full.
        Stop::Violation(violation) => anyhow::anyhow!("{what}: {}", violation.rule.name),
        other => anyhow::anyhow!("{what}: {other}"),
    }
}

fn load(machine: &Machine, options: &cli::Run) -> Result<Driver> {
    machine.load(&options.driver).map_err(|error| {
        if let (Format::Json, LoadError::Missing(_, imports) | LoadError::TooNew(_, _, imports)) =
            (options.format, &error)
        {
            for import in imports {
                println!("{}", json!({"event": "missing", "import": import}));
            }
        }
        let text = match &error {
            LoadError::Read(path, cause) => format!("{path}: {cause}"),
            LoadError::Missing(name, missing) => {
                format!("{name} imports {} that the lab does not have:\n  {}", missing.len(), missing.join("\n  "))
            }
            _ => error.to_string(),
        };
        Unloadable(text).into()
    })
}

impl Judged for Verdict {
    fn report(&self) -> &Report {
        &self.report
    }

    fn is_good(&self) -> bool {
        self.unexpected.is_none() && self.report.is_clean()
    }
}

impl Verdict {
    /// Tells what became of a run, which is all of the command if it is `alone`.
    fn tell(&self, options: &cli::Run, machine_options: &Options, replays: Option<&Replays>, alone: bool) {
        match options.format {
            Format::Human => self.tell_people(options, machine_options, replays),
            Format::Json => self.tell_programs(options, machine_options, replays, alone),
        }
    }

    fn tell_people(&self, options: &cli::Run, machine_options: &Options, replays: Option<&Replays>) {
        if options.output {
            for line in &self.report.output {
                println!("| {line}");
            }
        }
        if options.trace {
            self.report.events.iter().for_each(|event| println!("{event}"));
        }
        if !self.names.is_empty() {
            println!("devices: {}", self.names.join(", "));
        }
        print!("{} steps, {}", self.steps, self.report);
        if let Some(unexpected) = &self.unexpected {
            println!("failed: {unexpected}");
        }
        if !self.is_good() {
            println!("replay: {}", replay(options, machine_options));
        }
        if let Some(replays) = replays {
            println!("{replays}");
        }
    }

    fn tell_programs(&self, options: &cli::Run, machine_options: &Options, replays: Option<&Replays>, alone: bool) {
        for violation in &self.report.violations {
            println!(
                "{}",
                json!({
                    "event": "violation", "rule": violation.rule.name, "windows_name": violation.rule.windows_name,
                    "message": violation.message, "irql": violation.irql, "history": violation.history,
                    "calls": violation.calls, "stack": violation.stack,
                    "places": violation.places().iter().map(ToString::to_string).collect::<Vec<_>>(),
                })
            );
        }
        if options.trace {
            self.report.events.iter().for_each(|event| println!("{}", trace_line(event)));
        }
        let mut summary = json!({
            "event": if alone { "summary" } else { "run" }, "result": if self.is_good() { "passed" } else { "failed" }, "devices": self.names,
            "steps": self.steps, "violations": self.report.violations.len(), "leaks": self.report.leaks,
            "irps": self.report.irps, "allocations": self.report.allocations, "seed": machine_options.seed,
        });
        if options.output {
            summary["output"] = json!(self.report.output);
        }
        if let Some(unexpected) = &self.unexpected {
            summary["error"] = json!(unexpected);
        }
        if !self.is_good() {
            summary["replay"] = json!(replay(options, machine_options));
        }
        if let Some(site) = machine_options.fail_allocation {
            summary["failed_allocation"] = json!({"number": site, "stack": self.report.failed_allocation});
        }
        if let Some(replays) = replays {
            summary["replays"] = json!({
                "times": replays.times, "failed": replays.failed, "steady": replays.is_steady(), "outcomes": replays.outcomes,
            });
        }
        println!("{summary}");
    }
}

/// An event of the driver, for programs. Values are text, as people read them: a number may be larger than JSON's.
fn trace_line(event: &Event) -> serde_json::Value {
    let fields: Vec<_> = event.fields.iter().map(|field| json!([field.name, field.value.to_string()])).collect();
    json!({
        "event": "trace", "microseconds": u64::try_from(event.at.as_micros()).unwrap_or(u64::MAX),
        "provider": event.provider, "name": event.name, "level": event.level, "keyword": event.keyword,
        "irql": event.irql, "fields": fields,
    })
}

/// The command that runs the same once more.
fn replay(options: &cli::Run, machine: &Options) -> String {
    let mut words = vec!["cargo lab run".to_owned(), quoted(&options.driver)];
    if let Some(scenario) = &options.scenario {
        words.push(format!("--scenario {}", quoted(scenario)));
    }
    words.push(format!("--seed {}", machine.seed));
    if machine.chaos != Chaos::default() {
        words.push(format!("--chaos {}", machine.chaos));
    }
    if let Some(site) = machine.fail_allocation {
        words.push(format!("--fail-allocation {site}"));
    }
    if machine.windows != Options::default().windows {
        words.push(format!("--windows {}", machine.windows));
    }
    words.push(format!("--hang {}", options.hang));
    words.join(" ")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
