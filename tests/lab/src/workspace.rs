//! Where everything is: the repository's root, and the folders under `target/lab` that the commands share.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, output_of};

/// A build profile of the driver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Optimised; what ships.
    Release,
    /// With debug assertions.
    Debug,
}

impl Profile {
    /// The folder that cargo and this program name after the profile.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }
}

/// The repository's checkout.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that the current directory belongs to.
    pub fn find() -> Result<Self> {
        let manifest = output_of(cargo().args(["locate-project", "--workspace", "--message-format", "plain"]))
            .context("cargo lab runs inside the repository")?;
        let root = Path::new(manifest.trim()).parent().context("cargo named no manifest")?.to_owned();
        ensure!(root.join("driver/Cargo.toml").is_file(), "{} is not this project's workspace", root.display());
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What this program keeps between runs.
    pub fn lab(&self) -> PathBuf {
        self.root.join("target/lab")
    }

    /// The WDK-shaped folder (`WDKContentRoot`).
    pub fn sysroot(&self) -> PathBuf {
        self.lab().join("wdk")
    }

    /// Private copies of the crates that assume a Windows host.
    pub fn overrides(&self) -> PathBuf {
        self.lab().join("overrides")
    }

    /// Cargo's target folder for what this program builds. Inside the root, because wdk-sys looks for `Cargo.lock` in
    /// the folders above it, and apart from `target`, so that no two cargos wait for each other's lock.
    pub fn build(&self) -> PathBuf {
        self.lab().join("build")
    }

    /// Where finished programs are put.
    pub fn out(&self) -> PathBuf {
        self.lab().join("out")
    }

    /// The finished driver.
    pub fn driver(&self, profile: Profile) -> PathBuf {
        self.out().join(profile.folder()).join("wskclient.sys")
    }

    /// The wrong drivers.
    pub fn faulty(&self) -> PathBuf {
        self.out().join("faulty/faulty.sys")
    }

    /// The `wsk` crate's example.
    pub fn echo(&self) -> PathBuf {
        self.out().join("wsk/wsk_echo.sys")
    }

    /// The driver that tries what the `wsk` crate promises.
    pub fn wsk_cases(&self) -> PathBuf {
        self.out().join("wsk/wsk_cases.sys")
    }

    /// The harness for this machine, which runs the driver in the in-process kernel.
    pub fn native_wskctl(&self) -> PathBuf {
        self.out().join("wskctl")
    }

    /// The harness for Windows and for Wine.
    pub fn windows_wskctl(&self) -> PathBuf {
        self.out().join("wskctl.exe")
    }

    /// The scenario files.
    pub fn scenarios(&self) -> PathBuf {
        self.root.join("user-harness/scenarios")
    }

    /// As a user would type it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}
