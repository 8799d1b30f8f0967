//! The driver as a kernel-mode service of a Wine prefix, worked through `sc` as on Windows.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::prefix::Prefix;
use crate::{command::bounded::wait_for, setup::files};

const NAME: &str = "WskClient";
const LIMIT: Duration = Duration::from_mins(1);

/// Puts the driver in place, and makes and starts its service.
pub fn start(prefix: &mut Prefix<'_>, driver: &Path) -> Result<()> {
    let image = r"C:\windows\system32\drivers\wskclient.sys";
    files::copy(driver, &prefix.drive_c("windows/system32/drivers/wskclient.sys"))?;
    sc(prefix, &["create", NAME, "type=", "kernel", "start=", "demand", "binPath=", image])?;
    sc(prefix, &["start", NAME]).context("the driver did not start; `--wine-debug +ntoskrnl,+debugstr` may say why")?;
    ensure!(state(prefix)? == "RUNNING", "sc start succeeded, but the driver does not run");
    Ok(())
}

/// Stops the service, which unloads the driver, and removes it.
pub fn stop(prefix: &mut Prefix<'_>) -> Result<()> {
    sc(prefix, &["stop", NAME])?;
    wait_for("unloading the driver", LIMIT, || Ok((state(prefix)? == "STOPPED").then_some(())))?;
    sc(prefix, &["delete", NAME])?;
    Ok(())
}

/// The service's state, in `sc query`'s word.
fn state(prefix: &mut Prefix<'_>) -> Result<String> {
    let answer = sc(prefix, &["query", NAME])?;
    let line = answer.lines().find(|line| line.trim_start().starts_with("STATE"));
    let word = line.and_then(|line| line.split_whitespace().last());
    Ok(word.with_context(|| format!("sc query names no state: {}", answer.trim()))?.to_owned())
}

fn sc(prefix: &mut Prefix<'_>, arguments: &[&str]) -> Result<String> {
    prefix.run("sc", arguments, LIMIT)
}
