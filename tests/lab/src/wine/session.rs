//! The driver in a Wine prefix of its own: installed from its INF, and taken out again without a trace.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    install::{self, Installed},
    prefix::Prefix,
};
use crate::{
    inf,
    report::progress,
    setup::{Tools, files},
    workspace::Workspace,
};

/// The folder of the prefix's drive C that has the harness and the scenarios.
pub const HOME: &str = r"C:\wskclient";

/// What is installed and run.
pub struct Payload {
    pub driver: PathBuf,
    /// The text of the driver's INF, stamped.
    pub inf: String,
    pub harness: PathBuf,
    /// The folder of the scenario files.
    pub scenarios: PathBuf,
}

impl Payload {
    /// What was built just now.
    pub fn built(workspace: &Workspace, driver: PathBuf, harness: PathBuf) -> Result<Self> {
        let inf = inf::stamped(&inf::source(workspace)?, "01/01/2026", "0.0.0.1")?;
        Ok(Self { driver, inf, harness, scenarios: workspace.scenarios() })
    }

    /// What lies in an unpacked package.
    pub fn of_package(folder: &Path) -> Result<Self> {
        let inf = folder.join("x64/wskclient.inf");
        let inf = fs::read_to_string(&inf).with_context(|| format!("cannot read {}", inf.display()))?;
        let driver = folder.join("x64/wskclient.sys");
        Ok(Self { driver, inf, harness: folder.join("wskctl.exe"), scenarios: folder.join("scenarios") })
    }
}

/// A running Wine session with the driver installed, and not started.
pub struct Session<'a> {
    pub prefix: Prefix<'a>,
    installed: Installed,
    path: PathBuf,
    /// Two sessions in one prefix would end each other.
    _only_one: File,
}

impl<'a> Session<'a> {
    /// Makes a prefix and installs the driver in it. `debug` is Wine's `WINEDEBUG`.
    pub fn open(workspace: &Workspace, tools: &'a Tools, payload: &Payload, debug: &'a str) -> Result<Self> {
        let only_one = lock(workspace)?;
        let path = workspace.lab().join("wine");
        progress("making a Wine prefix");
        let mut prefix = Prefix::create(tools, &path, debug)?;
        let home = prefix.drive_c("wskclient");
        files::copy(&payload.harness, &home.join("wskctl.exe"))?;
        // The one system library that Wine lacks.
        let library = workspace.lab().join("wine-libraries/bcryptprimitives.dll");
        files::copy(&library, &home.join("bcryptprimitives.dll"))?;
        for (name, scenario) in files::in_folder(&payload.scenarios, "toml")? {
            files::copy(&scenario, &home.join("scenarios").join(name))?;
        }
        let installed = install::install(&mut prefix, payload)?;
        Ok(Self { prefix, installed, path, _only_one: only_one })
    }

    /// Uninstalls the driver, which has been stopped, and checks that no file, no service, no process and no key is left.
    pub fn close(mut self) -> Result<()> {
        self.installed.uninstall(&mut self.prefix)?;
        self.prefix.close()?;
        install::ensure_no_key(&self.path)
    }
}

fn lock(workspace: &Workspace) -> Result<File> {
    let path = workspace.lab().join("wine.lock");
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if lock.try_lock().is_err() {
        progress("waiting for another `cargo lab wine`");
        lock.lock().context("cannot lock the Wine prefix")?;
    }
    Ok(lock)
}
