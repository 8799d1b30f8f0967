//! The driver's service, as the service control manager has it, through the `windows-service` crate.

#[cfg(not(windows))]
use super::NO_SUCH_SERVICE;
use super::failure;
use crate::Error;
#[cfg(windows)]
use {
    super::SERVICE,
    windows_service::{
        service::{self, ServiceAccess, ServiceState},
        service_manager::{ServiceManager, ServiceManagerAccess},
    },
};

/// The service, open.
#[cfg(windows)]
pub(crate) struct Service {
    service: service::Service,
    what: &'static str,
}

#[cfg(windows)]
impl Service {
    /// Opens the service. `what` is what it is for.
    ///
    /// # Errors
    /// There is no such service, or the caller is no administrator.
    pub fn open(what: &'static str) -> Result<Self, Error> {
        let access = ServiceAccess::QUERY_STATUS | ServiceAccess::START | ServiceAccess::STOP;
        let service = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
            .and_then(|manager| manager.open_service(SERVICE, access))
            .map_err(|error| refused(what, &error))?;
        Ok(Self { service, what })
    }

    /// Starts it, which loads the driver: it runs when this returns.
    ///
    /// # Errors
    /// It runs already, or its image can't be loaded, or `DriverEntry` failed: then it is that status' Win32 error.
    pub fn start(&self) -> Result<(), Error> {
        self.service.start::<&str>(&[]).map_err(|error| refused(self.what, &error))
    }

    /// Stops it, which unloads the driver when its last handle has closed.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&self) -> Result<(), Error> {
        self.service.stop().map(drop).map_err(|error| refused(self.what, &error))
    }

    /// Whether the driver is unloaded.
    ///
    /// # Errors
    /// The manager does not say.
    pub fn is_stopped(&self) -> Result<bool, Error> {
        let status = self.service.query_status().map_err(|error| refused(self.what, &error))?;
        Ok(status.current_state == ServiceState::Stopped)
    }
}

#[cfg(windows)]
fn refused(what: &str, error: &windows_service::Error) -> Error {
    match error {
        windows_service::Error::Winapi(error) => {
            failure(what, error.raw_os_error().unwrap_or_default(), || error.to_string())
        }
        error => failure(what, 0, || error.to_string()),
    }
}

/// There are no services elsewhere.
#[cfg(not(windows))]
pub(crate) enum Service {}

#[cfg(not(windows))]
impl Service {
    pub fn open(what: &str) -> Result<Self, Error> {
        Err(failure(what, NO_SUCH_SERVICE, String::new))
    }

    pub fn start(&self) -> Result<(), Error> {
        match *self {}
    }

    pub fn stop(&self) -> Result<(), Error> {
        match *self {}
    }

    pub fn is_stopped(&self) -> Result<bool, Error> {
        match *self {}
    }
}
