//! Scenarios: files that say what clients and their peers do, and what must come of it. `user-harness/scenarios/README.md` describes
//! the format; the same file runs in the lab, in Wine and on Windows.
//!
//! One idea: a scenario is understood as a whole before any of it runs, so that whatever can be known to be wrong is told at once,
//! with its place in the file; what is left to the run is the driver's behaviour.
//!
//! ```
//! use wskctl::scenario::Scenario;
//!
//! let text = r#"
//!     title = "A version that nobody serves is refused, and counts nothing"
//!     proves = ["WSA-3"]
//!
//!     [[step]]
//!     startup = "application"
//!     version = "0.9"
//!     status = "WSAVERNOTSUPPORTED"
//! "#;
//! let scenario = Scenario::parse("refusal.toml", text).unwrap();
//! assert_eq!(scenario.proves, ["WSA-3"]);
//!
//! let wrong = Scenario::parse("refusal.toml", &text.replace("status", "statsu")).unwrap_err();
//! assert_eq!(wrong.problems[0].help.as_deref(), Some("did you mean `status`?"));
//! ```

mod describe;
mod fields;
mod ledger;
mod names;
mod parse;
mod peers;
mod problem;
mod run;
mod step;
mod value;

pub(crate) use problem::suggestion;
pub use problem::{Problem, Source};
pub use run::Done;
pub use step::Scenario;
pub(crate) use value::{guid, version};

use crate::{
    Error,
    backend::{Backend, Feature},
};
use run::{Runner, Stopped};
use std::path::Path;

/// A file that is no scenario.
#[derive(Debug)]
pub struct Wrong {
    /// The file.
    pub source: Source,
    /// What is wrong with it, in its order: at least one thing.
    pub problems: Vec<Problem>,
}

/// Why a run ended before the scenario's end.
#[derive(Debug)]
pub enum Failure {
    /// A step did not come out as its file says.
    Step(Problem),
    /// The device could not be opened, or what was to be told could not be.
    Error(Error),
}

impl Scenario {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The outer error: it can't be read. The inner one: it is no scenario.
    pub fn read(path: &Path) -> Result<Result<Self, Wrong>, Error> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&name, &text)),
            Err(error) => Err(Error::host(format!("read {name}"), error)),
        }
    }

    /// Reads a scenario's text; `name` is what messages call it.
    ///
    /// # Errors
    /// It is no scenario.
    pub fn parse(name: &str, text: &str) -> Result<Self, Wrong> {
        parse::parse(Source { name: name.into(), text: text.into() })
            .map_err(|(source, problems)| Wrong { source, problems })
    }

    /// How many steps it has, repetitions not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Never: a scenario has steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The first thing that the scenario needs and the backend is without.
    #[must_use]
    pub fn lacking(&self, backend: &Backend) -> Option<Feature> {
        self.needs.iter().copied().find(|&need| backend.lacks(need))
    }

    /// Runs it, and tells of each step when it is done. All its processes have ended when it returns.
    ///
    /// # Errors
    /// A step did not come out as the file says, or the device can't be opened.
    pub fn run(&self, backend: &Backend, mut tell: impl FnMut(Done) -> Result<(), Error>) -> Result<(), Failure> {
        let mut runner = Runner::start(self, backend).map_err(Failure::Error)?;
        let result = runner.steps(&self.steps, &mut tell);
        runner.finish();
        result.map_err(|stopped| match stopped {
            Stopped::Failure(failure) => Failure::Step(failure.into()),
            Stopped::Error(error) => Failure::Error(error),
        })
    }
}

impl Wrong {
    /// Every problem as a person reads it, with ANSI styles.
    #[must_use]
    pub fn text(&self) -> String {
        let texts: Vec<_> = self.problems.iter().map(|problem| problem.text(&self.source)).collect();
        texts.join("\n\n")
    }
}
