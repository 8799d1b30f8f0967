//! Event Tracing for Windows (ETW): the kernel's side of a provider, and one session that keeps what providers write.
//!
//! One idea: an event is kept as the bytes that the driver passed, and only read when somebody asks ([`Trace::events`]); `TraceLogging`
//! events say in themselves what they are called and what their fields are.
//!
//! Source: *`EtwRegister`*, *`EtwUnregister`*, *`EtwWriteTransfer`*, *`EtwSetInformation`*, *`EtwProviderEnabled`*, and for the session's
//! levels and keywords *`EnableTraceEx2`*.

mod event;
mod metadata;
mod registration;
mod writing;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

pub use event::{Event, Field, Guid, Value};

use crate::call::{self, Stopped};
use crate::exports::{Export, routines};
use crate::machine::{Inner, Machine};
use crate::rules;
use registration::Registration;
use writing::Written;

/// Events that are kept; when there are more the oldest go.
const MOST_EVENTS: usize = 1 << 16;

/// What a session wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The highest level: 1 critical, 2 error, 3 warning, 4 information, 5 verbose. Events of level 0 are always seen.
    pub level: u8,
    /// An event is seen if it has one of these keywords, or none.
    pub any: u64,
    /// An event with keywords must have all of these.
    pub all: u64,
}

impl Default for Session {
    /// Everything.
    fn default() -> Self {
        Self { level: u8::MAX, any: u64::MAX, all: 0 }
    }
}

impl Session {
    fn sees(self, level: u8, keyword: u64) -> bool {
        let wanted = keyword == 0 || (keyword & self.any != 0 && keyword & self.all == self.all);
        wanted && level <= self.level
    }
}

/// A machine's tracing.
pub(crate) struct State {
    session: Mutex<Option<Session>>,
    /// Registrations by handle, those that are over included: their handles are never given again.
    registrations: Mutex<HashMap<u64, Registration>>,
    /// Signalled when an enable callback has returned.
    returned: Condvar,
    events: Mutex<VecDeque<Written>>,
    dropped: AtomicU64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            session: Mutex::new(Some(Session::default())),
            registrations: Mutex::default(),
            returned: Condvar::new(),
            events: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }
}

impl State {
    /// Reports providers that a driver that has unloaded left registered.
    pub(crate) fn check_unload(&self) -> Result<(), Stopped> {
        let live: Vec<_> =
            self.registrations.lock().values().filter(|each| each.open).map(ToString::to_string).collect();
        if live.is_empty() {
            return Ok(());
        }
        let message = format!("the driver unloaded and left {} ETW providers registered", live.len());
        Err(rules::record(&rules::ETW_LIVE_AT_UNLOAD, message, live))
    }

    fn session(&self) -> Option<Session> {
        *self.session.lock()
    }

    fn keep(&self, written: Written) {
        let mut events = self.events.lock();
        if events.len() == MOST_EVENTS {
            events.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        events.push_back(written);
    }

    /// The events that are kept, the oldest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().iter().map(Written::read).collect()
    }
}

/// A machine's trace session, as the harness sees it. At the start it sees everything.
#[derive(Clone)]
pub struct Trace {
    machine: Arc<Inner>,
}

impl Machine {
    /// The machine's trace session.
    #[must_use]
    pub fn trace(&self) -> Trace {
        Trace { machine: Arc::clone(&self.inner) }
    }
}

impl Trace {
    /// What has been written and seen, the oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.machine.etw.events()
    }

    /// As [`events`](Self::events), and forgets them.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        let written = std::mem::take(&mut *self.machine.etw.events.lock());
        written.iter().map(Written::read).collect()
    }

    /// How many events were forgotten because there were too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.machine.etw.dropped.load(Ordering::Relaxed)
    }

    /// The names of the providers that are registered; of one that has no name its GUID.
    #[must_use]
    pub fn providers(&self) -> Vec<String> {
        let registrations = self.machine.etw.registrations.lock();
        let mut names: Vec<_> = registrations.values().filter(|each| each.open).map(Registration::name).collect();
        names.sort();
        names
    }

    /// Starts a session, changes it, or stops it. The providers' enable callbacks are called before this returns.
    pub fn set_session(&self, session: Option<Session>) {
        *self.machine.etw.session.lock() = session;
        // A machine that has stopped calls nobody.
        let _ = call::guard(&self.machine, || self.machine.etw.tell_all(session)).and_then(|told| told);
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("providers", &self.providers()).finish_non_exhaustive()
    }
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        PASSIVE: EtwRegister => registration::register, EtwUnregister => registration::unregister,
            EtwSetInformation => registration::set_information;
        HIGH: EtwProviderEnabled => registration::provider_enabled, EtwEventEnabled => registration::event_enabled,
            EtwWrite => writing::write, EtwWriteTransfer => writing::write_transfer, EtwWriteEx => writing::write_ex,
            EtwWriteString => writing::write_string, EtwActivityIdControl => writing::activity_id_control;
    ]
}

#[cfg(test)]
mod tests;
