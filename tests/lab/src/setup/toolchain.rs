//! The Rust targets that the driver and the harness are built for.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    command::{output_of, run},
    report::{Unprepared, progress},
    workspace::Workspace,
};

/// The driver's target.
pub const DRIVER: &str = "x86_64-pc-windows-msvc";
/// The harness's target: mingw links it.
pub const HARNESS: &str = "x86_64-pc-windows-gnu";

/// Adds the targets that the workspace's toolchain lacks.
pub fn find_or_install(workspace: &Workspace) -> Result<()> {
    let sysroot = PathBuf::from(output_of(rustc(workspace).args(["--print", "sysroot"]))?.trim());
    let missing: Vec<_> = [DRIVER, HARNESS].into_iter().filter(|target| !has_target(&sysroot, target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Ok(rustup) = which::which("rustup") else {
        let missing = missing.join(" ");
        return Err(Unprepared(format!("the Rust toolchain lacks {missing}, and rustup is not here to add it")).into());
    };
    progress(format!("adding Rust targets: {}", missing.join(" ")));
    run(Command::new(rustup).current_dir(workspace.root()).args(["target", "add"]).args(missing))
}

fn rustc(workspace: &Workspace) -> Command {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace.root());
    rustc
}

fn has_target(sysroot: &Path, target: &str) -> bool {
    let folder = sysroot.join("lib/rustlib").join(target).join("lib");
    folder.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}
