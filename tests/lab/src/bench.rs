//! `cargo lab bench`: what the driver costs, in instructions, allocations and bytes; and how long a large teardown takes.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    artifacts,
    cli::{self, Format},
    command::{cargo, output_of},
    report::{Outcome, progress},
    setup,
    workspace::{Profile, Workspace},
};

/// `cargo lab bench`
pub fn run(workspace: &Workspace, options: &cli::Bench) -> Result<Outcome> {
    measure(workspace, options.format).inspect_err(|error| options.format.summarize_failure(error, &[]))
}

fn measure(workspace: &Workspace, format: Format) -> Result<Outcome> {
    let tools = setup::prepare(workspace)?;
    let driver = artifacts::build_sound_driver(workspace, &tools, Profile::Release)?;
    progress("measuring");
    let mut command = cargo();
    command
        .current_dir(workspace.root())
        .args(["run", "--quiet", "--locked", "--package", "contract", "--bin", "costs"])
        .env("WSKCLIENT_SYS", driver);
    let output = output_of(&mut command)?;
    let figures: Value = serde_json::from_str(output.trim()).context("the measurement writes no JSON")?;
    match format {
        Format::Json => println!("{figures}"),
        Format::Human => {
            for (name, value) in figures.as_object().into_iter().flatten().filter(|(name, _)| *name != "event") {
                println!("{:<36} {value}", name.replace('_', " "));
            }
        }
    }
    Ok(Outcome::Holds)
}
