//! `cargo lab`: builds, runs and judges `wskclient.sys` on Linux.
//!
//! A WDK is made from free packages, the genuine `wdk` crates build the driver against it, and the very same `.sys` runs
//! in `ntlab`'s in-process kernel and in stock Wine. Each command finds or makes whatever it needs.
#![forbid(unsafe_code)]

mod artifacts;
mod bench;
mod cli;
mod clippy;
mod command;
mod contract;
mod demo;
mod image;
mod inf;
mod layouts;
mod package;
mod report;
mod rules;
mod run;
mod setup;
mod suite;
mod test;
mod wine;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::{cli::Lab, report::Outcome, workspace::Workspace};

fn main() -> ExitCode {
    match run(&Lab::parse().command) {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Outcome::of_error(&error).exit_code()
        }
    }
}

fn run(command: &cli::Command) -> Result<Outcome> {
    let workspace = Workspace::find();
    match command {
        cli::Command::Setup => setup::run(&workspace?),
        cli::Command::Build(options) => artifacts::run_command(&workspace?, options),
        cli::Command::Demo(options) => demo::run(&workspace?, options),
        cli::Command::Test(options) => test::run(&workspace?, options),
        cli::Command::Bench(options) => bench::run(&workspace?, options),
        cli::Command::Contract(options) => contract::run(&workspace?, options),
        cli::Command::Clippy => clippy::run(&workspace?),
        cli::Command::Run(options) => run::run(options),
        cli::Command::Rules(options) => rules::run(&workspace?, options),
        cli::Command::Layouts => layouts::run(&workspace?),
        cli::Command::Package(options) => package::run(&workspace?, options),
        cli::Command::Wine(options) => wine::run(&workspace?, options),
    }
}
