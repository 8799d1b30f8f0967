//! The contract's tests in Wine: the programs that need nothing of the lab's own, built for Windows from the same source.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use super::session::{HOME, Payload, Session};
use crate::{
    artifacts,
    setup::{Tools, files},
    suite::{Place, Program, Results, Run},
    workspace::Workspace,
};

/// For one program. Each of its tests starts the driver and stops it.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs the programs one after the other, in one session.
pub fn run(
    workspace: &Workspace,
    tools: &Tools,
    driver: PathBuf,
    programs: &[Program],
    arguments: &[String],
    show: fn(&str),
) -> Result<Results> {
    let harness = artifacts::build_windows_harness(workspace, tools)?;
    let payload = Payload::built(workspace, driver, harness)?;
    let mut session = Session::open(workspace, tools, &payload, "fixme-all")?;
    let environment = [("WSKCTL", super::HARNESS), ("WSKCLIENT_SCENARIOS", &format!(r"{HOME}\scenarios"))];
    let run = Run { place: Place::Wine, arguments: &[], environment: &[], show };
    let mut results = Results::default();
    for program in programs {
        show(&format!("     Running {} in Wine", program.file.display()));
        // Beside the one system library that Wine lacks.
        let name = program.root.with_extension("exe");
        let name = name.file_name().and_then(OsStr::to_str).context("a program has a name")?;
        files::copy(&program.file, &session.prefix.drive_c("wskclient").join(name))?;
        let file = format!(r"{HOME}\{name}");
        // One at a time: there is one driver.
        let all: Vec<_> = ["--test-threads", "1"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let mut running = session.prefix.start_with(&file, &all, b"", &environment)?;
        let ended = running.wait(LIMIT);
        let failed = results.failed;
        results.add(run.read(&running.output()?, &program.root));
        match ended {
            Ok(status) if status.success() => (),
            Ok(_) if results.failed > failed => show(&running.complaint()),
            Ok(status) => {
                show(&format!("it ended with {status}\n{}", running.complaint()));
                results.failed += 1;
            }
            Err(error) => {
                show(&format!("{error:#}"));
                results.failed += 1;
            }
        }
        if results.failed > failed {
            show(&session.prefix.services_complaint());
        }
    }
    session.close()?;
    Ok(results)
}
