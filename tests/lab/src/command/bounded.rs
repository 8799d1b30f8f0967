//! Child processes that may hang: each has a time limit, gives way to Ctrl-C, and writes to a file.
//!
//! A file and not a pipe, because Wine's services inherit the standard output of whoever starts them, and the pipe would
//! stay open for as long as they live.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::shown;
use crate::report::Interrupted;

const POLL: Duration = Duration::from_millis(10);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C, hang-up and termination make every wait end with [`Interrupted`], so that callers clean up.
pub fn clean_up_when_interrupted() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("cannot watch for Ctrl-C")
}

/// Waits until `ready` gives something. An error names `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        ensure!(start.elapsed() < limit, "{what} took longer than {} s", limit.as_secs());
        thread::sleep(POLL);
    }
}

/// A child with a name, whose output goes to a file. It is killed when this is dropped.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with nothing on its standard input; both of its outputs go to `folder`, named after `name`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        Self::start_with_input(name, command, b"", folder)
    }

    /// The same, with `input` on its standard input.
    pub fn start_with_input(name: &str, command: &mut Command, input: &[u8], folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log = folder.join(format!("{name}.out"));
        let file = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let stdin = if input.is_empty() {
            Stdio::null()
        } else {
            let path = log.with_extension("in");
            fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
            File::open(&path).with_context(|| format!("cannot read {}", path.display()))?.into()
        };
        let child = command
            .stdin(stdin)
            .stdout(file(&log)?)
            .stderr(file(&log.with_extension("err"))?)
            .spawn()
            .with_context(|| format!("cannot run `{}`", shown(command)))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written on its standard output so far.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.output_bytes()?).into_owned())
    }

    /// The same, as bytes.
    pub fn output_bytes(&self) -> Result<Vec<u8>> {
        fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// What it has written on its standard error so far; its last lines.
    pub fn complaint(&self) -> String {
        let text = fs::read(self.log.with_extension("err")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        format!("on its standard error:\n  {}\n", lines[lines.len().saturating_sub(8)..].join("\n  "))
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let (name, child) = (&self.name, &mut self.child);
        let status = wait_for(name, limit, || Ok(child.try_wait()?));
        status.with_context(|| format!("while running {}; on its standard error: {}", self.name, self.complaint()))
    }

    /// Waits until it ends with success.
    pub fn finish(&mut self, limit: Duration) -> Result<String> {
        let status = self.wait(limit)?;
        if !status.success() {
            bail!("{} ended with {status}\n  {}\n  {}", self.name, self.output()?.trim(), self.complaint());
        }
        self.output()
    }

    /// Waits until a complete line of its output satisfies `wanted`, and gives that line.
    pub fn line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let what = format!("a line from {}", self.name);
        wait_for(&what, limit, || {
            let ended = self.child.try_wait()?;
            let output = self.output()?;
            let found = output.split_inclusive('\n').filter(|line| line.ends_with('\n')).find(|line| wanted(line));
            if let (None, Some(status)) = (found, ended) {
                bail!("{} ended with {status} too early\n  {}\n  {}", self.name, output.trim(), self.complaint());
            }
            Ok(found.map(|line| line.trim_end().to_owned()))
        })
    }

    /// Kills it, as the system kills a process that had no chance to clean up, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Best effort: the owner is already failing, or is done with it.
            let _ = self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(name: &str, script: &str) -> Running {
        let folder = std::env::temp_dir().join(format!("cargo-lab-{}", std::process::id()));
        Running::start(name, Command::new("sh").args(["-c", script]), &folder).unwrap()
    }

    #[test]
    fn a_line_is_seen_while_the_child_still_runs() {
        let mut child = shell("line", "echo first; echo second; sleep 60");
        assert_eq!(child.line(LIMIT, |line| line.starts_with('s')).unwrap(), "second");
        child.kill().unwrap();
        assert!(!child.wait(LIMIT).unwrap().success());
    }

    #[test]
    fn a_child_that_ends_without_the_line_is_an_error_with_its_complaint() {
        let mut child = shell("early", "echo something is wrong >&2");
        let error = child.line(LIMIT, |_| true).unwrap_err();
        assert!(error.to_string().contains("something is wrong"), "{error}");
    }

    #[test]
    fn a_child_that_hangs_is_an_error_that_names_it() {
        let error = shell("sleeper", "sleep 60").finish(Duration::from_millis(50)).unwrap_err();
        assert!(format!("{error:#}").contains("sleeper took longer"), "{error:#}");
    }
}
