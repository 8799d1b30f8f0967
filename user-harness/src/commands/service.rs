//! `wskctl install`, `uninstall`, `start`, `stop` and `verifier`: the driver on this Windows.

use crate::{
    Error, Exit,
    output::{Event, GOOD, Output},
    service::{self, Level, Step, System},
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Which INF.
#[derive(clap::Args)]
pub(crate) struct Inf {
    /// The driver's INF; wskclient.sys lies beside it
    #[arg(default_value = service::INF)]
    inf: PathBuf,
}

/// What to set.
#[derive(clap::Args)]
pub(crate) struct Verifier {
    /// Check the driver this strictly, from the next start of Windows
    #[arg(long, value_enum, value_name = "standard|stress", hide_possible_values = true, conflicts_with = "reset")]
    set: Option<Level>,
    /// Check nothing any more, from the next start of Windows
    #[arg(long)]
    reset: bool,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Service { done: &'a str, command: &'a str, restart: bool, said: &'a str },
}

impl Event for Told<'_> {
    fn human(&self) -> String {
        let Self::Service { done, command, restart, said } = self;
        let said = if said.is_empty() { String::new() } else { format!("{}\n", said.trim_end()) };
        let restart = if *restart { "; it takes effect when Windows restarts" } else { "" };
        format!("{said}{GOOD}{done}{GOOD:#}{restart} ({command})")
    }
}

/// What this system is, if it has services of Windows' kind.
#[cfg_attr(windows, expect(clippy::unnecessary_wraps, reason = "elsewhere it is an error"))]
fn system(what: &str) -> Result<System, Error> {
    #[cfg(windows)]
    {
        let _ = what;
        Ok(if crate::device::windows::is_wine() { System::Wine } else { System::Windows })
    }
    #[cfg(not(windows))]
    {
        let why = "drivers are installed on Windows only; here `--backend lab` runs the driver without installing it";
        Err(Error::service(what, why, "wskctl --backend lab status", Exit::Absent))
    }
}

fn done(output: &mut Output, done: &str, step: &Step, restart: bool, said: &str) -> Result<(), Error> {
    output.emit(&Told::Service { done, command: &step.shown(), restart, said })
}

pub(super) fn install(arguments: &Inf, output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "install the driver";
    let system = system(WHAT)?;
    let inf = present(&arguments.inf, WHAT)?;
    let step = service::install(system, &inf);
    let said = step.run(WHAT)?;
    // Wine's SetupAPI tells nothing of what went wrong.
    service::control("query").run(WHAT)?;
    done(output, "installed", &step, said.code == 3010, "")
}

/// The INF's whole path: other programs look for it elsewhere.
fn present(inf: &Path, what: &str) -> Result<String, Error> {
    let failed = |why: String, advice| Error::service(what, why, advice, Exit::Absent);
    let whole = std::path::absolute(inf).map_err(|error| Error::host(what, error))?;
    let advice = "name the package's INF: `wskctl install path\\to\\wskclient.inf`";
    for file in [whole.clone(), whole.with_file_name(service::IMAGE)] {
        if !file.is_file() {
            return Err(failed(format!("there is no {}", file.display()), advice));
        }
    }
    Ok(whole.display().to_string())
}

pub(super) fn uninstall(arguments: &Inf, output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "uninstall the driver";
    let system = system(WHAT)?;
    let inf = match system {
        System::Wine => present(&arguments.inf, WHAT)?,
        System::Windows => service::published_name(&service::list_store().run(WHAT)?.text).ok_or_else(|| {
            let why = format!("the driver store has no {}", service::INF);
            Error::service(WHAT, why, "nothing is installed", Exit::Absent)
        })?,
    };
    if state(WHAT)? != "STOPPED" {
        stop_it(WHAT)?;
    }
    let step = service::uninstall(system, &inf);
    let said = step.run(WHAT)?;
    done(output, "uninstalled", &step, said.code == 3010, "")
}

pub(super) fn start(output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "start the driver";
    system(WHAT)?;
    if state(WHAT)? == "RUNNING" {
        return Err(Step::failure(WHAT, service::RUNS_ALREADY, ""));
    }
    let step = service::control("start");
    step.run(WHAT)?;
    done(output, "started", &step, false, "")
}

pub(super) fn stop(output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "stop the driver";
    system(WHAT)?;
    if state(WHAT)? == "STOPPED" {
        return Err(Step::failure(WHAT, service::DOES_NOT_RUN, ""));
    }
    let step = stop_it(WHAT)?;
    done(output, "stopped", &step, false, "")
}

/// Stops the service, and waits until the driver has unloaded: it does when its last handle closes.
fn stop_it(what: &str) -> Result<Step, Error> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let step = service::control("stop");
    step.run(what)?;
    let begun = Instant::now();
    while state(what)? != "STOPPED" {
        if begun.elapsed() > PATIENCE {
            let why = "the driver does not unload: some process has the device open".to_owned();
            let advice = "end that process; the driver then unloads by itself: `wskctl status` counts the clients";
            return Err(Error::service(what, why, advice, Exit::Failed));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(step)
}

/// The service's state, in `sc query`'s word, which is not translated. Wine's `sc` has one exit code for whatever is wrong.
fn state(what: &str) -> Result<String, Error> {
    let said = service::control("query").run(what).map_err(|error| match error.exit() {
        Exit::Denied => error,
        _ => Step::failure(what, service::NO_SUCH_SERVICE, ""),
    })?;
    Ok(service::state_of(&said.text).unwrap_or_default())
}

pub(super) fn verifier(arguments: &Verifier, output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "set Driver Verifier up";
    if system(WHAT)? == System::Wine {
        let why = "Wine has no Driver Verifier".to_owned();
        return Err(Error::service(WHAT, why, "the lab checks its rules on Linux: `cargo lab test`", Exit::Absent));
    }
    let (name, step) = match (arguments.set, arguments.reset) {
        (Some(level), _) => ("set", service::verify(level)),
        (None, true) => ("reset", service::verify_nothing()),
        (None, false) => ("shown", service::verifier_settings()),
    };
    let said = step.run(WHAT)?;
    done(output, name, &step, name != "shown" && said.code == 2, &said.text)
}
