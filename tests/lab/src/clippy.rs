//! `cargo lab clippy`: no warning anywhere, on the host's packages and on what is built for Windows.

use std::process::Command;

use anyhow::Result;

use crate::{
    artifacts,
    command::{cargo, run as run_child},
    report::{Outcome, progress},
    setup::{self, Tools, toolchain},
    workspace::Workspace,
};

/// `cargo lab clippy`
pub fn run(workspace: &Workspace) -> Result<Outcome> {
    let tools = setup::prepare(workspace)?;
    let failed: Vec<_> = clippies(workspace, &tools)
        .into_iter()
        .filter_map(|(what, mut clippy)| {
            progress(format!("clippy for {what}"));
            run_child(clippy.args(["--", "--deny", "warnings"])).err().map(|_| what)
        })
        .collect();
    if failed.is_empty() {
        println!("clippy: no warnings");
    } else {
        println!("clippy: warnings or errors for {}", failed.join(", "));
    }
    Ok(Outcome::of(failed.is_empty()))
}

/// Every package for every target it is compiled for.
fn clippies(workspace: &Workspace, tools: &Tools) -> [(&'static str, Command); 10] {
    let host = || {
        let mut command = cargo();
        command.current_dir(workspace.root()).args(["clippy", "--locked", "--all-targets"]);
        command
    };
    let mut contract = host();
    contract.args(["--package", "contract"]);
    let mut judge = host();
    judge.args(["--package", "faulty-judge"]);
    let mut harness = artifacts::lab_cargo(workspace, "clippy");
    harness.args(["--package", "wskctl", "--package", "wskclient-abi", "--release", "--target", toolchain::HARNESS]);
    // wsk's calls into the system are compiled for Windows only.
    let mut driver = artifacts::driver_cargo(workspace, tools, "clippy");
    driver.args(["--package", "wsk", "--package", "wskclient-lifecycle", "--release"]);
    let mut echo = artifacts::windows_cargo(workspace, tools, "clippy", "wsk-echo");
    echo.arg("--release");
    let mut cases = artifacts::windows_cargo(workspace, tools, "clippy", "wsk-cases");
    cases.arg("--release");
    let mut wsk_tests = host();
    wsk_tests.args(["--package", "wsk-tests"]);
    let mut faulty = artifacts::windows_cargo(workspace, tools, "clippy", "faulty");
    faulty.arg("--release");
    [
        ("this machine", host()),
        ("the contract's tests", contract),
        ("the contract's tests for Windows", artifacts::contract_for_windows(workspace, "clippy")),
        ("the harness on Windows", harness),
        ("the driver", driver),
        ("the wsk crate's example", echo),
        ("the wsk crate's test driver", cases),
        ("the wsk crate's tests", wsk_tests),
        ("the faulty drivers", faulty),
        ("the faulty drivers' tests", judge),
    ]
}
