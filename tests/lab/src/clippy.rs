//! `cargo lab clippy`: no warning anywhere, on the host's packages and on what is built for Windows.

use anyhow::Result;

use crate::{
    artifacts,
    command::{cargo, run as run_child},
    report::{Outcome, progress},
    setup::{self, toolchain},
    workspace::Workspace,
};

const DENY_WARNINGS: [&str; 3] = ["--", "--deny", "warnings"];
/// What is compiled for user mode on Windows.
const HARNESS_PACKAGES: [&str; 4] = ["--package", "wskctl", "--package", "wskclient-abi"];

/// `cargo lab clippy`
pub fn run(workspace: &Workspace) -> Result<Outcome> {
    let tools = setup::prepare(workspace)?;
    progress("clippy for this machine");
    for packages in [&[][..], &["--package", "contract"]] {
        let mut host = cargo();
        host.current_dir(workspace.root())
            .args(["clippy", "--locked", "--all-targets"]);
        run_child(host.args(packages).args(DENY_WARNINGS))?;
    }
    progress("clippy for the harness on Windows");
    run_child(
        artifacts::lab_cargo(workspace, "clippy")
            .args(HARNESS_PACKAGES)
            .args(["--release", "--target", toolchain::HARNESS])
            .args(DENY_WARNINGS),
    )?;
    progress("clippy for the driver");
    // wsk's calls into the system are compiled for Windows only.
    run_child(
        artifacts::driver_cargo(workspace, &tools, "clippy")
            .args(["--package", "wsk", "--release"])
            .args(DENY_WARNINGS),
    )?;
    println!("clippy: no warnings");
    Ok(Outcome::Holds)
}
