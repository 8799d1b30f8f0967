//! Child processes: every one is run to its end with its failure turned into an error that names it.

pub mod bounded;

use std::{
    env, io,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// The cargo that runs this program, or the one on the path.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The program and its arguments, as a user would type them.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs `command` with both its outputs on our standard error; an error if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status_of(command.stdin(Stdio::null()).stdout(io::stderr()))?;
    ensure!(status.success(), "`{}` ended with {status}", shown(command));
    Ok(())
}

/// Runs `command` as it is set up and gives its exit status.
pub fn status_of(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot run `{}`", shown(command)))
}

/// Runs `command` and gives what it wrote on its standard output; an error, with what it wrote on the other, if it
/// fails.
pub fn output_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", shown(command), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
