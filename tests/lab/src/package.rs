//! `cargo lab package`: what a test VM needs, in a folder and in a zip, each claim about it found out and not assumed.
//!
//! What only Windows can make, the catalogue, `install.ps1` makes on the VM. The driver is built twice, in two target
//! folders, and both builds must give the same bytes; only then is it signed, with a key that is gone afterwards.

mod contents;
mod identity;
mod sign;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    artifacts,
    cli::{self, Format},
    command::{output_of, run as run_child},
    image::{self, Image},
    inf,
    report::{Misused, Outcome, progress},
    setup::{self, Tools, files, toolchain::Architecture},
    workspace::{Profile, Workspace},
};
use contents::Contents;
use sign::Certificate;

/// The workspace's packages that the driver is made of: built anew each time, so that two builds are two.
const OWN_CRATES: [&str; 4] = ["wskclient", "wsk", "wskclient-lifecycle", "wskclient-abi"];

/// `cargo lab package`
pub fn run(workspace: &Workspace, options: &cli::Package) -> Result<Outcome> {
    match build(workspace) {
        Ok(package) => {
            package.tell(workspace, options.format);
            Ok(Outcome::of(package.holds()))
        }
        Err(error) => {
            options.format.summarize_failure(&error, &[]);
            Err(error)
        }
    }
}

/// Where the zip is.
fn zip(workspace: &Workspace) -> PathBuf {
    workspace.lab().join("wskclient-package.zip")
}

/// Unpacks the package that was made last, as somebody does on the VM, and gives the folder.
pub fn unpack(workspace: &Workspace) -> Result<PathBuf> {
    let zip = zip(workspace);
    ensure!(zip.is_file(), Misused(format!("there is no {}: run `cargo lab package`", workspace.shown(&zip))));
    let folder = workspace.lab().join("unpacked");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    contents::unpack(&zip, &folder)
}

/// What was made, as read back from it.
struct Package {
    folder: PathBuf,
    zip: PathBuf,
    version: String,
    architectures: Vec<Architecture>,
    signed: bool,
    reproducible: bool,
    files: Vec<String>,
}

fn build(workspace: &Workspace) -> Result<Package> {
    let tools = setup::prepare(workspace)?;
    let programs = sign::Tools::find_or_install()?;
    let release = Release::of(workspace)?;
    let folder = workspace.lab().join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }

    let certificate = Certificate::new(&programs, &workspace.lab().join("signing"))?;
    let mut reproducible = true;
    for architecture in Architecture::ALL {
        let driver = Driver::build(workspace, &tools, architecture, &workspace.build())?;
        let again = Driver::build(workspace, &tools, architecture, &workspace.lab().join("build-again"))?;
        reproducible &= driver.image == again.image;
        let part = folder.join(architecture.name());
        files::write(&part.join("wskclient.pdb"), &driver.pdb)?;
        let stamped = inf::stamped(&inf::source(workspace)?, &release.date, &release.version)?;
        files::write(&part.join("wskclient.inf"), stamped)?;
        certificate.sign(&driver.image, &part.join("wskclient.sys"))?;
    }
    // mingw links for x64 alone; Windows 11 on ARM64 runs x64 programs.
    files::copy(&artifacts::build_windows_harness(workspace, &tools)?, &folder.join("wskctl.exe"))?;
    for program in artifacts::build_contract_for_windows(workspace)? {
        let name = program.root.with_extension("exe");
        files::copy(&program.file, &folder.join("contract").join(name.file_name().context("a program has a name")?))?;
    }
    certificate.publish(&folder.join("wskclient.cer"))?;
    let contents = Contents::finish(workspace, &folder, &release.version, &release.commit)?;
    let zip = zip(workspace);
    contents.pack(&zip)?;

    let mut signed = true;
    for architecture in Architecture::ALL {
        signed &= certificate.verifies(&folder.join(architecture.name()).join("wskclient.sys"))?;
    }
    Ok(Package {
        architectures: architectures_of(&folder)?,
        signed,
        reproducible,
        files: contents.read_back(&zip)?,
        version: release.version,
        folder,
        zip,
    })
}

/// A driver before it is signed.
struct Driver {
    image: Vec<u8>,
    pdb: Vec<u8>,
}

impl Driver {
    /// Compiles the workspace's own crates anew, in the target folder `folder`.
    fn build(workspace: &Workspace, tools: &Tools, architecture: Architecture, folder: &Path) -> Result<Self> {
        progress(format!("building wskclient.sys for {} in {}", architecture.name(), workspace.shown(folder)));
        let mut clean = artifacts::windows_cargo_for(workspace, tools, architecture, folder, "clean");
        let own_crates = OWN_CRATES.iter().flat_map(|name| ["--package", name]);
        run_child(clean.args(["--quiet", "--release"]).args(own_crates))?;
        run_child(artifacts::windows_cargo_for(workspace, tools, architecture, folder, "build").args([
            "--package",
            "wskclient",
            "--release",
        ]))?;
        let built = folder.join(architecture.target()).join(Profile::Release.folder());
        let read =
            |name| fs::read(built.join(name)).with_context(|| format!("cannot read {name} in {}", built.display()));
        let mut driver = Self { image: read("wskclient.dll")?, pdb: read("wskclient.pdb")? };
        identity::settle(&mut driver.image, &mut driver.pdb)?;
        Ok(driver)
    }
}

/// The architectures whose signed driver is in the package and would load.
fn architectures_of(folder: &Path) -> Result<Vec<Architecture>> {
    let exports = image::exports::Exports::read();
    let mut found = Vec::new();
    for architecture in Architecture::ALL {
        let driver = Image::read(&folder.join(architecture.name()).join("wskclient.sys"))?;
        let failures = image::checks::failures_on(architecture, &driver, &exports);
        ensure!(failures.is_empty(), "the driver for {} would not load: {failures:?}", architecture.name());
        found.push(architecture);
    }
    Ok(found)
}

/// What the INF is stamped with: taken from the commit, so that the same commit gives the same INF.
struct Release {
    /// Month/day/year of the commit.
    date: String,
    /// The workspace's version, and the number of commits.
    version: String,
    /// The commit, with a `+` when the checkout differs from it.
    commit: String,
}

impl Release {
    fn of(workspace: &Workspace) -> Result<Self> {
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.env("TZ", "UTC").arg("-C").arg(workspace.root()).args(arguments);
            Ok::<_, anyhow::Error>(output_of(&mut git)?.trim().to_owned())
        };
        let commit =
            git(&["rev-parse", "--short=12", "HEAD"]).context("the INF's date and version are the commit's")?;
        let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Ok(Self {
            date: git(&["log", "-1", "--date=format-local:%m/%d/%Y", "--format=%cd"])?,
            version: format!("{}.{}", env!("CARGO_PKG_VERSION"), git(&["rev-list", "--count", "HEAD"])?),
            commit: if changed { format!("{commit}+") } else { commit },
        })
    }
}

impl Package {
    fn holds(&self) -> bool {
        self.signed && self.reproducible && self.architectures == Architecture::ALL
    }

    fn tell(&self, workspace: &Workspace, format: Format) {
        let names: Vec<_> = self.architectures.iter().map(|architecture| architecture.name()).collect();
        let signature = if self.signed { "valid" } else { "invalid" };
        if format == Format::Json {
            println!(
                "{}",
                json!({
                    "event": "summary",
                    "result": if self.holds() { "ok" } else { "failed" },
                    "architectures": names,
                    "signature": signature,
                    "reproducible": self.reproducible,
                    "files": self.files,
                    "version": self.version,
                    "folder": workspace.shown(&self.folder),
                    "zip": workspace.shown(&self.zip),
                })
            );
            return;
        }
        for file in &self.files {
            println!("  {file}");
        }
        println!("{} and {}", workspace.shown(&self.folder), workspace.shown(&self.zip));
        println!(
            "package: version {}, {}, signature {signature}, {}",
            self.version,
            names.join(" and "),
            if self.reproducible { "two builds gave the same bytes" } else { "two builds gave DIFFERENT bytes" }
        );
    }
}
