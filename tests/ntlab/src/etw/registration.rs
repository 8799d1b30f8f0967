//! A provider from `EtwRegister` to `EtwUnregister`.
//!
//! One idea: a handle is never given twice, so one that is used after its registration is known for what it was.

use std::fmt;
use std::time::Duration;

use super::event::Guid;
use super::metadata;
use super::writing::Descriptor;
use super::{Session, State};
use crate::call::{self, Stopped, or_escape};
use crate::machine;
use crate::rules;
use crate::status::NtStatus;

/// `EVENT_CONTROL_CODE_DISABLE_PROVIDER`.
const DISABLE: usize = 0;
/// `EVENT_CONTROL_CODE_ENABLE_PROVIDER`.
const ENABLE: usize = 1;
/// `EventProviderSetTraits`.
const SET_TRAITS: u32 = 2;
/// `EventProviderUseDescriptorType`.
const USE_DESCRIPTOR_TYPE: u32 = 3;
/// How often `EtwUnregister`, which waits for a callback, looks whether the machine has stopped.
const SLICE: Duration = Duration::from_millis(50);
/// What makes a handle unlike a small number.
const MARK: u64 = 0xe700_0000_0000;

/// A provider.
pub struct Registration {
    pub id: Guid,
    /// From its traits, if it has set them.
    name: Option<String>,
    callback: usize,
    context: usize,
    /// Not unregistered yet.
    pub open: bool,
    /// Calls of its enable callback that have not returned.
    running: usize,
}

impl Registration {
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETW provider {} {}", self.name.as_deref().unwrap_or(""), self.id)
    }
}

impl State {
    /// What `body` makes of the registration of `handle`. A handle of 0 is none: `None`.
    pub fn with<R>(
        &self,
        routine: &str,
        handle: u64,
        body: impl FnOnce(&mut Registration) -> R,
    ) -> Result<Option<R>, Stopped> {
        if handle == 0 {
            return Ok(None);
        }
        let mut registrations = self.registrations.lock();
        let message = match registrations.get_mut(&handle) {
            Some(found) if found.open => return Ok(Some(body(found))),
            Some(found) => format!("{routine} was called for the {found}, which is unregistered"),
            None => format!("{routine} got the handle {handle:#x}, which EtwRegister did not give"),
        };
        drop(registrations);
        Err(rules::record(&rules::ETW_HANDLE, message, Vec::new()))
    }

    /// Tells a provider what the session wants.
    fn tell(&self, handle: u64, session: Option<Session>) -> Result<(), Stopped> {
        let callback = {
            let mut registrations = self.registrations.lock();
            let Some(found) = registrations.get_mut(&handle).filter(|found| found.open && found.callback != 0) else {
                return Ok(());
            };
            found.running += 1;
            (found.callback, found.context)
        };
        let outcome = call_enable(callback, session);
        if let Some(found) = self.registrations.lock().get_mut(&handle) {
            found.running -= 1;
        }
        self.returned.notify_all();
        outcome
    }

    /// Tells every provider what the session wants.
    pub fn tell_all(&self, session: Option<Session>) -> Result<(), Stopped> {
        let mut handles: Vec<_> = self.registrations.lock().keys().copied().collect();
        handles.sort_unstable();
        handles.into_iter().try_for_each(|handle| self.tell(handle, session))
    }

    fn register(&self, registration: Registration, place: *mut u64) -> Result<NtStatus, Stopped> {
        let machine = machine::current();
        if machine.fails_allocation() {
            return Ok(NtStatus::INSUFFICIENT_RESOURCES);
        }
        let handle = {
            let mut registrations = self.registrations.lock();
            let handle = MARK + registrations.len() as u64 + 1;
            registrations.insert(handle, registration);
            handle
        };
        // The callback may run before the driver has its handle.
        let early = machine.random() & 1 == 0;
        if early {
            // SAFETY: the driver passes a variable for the handle.
            unsafe { place.write(handle) };
        }
        let session = self.session();
        if session.is_some() {
            self.tell(handle, session)?;
        }
        if !early {
            // SAFETY: the driver passes a variable for the handle.
            unsafe { place.write(handle) };
        }
        Ok(NtStatus::SUCCESS)
    }

    /// Ends a registration, once its callback has returned.
    fn unregister(&self, handle: u64) -> Result<NtStatus, Stopped> {
        let found = self.with("EtwUnregister", handle, |found| found.open = false)?;
        if found.is_none() {
            let message = "EtwUnregister got the handle 0";
            return Err(rules::record(&rules::ETW_HANDLE, message, Vec::new()));
        }
        let mut registrations = self.registrations.lock();
        while registrations.get(&handle).is_some_and(|found| found.running != 0) {
            machine::current().give_turn_up();
            self.returned.wait_for(&mut registrations, SLICE);
            if machine::current().is_stopped() {
                return Err(Stopped);
            }
        }
        Ok(NtStatus::SUCCESS)
    }
}

/// Calls an `ETWENABLECALLBACK`.
fn call_enable((callback, context): (usize, usize), session: Option<Session>) -> Result<(), Stopped> {
    let source = Guid::default();
    let wanted = session.unwrap_or(Session { level: 0, any: 0, all: 0 });
    let code = if session.is_some() { ENABLE } else { DISABLE };
    let keywords = |keywords: u64| usize::try_from(keywords).unwrap_or(usize::MAX);
    let arguments = [
        std::ptr::from_ref(&source) as usize,
        code,
        wanted.level.into(),
        keywords(wanted.any),
        keywords(wanted.all),
        0,
        context,
    ];
    call::driver("the ETW enable callback", callback, &arguments).map(drop)
}

// What holds a lock has let go of it before a thread may escape.

pub extern "win64" fn register(id: *const Guid, callback: usize, context: usize, place: *mut u64) -> i32 {
    if id.is_null() || place.is_null() {
        return NtStatus::INVALID_PARAMETER.0;
    }
    // SAFETY: the driver passes a GUID.
    let id = unsafe { id.read_unaligned() };
    let registration = Registration { id, name: None, callback, context, open: true, running: 0 };
    or_escape(machine::current().etw.register(registration, place)).0
}

pub extern "win64" fn unregister(handle: u64) -> i32 {
    or_escape(machine::current().etw.unregister(handle)).0
}

pub extern "win64" fn set_information(handle: u64, class: u32, information: *const u8, length: u32) -> i32 {
    let bytes = if information.is_null() {
        &[]
    } else {
        // SAFETY: the driver passes `length` bytes.
        unsafe { std::slice::from_raw_parts(information, length as usize) }
    };
    let name = match class {
        SET_TRAITS => metadata::provider_name(bytes),
        USE_DESCRIPTOR_TYPE if bytes.len() == 1 => None,
        USE_DESCRIPTOR_TYPE => return NtStatus::INVALID_PARAMETER.0,
        _ => return NtStatus::INVALID_DEVICE_REQUEST.0,
    };
    if class == SET_TRAITS && name.is_none() {
        return NtStatus::INVALID_PARAMETER.0;
    }
    let outcome = machine::current().etw.with("EtwSetInformation", handle, |found| {
        if name.is_some() {
            found.name = name;
        }
    });
    or_escape(outcome).map_or(NtStatus::INVALID_HANDLE.0, |()| NtStatus::SUCCESS.0)
}

pub extern "win64" fn provider_enabled(handle: u64, level: u8, keyword: u64) -> u8 {
    enabled("EtwProviderEnabled", handle, level, keyword)
}

pub extern "win64" fn event_enabled(handle: u64, descriptor: *const Descriptor) -> u8 {
    // SAFETY: the driver passes an event's descriptor.
    let descriptor = unsafe { descriptor.read_unaligned() };
    enabled("EtwEventEnabled", handle, descriptor.level, descriptor.keyword)
}

fn enabled(routine: &str, handle: u64, level: u8, keyword: u64) -> u8 {
    let machine = machine::current();
    let outcome = machine.etw.with(routine, handle, |_| ());
    let registered = or_escape(outcome).is_some();
    (registered && machine.etw.session().is_some_and(|session| session.sees(level, keyword))).into()
}
