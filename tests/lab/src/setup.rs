//! Everything that building and running the driver takes on Linux, found or made, in the order of need.
//!
//! Packages give mingw's headers, Wine's `wsk.h` and LLVM's tools; rustup gives the Windows targets; from the packages a
//! folder is laid out like a WDK, and from the registry's sources come copies of wdk-build and of its dependencies that
//! do not insist on a Windows host.

pub mod files;
pub mod overrides;
pub mod packages;
pub mod sysroot;
pub mod toolchain;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{
    report::{Outcome, progress},
    workspace::Workspace,
};
pub use packages::Tools;

/// `cargo lab setup`
pub fn run(workspace: &Workspace) -> Result<Outcome> {
    let tools = prepare(workspace)?;
    println!("ready: LLVM {}, WDK-shaped folder in {}", tools.llvm.version, workspace.shown(&workspace.sysroot()));
    Ok(Outcome::Holds)
}

/// What every other command calls first.
pub fn prepare(workspace: &Workspace) -> Result<Tools> {
    let tools = packages::find_or_install()?;
    toolchain::find_or_install(workspace)?;
    let stamp = Stamp::new(workspace, &tools)?;
    if !stamp.is_current() {
        progress("laying out a WDK-shaped folder");
        sysroot::lay_out(&workspace.sysroot(), &tools)?;
        overrides::copy(workspace)?;
        stamp.write()?;
    }
    Ok(tools)
}

/// A hash of everything the laid-out folders are made from, kept beside them.
struct Stamp {
    path: PathBuf,
    digest: String,
}

impl Stamp {
    fn new(workspace: &Workspace, tools: &Tools) -> Result<Self> {
        let lock = fs::read(workspace.root().join("Cargo.lock")).context("the workspace has no Cargo.lock")?;
        let mut hash = Sha256::new_with_prefix(lock);
        hash.update(format!("{tools:?}{}", env!("CARGO_PKG_VERSION")));
        for text in sysroot::SOURCES.iter().chain(overrides::SOURCES) {
            hash.update(text);
        }
        Ok(Self { path: workspace.lab().join("setup.stamp"), digest: format!("{:x}", hash.finalize()) })
    }

    fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|digest| digest == self.digest)
    }

    fn write(&self) -> Result<()> {
        files::write(&self.path, &self.digest)
    }
}
