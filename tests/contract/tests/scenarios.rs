//! The worked examples of `user-harness/scenarios`, each on the real driver: in the lab, and from the same files in Wine and on Windows.
//! Which clauses one proves stands in its own `proves`, and what it takes in its `needs`: where that lacks, it is ignored, by name.
//!
//! `WSKCLIENT_SCENARIOS` names another folder than the workspace's.

#[cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial};
    let tests = here::files().into_iter().map(|(name, path)| Trial::ignorable_test(name, move || here::holds(&path)));
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit_code()
}

#[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
fn main() {}

#[cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]
mod here {
    use contract::on_a_fresh_driver;
    use libtest_mimic::{Completion, Failed};
    use std::{
        env,
        fmt::Write,
        path::{Path, PathBuf},
    };
    use wskctl::{
        backend::Verdict,
        scenario::{Failure, Scenario},
    };

    const WORKSPACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../user-harness/scenarios");

    /// Every scenario, by its name, in order.
    pub fn files() -> Vec<(String, PathBuf)> {
        let folder = env::var_os("WSKCLIENT_SCENARIOS").map_or_else(|| PathBuf::from(WORKSPACES), PathBuf::from);
        let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path))
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no scenario", folder.display());
        files
    }

    /// The driver does what the file says, every step of it.
    pub fn holds(path: &Path) -> Result<Completion, Failed> {
        let scenario = Scenario::read(path)?.map_err(|wrong| wrong.text())?;
        if scenario.proves.is_empty() {
            return Err("it names no clause that it proves".into());
        }
        let mut steps = String::new();
        let (ran, verdict) = on_a_fresh_driver(|backend| {
            if let Some(feature) = scenario.lacking(backend) {
                return Ok(Completion::ignored_with(format!("needs {}", feature.name())));
            }
            let ran = scenario.run(backend, |done| {
                writeln!(steps, "{:5} {:<50} {}", done.line, done.what, done.outcome).expect("a string takes all");
                Ok(())
            });
            ran.map(|()| Completion::Completed)
        });
        let report = verdict.as_ref().map_or("", |verdict| &verdict.report);
        match ran {
            Ok(completion) if verdict.as_ref().is_none_or(Verdict::is_clean) => Ok(completion),
            Ok(_) => Err(format!("{steps}{report}").into()),
            Err(Failure::Step(problem)) => Err(format!("{steps}{}\n{report}", problem.text(&scenario.source)).into()),
            Err(Failure::Error(error)) => Err(format!("{steps}{error}\n{report}").into()),
        }
    }
}
