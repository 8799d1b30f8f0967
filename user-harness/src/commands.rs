//! The commands: what each does once the command line is understood.

mod agent;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod connect;
mod datagrams;
pub(crate) mod echo;
pub(crate) mod help;
mod hold;
mod place;
mod pump;
pub(crate) mod resolve;
mod run;
pub(crate) mod service;
mod session;
pub(crate) mod shell;
mod standard;
pub(crate) mod status;
pub(crate) mod stress;
pub(crate) mod timeline;

pub(crate) use status::{driver_version, kind_name, ledger_json};

use crate::{
    Cause, Error, Exit,
    cli::{Command, Wskctl},
    demo,
    interrupt::Interrupt,
    output::{Format, Output, report},
};
use clap::Parser;
use std::{ffi::OsString, time::Duration};

/// Runs the command line and tells how the process ends. Results go to standard output, errors to standard error.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let parsed = match Wskctl::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return not_parsed(&error, &arguments),
    };
    let choice = parsed.global.choice();
    let mut output = match parsed.command {
        // Standard output is the connection's.
        Command::Connect(_) | Command::Listen(_) => Output::besides(parsed.global.format),
        _ => Output::new(parsed.global.format),
    };
    if let Some(what) = ends_at_once(&parsed.command) {
        end_at_ctrl_c(what, parsed.global.format);
    }
    let result = match parsed.command {
        Command::Status(arguments) => status::run(&choice, &arguments, &mut output).map(|()| Exit::Success),
        Command::Demo => return demo::run(&choice, &mut output),
        Command::Hold(hold) => hold::run(&choice, &hold, &mut output).map(|()| Exit::Success),
        Command::Stress(arguments) => {
            stress::run(&choice, &parsed.global, &arguments, &mut output).map(|()| Exit::Success)
        }
        Command::Bench(arguments) => bench::run(&choice, &arguments, &mut output).map(|()| Exit::Success),
        Command::Install(arguments) => service::install(&arguments, &mut output).map(|()| Exit::Success),
        Command::Uninstall(arguments) => service::uninstall(&arguments, &mut output).map(|()| Exit::Success),
        Command::Start => service::start(&mut output).map(|()| Exit::Success),
        Command::Stop => service::stop(&mut output).map(|()| Exit::Success),
        Command::Verifier(arguments) => service::verifier(&arguments, &mut output).map(|()| Exit::Success),
        Command::Timeline(arguments) => {
            timeline::run(&choice, &parsed.global, &arguments, &mut output).map(|()| Exit::Success)
        }
        Command::Completions(arguments) => completions::run(&arguments, &mut output).map(|()| Exit::Success),
        Command::Man => completions::manual(&mut output).map(|()| Exit::Success),
        Command::Help(arguments) => help::run(&arguments, &mut output).map(|()| Exit::Success),
        Command::Connect(arguments) => connect::connect(&choice, &arguments, &mut output).map(|()| Exit::Success),
        Command::Listen(arguments) => connect::listen(&choice, &arguments, &mut output).map(|()| Exit::Success),
        Command::Echo(arguments) => echo::run(&choice, &arguments, &mut output).map(|()| Exit::Success),
        Command::Resolve(arguments) => resolve::run(&choice, &arguments, &mut output).map(|()| Exit::Success),
        Command::Shell => shell::run(&choice, &mut output),
        Command::Run(run) => run::run(&choice, &run, &mut output),
        Command::Agent => agent::run(&choice).map(|()| Exit::Success),
    };
    match result {
        Ok(exit) => exit,
        Err(error) => {
            output.fail(&error);
            error.exit()
        }
    }
}

/// What Ctrl-C ends at once, if it is such a command: the system closes its handles, and the driver gives everything back.
fn ends_at_once(command: &Command) -> Option<&'static str> {
    match command {
        Command::Status(arguments) if !arguments.is_watch() => Some("status"),
        Command::Demo => Some("the demo"),
        Command::Run(_) => Some("the scenario"),
        Command::Timeline(arguments) => arguments.ends_at_once(),
        _ => None,
    }
}

fn end_at_ctrl_c(what: &'static str, format: Format) {
    // Where Ctrl-C can't be watched for, it ends the process by itself.
    if let Ok(interrupt) = Interrupt::watch() {
        interrupt.observe(move || {
            let error = Interrupt::error(what);
            Output::new(format).fail(&error);
            std::process::exit(error.exit() as i32);
        });
    }
}

/// Help that was asked for, or a command line that has no meaning.
fn not_parsed(error: &clap::Error, arguments: &[OsString]) -> Exit {
    if !error.use_stderr() {
        let text = error.render().ansi().to_string();
        return match Output::new(wanted_format(arguments)).text(text.trim_end()) {
            Ok(()) => Exit::Success,
            Err(error) => {
                report(&error);
                error.exit()
            }
        };
    }
    // Where the message can't be written, nobody can be told.
    let _ = error.print();
    let text = error.render().to_string();
    let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Output::new(wanted_format(arguments)).fail_json(&Error::new("understand the command line", Cause::Usage(why)));
    Exit::Usage
}

/// The format that a command line asks for which can't be understood as a whole.
fn wanted_format(arguments: &[OsString]) -> Format {
    let two = arguments.windows(2).any(|pair| pair == ["--format", "json"]);
    if two || arguments.iter().any(|argument| argument == "--format=json") { Format::Json } else { Format::Human }
}

/// A number of seconds of the command line.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "not a number of seconds between 0.1 and 86400".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.1..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_sane_number() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "fast", "0", "-1", "NaN", "inf", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
