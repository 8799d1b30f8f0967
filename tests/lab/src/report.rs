//! How a command ends, and how it speaks: results on standard output, progress on standard error.

use std::{fmt, process::ExitCode};

/// How a command that could run ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use = "the outcome is the process's exit code"]
pub enum Outcome {
    /// Everything that was asked for holds.
    Holds,
    /// Something was built or run, and did not hold.
    Failed,
    /// The machine lacks something that only its owner can add.
    Unprepared,
    /// What was asked for makes no sense.
    Misused,
    /// The driver given to `run` cannot be loaded.
    Unloadable,
    /// Ctrl-C, after cleaning up.
    Interrupted,
    /// The exit code of the child that was run on the caller's behalf.
    Child(u8),
}

impl Outcome {
    /// `Holds` when everything asked for was so.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Failed }
    }

    /// The outcome that an error stands for.
    pub fn of_error(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<Unprepared>().is_some() {
            Self::Unprepared
        } else if error.downcast_ref::<Misused>().is_some() {
            Self::Misused
        } else if error.downcast_ref::<Unloadable>().is_some() {
            Self::Unloadable
        } else if error.downcast_ref::<Interrupted>().is_some() {
            Self::Interrupted
        } else {
            Self::Failed
        }
    }

    /// As documented by `cargo lab --help`.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Holds => 0,
            Self::Failed => 1,
            Self::Misused => 2,
            Self::Unprepared => 3,
            Self::Unloadable => 4,
            Self::Interrupted => 130,
            Self::Child(code) => code,
        })
    }
}

/// Something is missing that this program may not, or cannot, install.
#[derive(Debug)]
pub struct Unprepared(pub String);

impl fmt::Display for Unprepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unprepared {}

/// What was asked for makes no sense, and why.
#[derive(Debug)]
pub struct Misused(pub String);

impl fmt::Display for Misused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Misused {}

/// A driver that cannot be loaded, and why.
#[derive(Debug)]
pub struct Unloadable(pub String);

impl fmt::Display for Unloadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unloadable {}

/// The user asked to stop.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Tells what is going on, on standard error.
pub fn progress(what: impl fmt::Display) {
    eprintln!("lab: {what}");
}
