//! The lab: the real .sys inside this process, on ntlab's kernel. Linux on x86-64 only.

use super::{Completion, Device, Handle, HandleBackend, Observer, Request, RequestBackend};
use crate::{Cause, Error, abi::DEVICE_PATH, backend::Verdict};
use ntlab::{Machine, Stop};
use std::{path::Path, time::Duration};

/// A machine with the driver loaded and started.
pub struct Lab {
    machine: Machine,
    driver: ntlab::Driver,
}

impl Lab {
    /// Makes a machine, loads the driver's image and calls its `DriverEntry`.
    ///
    /// # Errors
    /// There is no such file, it can't be loaded, or the driver does not start.
    pub fn start(driver: &Path, seed: u64) -> Result<Self, Error> {
        Self::start_with(driver, ntlab::Options { seed, ..ntlab::Options::default() }).map_err(|(error, _)| error)
    }

    /// As [`start`](Self::start), in a machine with other options. On failure it also gives what the rules say, if a driver was loaded.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(driver: &Path, options: ntlab::Options) -> Result<Self, (Error, Option<Verdict>)> {
        Self::start_prepared(driver, options, |_| ())
    }

    /// As [`start_with`](Self::start_with), with something done when the driver is loaded and before it starts: to set its parameters.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_prepared(
        driver: &Path,
        options: ntlab::Options,
        prepare: impl FnOnce(&ntlab::Driver),
    ) -> Result<Self, (Error, Option<Verdict>)> {
        if !driver.is_file() {
            let what = format!("load {}", driver.display());
            return Err((Error::new(what, Cause::Absent("there is no such file".into())), None));
        }
        let machine = Machine::new(options);
        let driver = match machine.load(driver) {
            Ok(driver) => driver,
            Err(error) => return Err((Error::new("load the driver", Cause::Absent(error.to_string())), None)),
        };
        prepare(&driver);
        if let Err(stop) = driver.start() {
            let cause = match stop {
                Stop::Status(status) => Cause::Status(status.0),
                Stop::Violation(_) | Stop::SwitchedOff => Cause::Lab(stop.to_string()),
            };
            let verdict = verdict(&machine.finish(), true);
            return Err((Error::new("start the driver", cause), Some(verdict)));
        }
        Ok(Self { machine, driver })
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A new process, which sees the device.
    #[must_use]
    pub fn process(&self) -> LabProcess {
        LabProcess(self.machine.process())
    }

    /// Unloads the driver and asks the rules. Every process has ended or closed its handles before.
    #[must_use]
    pub fn finish(self) -> Verdict {
        let unloaded = self.driver.unload();
        let mut verdict = verdict(&self.machine.finish(), unloaded.is_ok());
        if let Err(Stop::Status(status)) = unloaded {
            verdict.report = format!("the driver does not unload: {}\n{}", crate::StatusText(status.0), verdict.report);
        }
        verdict
    }
}

fn verdict(report: &ntlab::Report, unloaded: bool) -> Verdict {
    Verdict {
        unloaded,
        violations: report.violations.len(),
        leaks: report.leaks,
        events: report.events.iter().map(ToString::to_string).collect(),
        report: report.to_string(),
    }
}

/// A process of the machine. Clones are the same process.
#[derive(Clone)]
pub struct LabProcess(ntlab::Process);

impl LabProcess {
    /// A process that the machine has made already.
    #[must_use]
    pub fn over(process: ntlab::Process) -> Self {
        Self(process)
    }

    /// The process, in the lab's terms.
    #[must_use]
    pub fn process(&self) -> &ntlab::Process {
        &self.0
    }
}

impl Device for LabProcess {
    fn open(&self) -> Result<Handle, Error> {
        match self.0.open(DEVICE_PATH) {
            Ok(handle) => Ok(Handle::new(LabHandle(handle))),
            Err(status) => Err(Error::status(format!("open {DEVICE_PATH}"), status.0)),
        }
    }
}

struct LabHandle(ntlab::Handle);

impl HandleBackend for LabHandle {
    fn submit(&self, code: u32, input: &[u8], buffer: Vec<u8>) -> Request {
        let length = buffer.len();
        Request::new(LabRequest { request: self.0.ioctl(code, input, buffer), length })
    }

    fn cancel_all(&self) {
        let _how_many = self.0.cancel_all();
    }

    fn close(&self) {
        let _closed_before_is_no_error = self.0.close();
    }
}

struct LabRequest {
    request: ntlab::Request,
    /// The buffer's length: the lab gives back as much of it as was written.
    length: usize,
}

impl RequestBackend for LabRequest {
    fn is_complete(&self) -> bool {
        self.request.is_complete()
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let ntlab::Completion { status, information, output: mut buffer } = self.request.wait(timeout)?;
        buffer.resize(self.length, 0);
        Some(Completion { status: status.0, information, buffer })
    }

    fn cancel(&self) {
        let _whether_it_was_pending = self.request.cancel();
    }

    fn on_completion(&mut self, observer: Observer) {
        self.request.on_completion(observer);
    }
}

impl Drop for LabRequest {
    fn drop(&mut self) {
        RequestBackend::cancel(self);
    }
}
