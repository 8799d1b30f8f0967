//! `cargo lab demo`: the harness's demonstration, with the driver in the in-process kernel.

use std::process::Command;

use anyhow::Result;

use crate::{
    artifacts, cli,
    command::status_of,
    report::Outcome,
    setup,
    workspace::{Profile, Workspace},
};

/// Builds what is missing and runs `wskctl demo` with the caller's arguments.
pub fn run(workspace: &Workspace, options: &cli::Demo) -> Result<Outcome> {
    let tools = setup::prepare(workspace)?;
    let driver = artifacts::build_sound_driver(workspace, &tools, Profile::Release)?;
    let harness = artifacts::build_native_harness(workspace)?;
    let status = status_of(
        Command::new(harness).args(["demo", "--backend", "lab", "--driver"]).arg(driver).args(&options.arguments),
    )?;
    Ok(Outcome::Child(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
