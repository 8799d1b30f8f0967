//! A driver's life: `DriverEntry`, `DriverUnload`, and what must be gone afterwards.
//!
//! Models "Writing a `DriverEntry` Routine", "Writing an Unload Routine" and what the service control manager does.

use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::call::{self, Stopped, or_escape};
use crate::irp;
use crate::loader::{Image, LoadError};
use crate::machine::{Inner, Machine};
use crate::nt::{DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DRIVER_OBJECT, IO_TYPE_DRIVER, IRP, PVOID, UNICODE_STRING};
use crate::objects::Kind;
use crate::rules::{self, Rule, Violation};
use crate::services::service_key;
use crate::status::NtStatus;

/// Why a driver could not start or unload.
#[derive(Debug, Clone)]
pub enum Stop {
    /// It, or the system, refused.
    Status(NtStatus),
    /// A rule was broken. The machine has stopped.
    Violation(Box<Violation>),
    /// The machine had been stopped or switched off before.
    SwitchedOff,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status:?}"),
            Self::Violation(violation) => violation.fmt(f),
            Self::SwitchedOff => f.write_str("the machine has stopped"),
        }
    }
}

impl std::error::Error for Stop {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Loaded,
    Started,
    Over,
}

/// A driver of a machine. Clones are the same driver.
#[derive(Clone)]
pub struct Driver {
    machine: Machine,
    shared: Arc<Shared>,
}

/// The part of a driver that its machine keeps, too.
pub(crate) struct Shared {
    name: String,
    pub(crate) image: Option<Image>,
    entry: usize,
    state: Mutex<State>,
    object: Mutex<Option<usize>>,
}

/// What stays valid for a driver as long as its object.
struct Strings {
    _registry_path: Box<[u16]>,
    _name: Box<[u16]>,
}

/// What the dispatch table holds where a driver set nothing.
pub(crate) extern "win64" fn invalid_device_request(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let status = NtStatus::INVALID_DEVICE_REQUEST;
    // SAFETY: the I/O manager passes an IRP that it owns.
    unsafe { &*irp }.set_status(status.0, 0);
    or_escape(irp::complete(irp));
    status.0
}

fn wide(text: &str) -> (Box<[u16]>, UNICODE_STRING) {
    let mut units: Box<[u16]> = text.encode_utf16().chain([0]).collect();
    let length = u16::try_from((units.len() - 1) * 2).unwrap_or(0);
    let string = UNICODE_STRING { Length: length, MaximumLength: length + 2, Buffer: units.as_mut_ptr() };
    (units, string)
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is `AtEnd`")]
fn end(machine: &Inner, object: PVOID) -> Result<bool, Stopped> {
    if let Some(header) = machine.object(object) {
        let strings = header.context.swap(0, Ordering::AcqRel) as *mut Strings;
        if !strings.is_null() {
            // SAFETY: `create_object` made the box; the swap makes this its only owner.
            drop(unsafe { Box::from_raw(strings) });
        }
    }
    Ok(true)
}

impl Machine {
    /// Maps the driver image at `path` and binds its imports. Nothing of it runs yet.
    ///
    /// # Errors
    /// When the file is no driver image, or imports what the lab or its Windows lacks: all that is missing is in one error.
    pub fn load(&self, path: &Path) -> Result<Driver, LoadError> {
        let name = path.file_stem().map_or_else(|| "driver".to_owned(), |name| name.to_string_lossy().into_owned());
        self.load_service(path, &name)
    }

    /// As [`load`](Self::load), for a service called `name`: it is in the driver's name and in its registry path.
    ///
    /// # Errors
    /// As for `load`.
    pub fn load_service(&self, path: &Path, name: &str) -> Result<Driver, LoadError> {
        let image = Image::load(path, self.inner.options.windows)?;
        let entry = image.entry;
        Ok(self.add(name.to_owned(), Some(image), entry))
    }

    /// A driver made of Rust functions: `entry` is its `DriverEntry`. See [`crate::builtin`].
    #[must_use]
    pub fn load_builtin(&self, entry: extern "win64" fn(*mut DRIVER_OBJECT, *const UNICODE_STRING) -> i32) -> Driver {
        self.add("builtin".to_owned(), None, entry as *const () as usize)
    }

    fn add(&self, name: String, image: Option<Image>, entry: usize) -> Driver {
        self.inner.services.registry.create(&service_key(&name));
        let shared =
            Arc::new(Shared { name, image, entry, state: Mutex::new(State::Loaded), object: Mutex::new(None) });
        self.inner.add_driver(&shared);
        Driver { machine: self.clone(), shared }
    }

    /// Runs lab code on behalf of the machine, with the first violation as its error.
    pub(crate) fn run<R>(&self, body: impl FnOnce() -> Result<R, Stopped>) -> Result<R, Stop> {
        if self.inner.is_stopped() {
            return Err(self.stop_reason());
        }
        // It keeps the turn when it returns: what the test does next is part of it.
        self.inner.take_turn();
        call::guard(&self.inner, body).and_then(|result| result).map_err(|Stopped| self.stop_reason())
    }

    fn stop_reason(&self) -> Stop {
        match self.inner.violations().into_iter().next() {
            Some(violation) => Stop::Violation(Box::new(violation)),
            None => Stop::SwitchedOff,
        }
    }
}

impl Driver {
    /// The driver's name: its file name without the extension.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What drivers of the machine have printed, a line each.
    #[must_use]
    pub fn debug_output(&self) -> Vec<String> {
        self.machine.inner.debug_output()
    }

    /// Runs `DriverEntry` in the context of the System process.
    ///
    /// # Errors
    /// The status that `DriverEntry` returned, when that is an error; or the rule that was broken. A driver whose
    /// `DriverEntry` fails must have undone everything, as at unload.
    pub fn start(&self) -> Result<(), Stop> {
        let mut state = self.shared.state.lock();
        if *state != State::Loaded {
            return Err(Stop::Status(NtStatus::IMAGE_ALREADY_LOADED));
        }
        *state = State::Over;
        let status = self.machine.run(|| self.shared.enter(&self.machine.inner))?;
        if !status.is_success() {
            return Err(Stop::Status(status));
        }
        *state = State::Started;
        Ok(())
    }

    /// Runs `DriverUnload`, then checks that nothing of the driver is live.
    ///
    /// # Errors
    /// `STATUS_DEVICE_BUSY` while handles to its devices are open, `STATUS_INVALID_DEVICE_REQUEST` when it cannot be
    /// unloaded or does not run; or the rule that was broken.
    pub fn unload(&self) -> Result<(), Stop> {
        self.shared.unload(&self.machine)
    }
}

impl Shared {
    fn create_object(&self, machine: &Inner) -> (*mut DRIVER_OBJECT, UNICODE_STRING) {
        let object = machine.create_object(Kind::Driver, size_of::<DRIVER_OBJECT>(), Some(end));
        // SAFETY: the object is new, large enough, and valid when zero.
        let driver = unsafe { &*object.cast::<DRIVER_OBJECT>() };
        driver.Type.set(IO_TYPE_DRIVER);
        driver.Size.set(336);
        driver.DriverInit.set(self.entry);
        if let Some(image) = &self.image {
            driver.DriverStart.set(image.region.base() as PVOID);
            driver.DriverSize.set(u32::try_from(image.region.size()).unwrap_or(0));
        }
        for routine in &driver.MajorFunction {
            routine.set(invalid_device_request as *const () as usize);
        }
        let (name, name_string) = wide(&format!("\\Driver\\{}", self.name));
        driver.DriverName.set(name_string);
        let (registry_path, path_string) = wide(&service_key(&self.name));
        let strings = Box::new(Strings { _registry_path: registry_path, _name: name });
        if let Some(header) = machine.object(object) {
            header.context.store(Box::into_raw(strings) as usize, Ordering::Release);
        }
        *self.object.lock() = Some(object as usize);
        driver.HardwareDatabase.set(null_mut());
        (object.cast(), path_string)
    }

    fn enter(&self, machine: &Inner) -> Result<NtStatus, Stopped> {
        let (object, path) = self.create_object(machine);
        let arguments = [object as usize, &raw const path as usize];
        let value = machine.bounded("DriverEntry", || call::driver("DriverEntry", self.entry, &arguments))?;
        let status = NtStatus::returned(value);
        // SAFETY: the object was made above, and lives until unload.
        let driver = unsafe { &*object };
        if !status.is_success() {
            self.check_gone(machine, driver, "DriverEntry failed")?;
            self.remove(machine)?;
            return Ok(status);
        }
        let mut next = driver.DeviceObject.get();
        while !next.is_null() {
            // SAFETY: devices on the driver's list exist.
            let device = unsafe { &*next };
            device.Flags.set(device.Flags.get() & !DO_DEVICE_INITIALIZING);
            next = device.NextDevice.get();
        }
        if let Some(image) = &self.image {
            image.discard_init();
        }
        Ok(status)
    }

    /// See [`Driver::unload`].
    pub(crate) fn unload(&self, machine: &Machine) -> Result<(), Stop> {
        let mut state = self.state.lock();
        let Some(object) = self.object.lock().filter(|_| *state == State::Started) else {
            return Err(Stop::Status(NtStatus::INVALID_DEVICE_REQUEST));
        };
        // SAFETY: a started driver's object exists.
        let driver = unsafe { &*(object as *const DRIVER_OBJECT) };
        let routine = driver.DriverUnload.get();
        if routine == 0 {
            return Err(Stop::Status(NtStatus::INVALID_DEVICE_REQUEST));
        }
        let inner = &machine.inner;
        let outcome = machine.run(|| {
            if !inner.wait_for_files(driver)? {
                return Ok(NtStatus::DEVICE_BUSY);
            }
            inner.bounded("DriverUnload", || call::driver("DriverUnload", routine, &[object]))?;
            self.check_gone(inner, driver, "DriverUnload returned")?;
            self.remove(inner)?;
            Ok(NtStatus::SUCCESS)
        });
        match outcome {
            Ok(NtStatus::SUCCESS) => {}
            Ok(status) => return Err(Stop::Status(status)),
            Err(stop) => {
                *state = State::Over;
                return Err(stop);
            }
        }
        *state = State::Over;
        Ok(())
    }

    /// Whether the driver runs.
    pub(crate) fn is_started(&self) -> bool {
        *self.state.lock() == State::Started
    }

    fn remove(&self, machine: &Inner) -> Result<(), Stopped> {
        if let Some(image) = &self.image {
            machine.forget_image(image.region.base());
            image.pageable.iter().for_each(|&(start, ..)| machine.paged.remove(start));
            image.unmap();
        }
        match self.object.lock().take() {
            Some(object) => machine.dereference(object as PVOID),
            None => Ok(()),
        }
    }

    /// Checks that nothing of the driver is live.
    #[expect(clippy::unused_self, reason = "a machine with several drivers will need it")]
    fn check_gone(&self, machine: &Inner, driver: &DRIVER_OBJECT, when: &str) -> Result<(), Stopped> {
        // First what would run the driver's code.
        let mut live: Vec<(&'static Rule, Vec<String>)> = vec![
            (&rules::WORK_LIVE, machine.live_work()),
            (&rules::THREAD_LIVE, machine.live_threads()),
            (&rules::TIMER_LIVE, machine.clock.live_timers()),
            (&rules::DPC_LIVE, machine.clock.live_dpcs()),
            (&rules::LINK_LIVE, machine.names.links()),
            (&rules::DEVICE_LIVE, machine.live_devices(driver)),
            (&rules::IRP_LEAK, irp::live_of_driver()),
            (&rules::LIVE_AT_UNLOAD, machine.handles.live()),
            (&rules::LIVE_AT_UNLOAD, machine.services.live()),
            (&rules::LIVE_AT_UNLOAD, machine.ip_helper.live()),
        ];
        live.retain(|(_, lines)| !lines.is_empty());
        if let Some(&(rule, _)) = live.first() {
            let lines: Vec<String> = live.into_iter().flat_map(|(_, lines)| lines).collect();
            let what: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.starts_with(' ')).collect();
            let message = format!("{when} and left {}", what.join("; "));
            return Err(rules::record(rule, message, lines));
        }
        machine.etw.check_unload()?;
        machine.wsk.check_unload()?;
        let leaks = machine.pool.leaks();
        if !leaks.is_empty() {
            let heads: Vec<&str> = leaks.iter().filter_map(|lines| lines.first()).map(String::as_str).collect();
            let message = format!("{when} and left pool: {}", heads.join("; "));
            return Err(rules::record(&rules::POOL_LEAK, message, leaks.into_iter().flatten().collect()));
        }
        Ok(())
    }
}
