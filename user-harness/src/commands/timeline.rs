//! `wskctl timeline`: runs a command, records what it asks of the driver, and draws it.

use super::stress;
use crate::{
    Cause, Error, Exit,
    backend::Choice,
    cli::{Global, Hold},
    demo,
    output::{Event, HEAD, Output, counted, width},
    record::{Entry, Recorder},
    timeline::{Outcome, Timeline, html, svg, text, time},
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What to record, and where to draw it.
#[derive(clap::Args)]
#[command(subcommand_required = false, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Draw a page to look into: zoom, filter, details
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Save the recording, to draw it later
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Draw a recording that was saved
    #[arg(long, value_name = "FILE", conflicts_with = "save")]
    from: Option<PathBuf>,
    #[command(subcommand)]
    run: Option<Run>,
}

#[derive(clap::Subcommand)]
enum Run {
    /// Record the demo
    Demo,
    /// Record a stress run
    Stress(stress::Arguments),
    /// Record scenario files
    Run(crate::cli::Run),
    /// Record a hold
    Hold(Hold),
}

impl Arguments {
    /// What Ctrl-C ends at once, if it is that. Stress and hold end in their own way, and are drawn.
    pub fn ends_at_once(&self) -> Option<&'static str> {
        matches!(self.run, Some(Run::Demo | Run::Run(_))).then_some("the recording")
    }
}

pub(super) fn run(choice: &Choice, global: &Global, arguments: &Arguments, output: &mut Output) -> Result<(), Error> {
    let (title, entries, ran) = match (&arguments.from, &arguments.run) {
        (Some(path), None) => (path.display().to_string(), load(path)?, Ok(())),
        (None, Some(run)) => record(choice, global, run, output),
        _ => {
            let why = "name either what to run (demo, stress, run, hold) or --from FILE";
            return Err(Error::new("know what to draw", Cause::Usage(why.to_owned())));
        }
    };
    if let Some(path) = &arguments.save {
        save(path, &entries)?;
    }
    let timeline = Timeline::of(&title, &entries);
    let mut files = Vec::new();
    for (path, picture) in [(&arguments.html, html::draw as fn(&Timeline) -> String), (&arguments.svg, svg::draw)] {
        if let Some(path) = path {
            write(path, &picture(&timeline))?;
            files.push(path.display().to_string());
        }
    }
    output.emit(&Told { timeline, files })?;
    ran
}

/// Runs a command with a recorder in between. What it says goes where it always does.
fn record(choice: &Choice, global: &Global, run: &Run, output: &mut Output) -> (String, Vec<Entry>, Result<(), Error>) {
    let recorder = Recorder::default();
    let choice = Choice { recorder: Some(recorder.clone()), ..choice.clone() };
    let (name, ran) = match run {
        Run::Demo => ("demo".to_owned(), told(demo::run(&choice, output))),
        Run::Run(arguments) => {
            (name_of_files(&arguments.files), super::run::run(&choice, arguments, output).and_then(told))
        }
        Run::Stress(arguments) => ("stress".to_owned(), stress::run(&choice, global, arguments, output)),
        Run::Hold(arguments) => ("hold".to_owned(), super::hold::run(&choice, arguments, output)),
    };
    let seed = if choice.kind == crate::backend::Kind::Lab { format!(", seed {}", choice.seed) } else { String::new() };
    (format!("wskctl {name} ({}{seed})", choice.kind.name()), recorder.entries(), ran)
}

/// `run` with its files, as far as a title has room for them.
fn name_of_files(files: &[PathBuf]) -> String {
    let names = files.iter().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy());
    match files.len() {
        0..=3 => std::iter::once("run".into()).chain(names).collect::<Vec<_>>().join(" "),
        several => format!("run of {several} files"),
    }
}

/// A command has told its errors itself.
fn told(exit: Exit) -> Result<(), Error> {
    if exit == Exit::Success { Ok(()) } else { Err(Error::new("the recorded command", Cause::Told(exit))) }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| Error::host(format!("write {}", path.display()), error))
}

fn save(path: &Path, entries: &[Entry]) -> Result<(), Error> {
    let lines: Result<Vec<_>, _> = entries.iter().map(serde_json::to_string).collect();
    let mut text = lines.map_err(|error| Error::host("write JSON", error.into()))?.join("\n");
    text.push('\n');
    write(path, &text)
}

fn load(path: &Path) -> Result<Vec<Entry>, Error> {
    let what = || format!("read {}", path.display());
    let text = fs::read_to_string(path).map_err(|error| Error::host(what(), error))?;
    let entry = |(number, line)| {
        serde_json::from_str(line).map_err(|error| {
            let why = format!("line {} is no request of a recording: {error}", number + 1);
            Error::new(what(), Cause::Usage(why))
        })
    };
    text.lines().enumerate().map(entry).collect()
}

struct Told {
    timeline: Timeline,
    files: Vec<String>,
}

impl Serialize for Told {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let outcomes = self.timeline.outcomes();
        let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
        let (teardowns, longest) = self.timeline.teardowns();
        serde_json::json!({
            "event": "timeline",
            "requests": self.timeline.bars.len(),
            "succeeded": count(Outcome::Done),
            "cancelled": count(Outcome::Cancelled),
            "failed": count(Outcome::Failed),
            "unseen": count(Outcome::Unseen),
            "sockets": self.timeline.sockets.len(),
            "processes": self.timeline.processes.len(),
            "teardowns": teardowns,
            "longest_teardown_us": longest,
            "length_us": self.timeline.end,
            "files": self.files,
        })
        .serialize(serializer)
    }
}

impl Event for Told {
    fn human(&self) -> String {
        let Self { timeline, files } = self;
        let number = |of: usize| of as u64;
        let mut text = format!(
            "\n{HEAD}timeline{HEAD:#}  {}: {}, {}, {} of {}\n\n{}",
            timeline.title,
            time(timeline.end),
            counted(number(timeline.bars.len()), "request"),
            counted(number(timeline.sockets.len()), "socket"),
            match timeline.processes.len() {
                1 => "1 process".to_owned(),
                several => format!("{several} processes"),
            },
            text::draw(timeline, width()),
        );
        for file in files {
            text.push_str("\nwritten: ");
            text.push_str(file);
        }
        text
    }
}
