//! `wskctl install`, `uninstall`, `start`, `stop` and `verifier`: the driver on this Windows.

use crate::{
    Error, Exit,
    output::{Event, GOOD, Output},
    service::{self, Level, Step, System, control::Service},
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
    Service {
        done: &'a str,
        /// The program that was run for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        command: Option<String>,
        restart: bool,
        said: &'a str,
    },
}

impl Event for Told<'_> {
    fn human(&self) -> String {
        let Self::Service { done, command, restart, said } = self;
        let said = if said.is_empty() { String::new() } else { format!("{}\n", said.trim_end()) };
        let restart = if *restart { "; it takes effect when Windows restarts" } else { "" };
        let command = command.as_ref().map_or(String::new(), |command| format!(" ({command})"));
        format!("{said}{GOOD}{done}{GOOD:#}{restart}{command}")
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

fn done(output: &mut Output, done: &str, step: Option<&Step>, restart: bool, said: &str) -> Result<(), Error> {
    output.emit(&Told::Service { done, command: step.map(Step::shown), restart, said })
}

pub(super) fn install(arguments: &Inf, output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "install the driver";
    let system = system(WHAT)?;
    let inf = present(&arguments.inf, WHAT)?;
    let step = service::install(system, &inf);
    let said = step.run(WHAT)?;
    // Wine's SetupAPI tells nothing of what went wrong.
    Service::open(WHAT)?;
    done(output, "installed", Some(&step), said.code == 3010, "")
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
    {
        // Closed before it is removed: the manager keeps a service for whoever has it open.
        let driver = Service::open(WHAT)?;
        if !driver.is_stopped()? {
            stop_it(&driver, WHAT)?;
        }
    }
    let step = service::uninstall(system, &inf);
    let said = step.run(WHAT)?;
    done(output, "uninstalled", Some(&step), said.code == 3010, "")
}

pub(super) fn start(output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "start the driver";
    system(WHAT)?;
    Service::open(WHAT)?.start()?;
    done(output, "started", None, false, "")
}

pub(super) fn stop(output: &mut Output) -> Result<(), Error> {
    const WHAT: &str = "stop the driver";
    system(WHAT)?;
    let driver = Service::open(WHAT)?;
    if driver.is_stopped()? {
        return Err(service::failure(WHAT, service::DOES_NOT_RUN, String::new));
    }
    stop_it(&driver, WHAT)?;
    done(output, "stopped", None, false, "")
}

/// Stops the service, and waits until the driver has unloaded: it does when its last handle closes.
fn stop_it(driver: &Service, what: &str) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(30);
    driver.stop()?;
    let begun = Instant::now();
    while !driver.is_stopped()? {
        if begun.elapsed() > PATIENCE {
            let why = "the driver does not unload: some process has the device open".to_owned();
            let advice = "end that process; the driver then unloads by itself: `wskctl status` counts the clients";
            return Err(Error::service(what, why, advice, Exit::Failed));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
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
    done(output, name, Some(&step), name != "shown" && said.code == 2, &said.text)
}
