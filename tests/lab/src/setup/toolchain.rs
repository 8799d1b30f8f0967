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

/// A processor that the driver is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X64,
    Arm64,
}

impl Architecture {
    pub const ALL: [Self; 2] = [Self::X64, Self::Arm64];

    /// As Windows' kits name it, in folders and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name of its folder of libraries in a kit, as wdk-build spells it.
    pub fn library_folder(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "ARM64",
        }
    }

    /// The driver's Rust target.
    pub fn target(self) -> &'static str {
        match self {
            Self::X64 => DRIVER,
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }

    /// As `llvm-dlltool -m` names it.
    pub fn dlltool_machine(self) -> &'static str {
        match self {
            Self::X64 => "i386:x86-64",
            Self::Arm64 => "arm64",
        }
    }

    /// The image's machine field.
    pub fn machine(self) -> u16 {
        match self {
            Self::X64 => object::pe::IMAGE_FILE_MACHINE_AMD64,
            Self::Arm64 => object::pe::IMAGE_FILE_MACHINE_ARM64,
        }
    }
}

/// The driver's target in the lab and in Wine.
pub const DRIVER: &str = "x86_64-pc-windows-msvc";
/// The harness's target: mingw links it.
pub const HARNESS: &str = "x86_64-pc-windows-gnu";

/// Adds the targets that the workspace's toolchain lacks.
pub fn find_or_install(workspace: &Workspace) -> Result<()> {
    let sysroot = PathBuf::from(output_of(rustc(workspace).args(["--print", "sysroot"]))?.trim());
    let missing: Vec<_> = [DRIVER, Architecture::Arm64.target(), HARNESS]
        .into_iter()
        .filter(|target| !has_target(&sysroot, target))
        .collect();
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
