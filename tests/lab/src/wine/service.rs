//! The driver as a kernel-mode service of a Wine prefix, worked through `sc` as on Windows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::prefix::Prefix;
use crate::{command::bounded::wait_for, inf::SERVICE};

const LIMIT: Duration = Duration::from_mins(1);

/// Starts the service, which loads the driver.
pub fn start(prefix: &mut Prefix<'_>) -> Result<()> {
    sc(prefix, &["start", SERVICE])
        .context("the driver did not start; `--wine-debug +ntoskrnl,+debugstr` may say why")?;
    ensure!(state(prefix)? == "RUNNING", "sc start succeeded, but the driver does not run");
    Ok(())
}

/// Stops the service, which unloads the driver.
pub fn stop(prefix: &mut Prefix<'_>) -> Result<()> {
    sc(prefix, &["stop", SERVICE])?;
    wait_for("unloading the driver", LIMIT, || Ok((state(prefix)? == "STOPPED").then_some(())))
}

/// Whether the service control manager knows the service.
pub fn exists(prefix: &mut Prefix<'_>) -> bool {
    sc(prefix, &["query", SERVICE]).is_ok()
}

/// How the service is set up, as the registry has it.
pub fn configuration(prefix: &mut Prefix<'_>) -> Result<String> {
    let key = format!(r"HKLM\System\CurrentControlSet\Services\{SERVICE}");
    prefix.run("reg", &["query", &key], LIMIT)
}

/// The driver's parameters, as the registry has them.
pub fn parameters(prefix: &mut Prefix<'_>) -> Result<String> {
    let key = format!(r"HKLM\System\CurrentControlSet\Services\{SERVICE}\Parameters");
    prefix.run("reg", &["query", &key], LIMIT)
}

/// The service's state, in `sc query`'s word.
fn state(prefix: &mut Prefix<'_>) -> Result<String> {
    let answer = sc(prefix, &["query", SERVICE])?;
    let line = answer.lines().find(|line| line.trim_start().starts_with("STATE"));
    let word = line.and_then(|line| line.split_whitespace().last());
    Ok(word.with_context(|| format!("sc query names no state: {}", answer.trim()))?.to_owned())
}

fn sc(prefix: &mut Prefix<'_>, arguments: &[&str]) -> Result<String> {
    prefix.run("sc", arguments, LIMIT)
}
