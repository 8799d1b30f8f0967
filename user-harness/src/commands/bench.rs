//! `wskctl bench`: how fast, compared with the host's own sockets, and how sure that is.

use crate::{
    Client, Error,
    backend::Choice,
    bench::{self, Better, Measure},
    interrupt::Interrupt,
    output::{DIM, Event, GOOD, HEAD, Output},
    progress::Progress,
};
use serde::Serialize;
use std::time::Duration;

/// How long, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each measure is taken
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeats: u16,
    /// How long one sample takes, about, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    sample: u64,
}

pub(super) fn run(choice: &Choice, arguments: &Arguments, output: &mut Output) -> Result<(), Error> {
    let interrupt = Interrupt::watch()?;
    let backend = choice.open()?;
    let client = Client::open(backend.device())?;
    output.emit(&Told::Start {
        driver: super::driver_version(client.version()?.driver),
        backend: choice.kind.name(),
        repeats: arguments.repeats,
        sample_ms: arguments.sample,
    })?;
    let progress = Progress::of(bench::MEASURES);
    let (mut count, mut noise) = (0, 0.0_f64);
    let sample = Duration::from_millis(arguments.sample);
    let measured = bench::run(&backend, &client, sample, arguments.repeats.into(), interrupt, &mut |measure| {
        count += 1;
        noise = noise.max(measure.spread_percent);
        progress.at(count, measure.name.to_owned());
        progress.aside(|| output.emit(&Told::Measure { ratio: measure.ratio(), measure }))
    });
    drop(progress);
    client.close();
    let verdict = backend.finish();
    let (violations, leaks) = (verdict.as_ref().map(|of| of.violations), verdict.as_ref().map(|of| of.leaks));
    match verdict {
        Some(verdict) if !verdict.is_clean() => return Err(verdict.into_error()),
        _ => measured?,
    }
    output.emit(&Told::Summary { result: "ok", measures: count, noise_percent: noise, violations, leaks })
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    #[serde(rename = "bench")]
    Start {
        driver: String,
        backend: &'static str,
        repeats: u16,
        sample_ms: u64,
    },
    Measure {
        #[serde(flatten)]
        measure: Measure,
        ratio: Option<f64>,
    },
    Summary {
        result: &'static str,
        measures: u64,
        noise_percent: f64,
        violations: Option<usize>,
        leaks: Option<usize>,
    },
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Start { driver, backend, repeats, sample_ms } => format!(
                "{HEAD}bench{HEAD:#}   wskclient.sys {driver} ({backend}): each measure {repeats} times {sample_ms} ms\n\n\
                 {DIM}{:<51} {:>9} {:<5}  {:>9} {:>9}  {}{DIM:#}",
                "", "median", "", "worst", "best", "host's sockets"
            ),
            Self::Measure { measure, ratio } => line(measure, *ratio),
            Self::Summary { noise_percent, .. } => format!(
                "\n{GOOD}ok{GOOD:#}: best and worst of a measure lie up to {noise_percent:.0} % of its median apart; smaller differences \
                 mean nothing"
            ),
        }
    }
}

fn line(measure: &Measure, ratio: Option<f64>) -> String {
    let (worst, best) = match measure.better {
        Better::Higher => (measure.min, measure.max),
        Better::Lower => (measure.max, measure.min),
    };
    let host = match (measure.host, ratio) {
        (Some(host), Some(ratio)) => format!("{} ({ratio:.2} of it)", number(host)),
        _ => String::new(),
    };
    let text = format!(
        "{:<51} {:>9} {:<5}  {:>9} {:>9}  {host}",
        measure.what,
        number(measure.median),
        measure.unit,
        number(worst),
        number(best)
    );
    text.trim_end().to_owned()
}

/// As many digits as mean something.
fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
