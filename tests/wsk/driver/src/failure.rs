//! What was not as it should be, and where.

use core::panic::Location;
use wdk_sys::NTSTATUS;
use wsk::{Error, NotStarted};

/// A case that failed, at a line of this driver's source.
pub struct Failure {
    place: &'static Location<'static>,
    error: Option<Error>,
}

impl Failure {
    /// Something else than an error.
    #[track_caller]
    pub fn here() -> Self {
        Self { place: Location::caller(), error: None }
    }

    /// Prints where; what `DriverEntry` answers.
    pub fn tell(&self) -> NTSTATUS {
        const UNSUCCESSFUL: NTSTATUS = 0xC000_0001_u32.cast_signed();
        wdk::println!("{}:{}: {:?}", self.place.file(), self.place.line(), self.error);
        self.error.map_or(UNSUCCESSFUL, Error::status)
    }
}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self { place: Location::caller(), error: Some(error) }
    }
}

impl From<NotStarted> for Failure {
    #[track_caller]
    fn from(not_started: NotStarted) -> Self {
        Self { place: Location::caller(), error: Some(not_started.error) }
    }
}

/// Fails the case unless `condition` holds.
#[track_caller]
pub fn ensure(condition: bool) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(Failure::here()) }
}

/// Fails the case unless `result` is the error.
#[track_caller]
pub fn refused<T, E: Into<Error>>(result: Result<T, E>, error: Error) -> Result<(), Failure> {
    match result.map_err(Into::into) {
        Err(found) if found == error => Ok(()),
        Err(found) => Err(Failure::from(found)),
        Ok(_) => Err(Failure::here()),
    }
}
