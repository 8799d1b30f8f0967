//! Installation from the INF by Wine's `SetupAPI`, and uninstallation, which must leave nothing.
//!
//! Wine knows no driver store: the copy of the INF that it gets names `system32\\drivers` (directory id 12) instead (13).
//! It also knows no primitive drivers, and so processes the sections of which Windows says that it ignores them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use walkdir::WalkDir;

use super::{prefix::Prefix, service, session::Payload};
use crate::setup::files;

const LIMIT: Duration = Duration::from_mins(1);
/// Where the package lies in the prefix.
const PACKAGE: &str = "wskclient/install";
const INSTALLED: &str = "windows/system32/drivers/wskclient.sys";

/// What the prefix's Windows folder held before the installation.
pub struct Installed {
    before: BTreeSet<PathBuf>,
}

/// Installs the driver from the INF, and checks that everything the INF asks for was done.
pub fn install(prefix: &mut Prefix<'_>, payload: &Payload) -> Result<Installed> {
    let package = prefix.drive_c(PACKAGE);
    let driver = &payload.driver;
    let inf = payload.inf.replace("= 13", "= 12").replace("%13%", "%12%");
    ensure!(inf != payload.inf, "the INF does not name the driver store");
    files::write(&package.join("wskclient.inf"), inf)?;
    files::copy(driver, &package.join("wskclient.sys"))?;
    let before = windows_files(prefix)?;
    ensure!(!service::exists(prefix), "the service is there before it is installed");

    process(prefix, "DefaultInstall")?;
    let image = fs::read(prefix.drive_c(INSTALLED)).context("the INF's file was not copied")?;
    ensure!(image == fs::read(driver)?, "the installed driver is not the one of the package");
    let configuration = service::configuration(prefix).context("the INF's service was not made")?;
    for (value, wanted) in [("Type", "0x1"), ("Start", "0x3"), ("ErrorControl", "0x1"), ("ImagePath", "wskclient.sys")]
    {
        let is_so = configuration.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(value) && words.last().is_some_and(|word| word.ends_with(wanted))
        });
        ensure!(is_so, "the service's {value} is not {wanted}: {configuration}");
    }
    let parameters = service::parameters(prefix).context("the INF's parameters were not written")?;
    for (name, wanted) in [
        ("LingerDeadline", "0x7530"),
        ("MaxSockets", "0x4000"),
        ("MaxPendingRequests", "0x40000"),
        ("MaxLockedBytes", "0x40000000"),
    ] {
        let is_so = parameters.lines().any(|line| line.split_whitespace().eq([name, "REG_DWORD", wanted]));
        ensure!(is_so, "the parameter {name} is not {wanted}: {parameters}");
    }
    Ok(Installed { before })
}

impl Installed {
    /// Uninstalls the driver, and checks that no file and no service is left.
    pub fn uninstall(&self, prefix: &mut Prefix<'_>) -> Result<()> {
        process(prefix, "DefaultUninstall")?;
        ensure!(!service::exists(prefix), "the service is still there");
        let after = windows_files(prefix)?;
        let left: Vec<_> = after.difference(&self.before).collect();
        ensure!(left.is_empty(), "files are left: {left:?}");
        let lost: Vec<_> = self.before.difference(&after).collect();
        ensure!(lost.is_empty(), "files are gone that were there before: {lost:?}");
        Ok(())
    }
}

/// Checks the registry of a prefix whose session has ended: that is when all of it is in its files.
pub fn ensure_no_key(prefix: &Path) -> Result<()> {
    for hive in ["system.reg", "user.reg", "userdef.reg"] {
        let text = String::from_utf8_lossy(&fs::read(prefix.join(hive))?).to_ascii_lowercase();
        let left = text.lines().find(|line| line.contains("wskclient"));
        ensure!(left.is_none(), "the registry's {hive} still has: {}", left.unwrap_or_default());
    }
    Ok(())
}

/// Has `SetupAPI` process a section of the INF, without asking and without restarting anything.
fn process(prefix: &mut Prefix<'_>, section: &str) -> Result<()> {
    let inf = format!(r"C:\{}\wskclient.inf", PACKAGE.replace('/', r"\"));
    prefix.run("rundll32", &["setupapi,InstallHinfSection", section, "128", &inf], LIMIT)?;
    Ok(())
}

/// Every file under `windows`; temporary ones apart, and compiled forms (`.pnf`) of Wine's own INF files, which its Plug and Play writes
/// when it comes to it.
fn windows_files(prefix: &Prefix<'_>) -> Result<BTreeSet<PathBuf>> {
    let windows = prefix.drive_c("windows");
    let others = |path: &Path| path.extension().is_some_and(|form| form == "pnf") && !path.ends_with("wskclient.pnf");
    let entries = WalkDir::new(&windows).into_iter();
    let entries = entries.filter_entry(|entry| entry.file_name() != "temp" && !others(entry.path()));
    entries.map(|entry| Ok(entry?.path().strip_prefix(&windows)?.to_owned())).collect()
}
