//! The commands: what each does once the command line is understood.

mod agent;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod echo;
pub(crate) mod help;
mod hold;
mod pump;
mod run;
pub(crate) mod service;
mod session;
pub(crate) mod shell;
pub(crate) mod status;
pub(crate) mod stress;
pub(crate) mod timeline;

pub(crate) use status::{driver_version, kind_name, ledger_json};

use crate::{
    Exit,
    cli::{Command, Wskctl},
    demo,
    output::Output,
};
use clap::Parser;
use std::ffi::OsString;

/// Runs the command line and tells how the process ends. Results go to standard output, errors to standard error.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Exit {
    let parsed = match Wskctl::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            // Where the message can't be written, nobody can be told.
            let _ = error.print();
            return exit;
        }
    };
    let choice = parsed.global.choice();
    let mut output = Output::new(parsed.global.format);
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
        Command::Connect(arguments) => connect::connect(&choice, &arguments, &output).map(|()| Exit::Success),
        Command::Listen(arguments) => connect::listen(&choice, &arguments, &output).map(|()| Exit::Success),
        Command::Echo(arguments) => echo::run(&choice, &arguments, &mut output).map(|()| Exit::Success),
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
