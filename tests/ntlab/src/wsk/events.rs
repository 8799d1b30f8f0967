//! Event callbacks: which are enabled on a socket, which run, and who waits until they do not.
//!
//! One idea: a callback is begun and ended under the socket's lock and counts as one of the socket's IRPs in between, so a close
//! or a deregistration waits for it as for them. Callbacks are called by the network thread, one after the other.
//!
//! Source: *Enabling and Disabling Event Callback Functions*, *`SO_WSK_EVENT_CALLBACK`*, *`WSK_SET_STATIC_EVENT_CALLBACKS`*.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Provider;
use super::request::Request;
use super::socket::{Category, Inner, Phase, Socket};
use super::status::{self, Status};
use super::transport::Host;
use super::{kernel, rules};
use crate::call::{self, Stopped};
use crate::machine;
use crate::rules::record;

/// `WSK_EVENT_SEND_BACKLOG`.
pub const SEND_BACKLOG: u32 = 0x10;
/// `WSK_EVENT_RECEIVE`.
pub const RECEIVE: u32 = 0x40;
/// `WSK_EVENT_DISCONNECT`.
pub const DISCONNECT: u32 = 0x80;
/// `WSK_EVENT_RECEIVE_FROM`.
pub const RECEIVE_FROM: u32 = 0x100;
/// `WSK_EVENT_ACCEPT`.
pub const ACCEPT: u32 = 0x200;
/// `WSK_EVENT_DISABLE`.
pub const DISABLE: u32 = 0x8000_0000;
/// The events of a connection-oriented socket.
pub const OF_CONNECTION: u32 = SEND_BACKLOG | RECEIVE | DISCONNECT;
/// `WskInspectEvent` and `WskAbortEvent`, which conditional accept mode enables; a bit of the provider's own.
pub const INSPECT: u32 = 1;

/// Until a send has to wait, this much keeps the host's TCP busy.
const IDEAL_BACKLOG: usize = 64 * 1024;
const MOST_BACKLOG: usize = 1024 * 1024;

/// `WSK_EVENT_CALLBACK_CONTROL`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Control {
    pub npi: *const c_void,
    pub mask: u32,
}

/// What the driver gave for a socket's callbacks: its context and its dispatch table.
#[derive(Clone, Copy, Default)]
pub struct Callbacks {
    pub context: usize,
    pub table: usize,
}

impl Callbacks {
    /// The table for what a socket of `category` acts as: a stream socket has one as a listener and one as a connection.
    fn of_role(&self, category: Category, role: Category) -> usize {
        if category != Category::Stream || self.table == 0 {
            return self.table;
        }
        let slot = match role {
            Category::Listen => 0,
            Category::Connection => 1,
            _ => return 0,
        };
        let entry = (self.table as *const usize).wrapping_add(slot);
        // SAFETY: the driver gave a WSK_CLIENT_STREAM_DISPATCH, two pointers, which it keeps until the socket is closed.
        unsafe { entry.read() }
    }
}

/// A connection that has arrived and is not yet accepted.
pub struct Arrival {
    pub id: u32,
    pub host: Host,
    pub from: SocketAddr,
}

/// The part of a socket that is about its callbacks.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about one socket")]
pub struct Events {
    pub callbacks: Callbacks,
    /// Enabled by `WSK_SET_STATIC_EVENT_CALLBACKS`.
    pub fixed: u32,
    /// Enabled by `SO_WSK_EVENT_CALLBACK`; on a listening socket also what accepted sockets inherit.
    pub enabled: u32,
    /// Callbacks that have not returned.
    pub running: u32,
    /// IRPs that wait until a callback has returned.
    disabling: Vec<(u32, Request)>,
    /// The driver does not want `WskReceiveEvent` until it has called `WskReceive`.
    pub refused: bool,
    /// `WskReceive` was called while `WskReceiveEvent` ran.
    pub resumed: bool,
    /// Lists that the driver keeps.
    pub retained: usize,
    /// The peer has reset the connection.
    pub reset: bool,
    /// `WskDisconnectEvent` was called.
    pub disconnected: bool,
    /// The provider is gone, and the driver has been told or not.
    pub lost: Option<bool>,
    pub ideal_backlog: usize,
    pub told_backlog: usize,
    /// Datagrams that the driver has not taken yet.
    pub datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
    /// Conditional accept mode.
    pub conditional: bool,
    pub last_arrival: u32,
    /// Connections that the driver inspects.
    pub inspecting: BTreeMap<u32, Arrival>,
    /// Connections that the driver wants.
    pub inspected: VecDeque<Arrival>,
    /// As what this socket was inspected.
    pub inspect_id: Option<(usize, u32)>,
}

impl Events {
    pub fn new(callbacks: Callbacks, fixed: u32) -> Self {
        Self {
            callbacks,
            fixed,
            enabled: 0,
            running: 0,
            disabling: Vec::new(),
            refused: false,
            resumed: false,
            retained: 0,
            reset: false,
            disconnected: false,
            lost: None,
            ideal_backlog: IDEAL_BACKLOG,
            told_backlog: IDEAL_BACKLOG,
            datagrams: VecDeque::new(),
            conditional: false,
            last_arrival: 0,
            inspecting: BTreeMap::new(),
            inspected: VecDeque::new(),
            inspect_id: None,
        }
    }

    /// A send had to wait: more of it at once would help.
    pub fn send_waits(&mut self) {
        self.ideal_backlog = (self.ideal_backlog * 2).min(MOST_BACKLOG);
    }

    pub fn has(&self, event: u32) -> bool {
        (self.enabled | self.fixed) & event != 0
    }
}

/// A callback that is about to be called.
#[must_use = "a callback that was begun has to be called and ended"]
pub struct Callback {
    pub event: u32,
    name: &'static str,
    function: usize,
    context: usize,
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, machine::current().describe_code(self.function))
    }
}

/// The events that a socket of `category` can have, beside those that it lets others inherit.
const fn of_category(category: Category) -> u32 {
    match category {
        Category::Listen => ACCEPT,
        Category::Connection => OF_CONNECTION,
        Category::Datagram => RECEIVE_FROM,
        Category::Stream => ACCEPT | OF_CONNECTION,
        Category::Basic => 0,
    }
}

/// What `WSK_SET_STATIC_EVENT_CALLBACKS` with `mask` enables on a new socket.
pub const fn fixed(category: Category, mask: u32) -> u32 {
    mask & of_category(category)
}

impl Socket {
    /// Begins a callback: the one in `slot` of the driver's table, if the driver has it and wants it.
    pub fn begin(&self, inner: &mut Inner, event: u32, slot: usize, name: &'static str) -> Option<Callback> {
        let events = &mut inner.events;
        let table = events.callbacks.of_role(self.category, inner.role);
        let wanted = events.has(event) || (event == INSPECT && events.conditional);
        if !wanted || table == 0 || events.running & event != 0 || self.is_closing() {
            return None;
        }
        let entry = (table as *const usize).wrapping_add(slot);
        // SAFETY: the driver gave its category's dispatch table, which it has to keep until the socket is closed.
        let function = unsafe { entry.read() };
        if function == 0 {
            return None;
        }
        events.running |= event;
        self.irp_taken();
        Some(Callback { event, name, function, context: events.callbacks.context })
    }

    /// Calls a callback with its context and `arguments`; those that take flags get them second. The caller holds no lock.
    pub fn call(
        &self,
        provider: &Provider,
        callback: &Callback,
        flags: Option<u32>,
        arguments: &[usize],
    ) -> Result<Status, Stopped> {
        let result = provider.at_some_level(|dispatch| {
            let mut all = vec![callback.context];
            if let Some(flags) = flags {
                // Without the flag the IRQL may still be DISPATCH_LEVEL.
                let says = dispatch && !kernel::random().is_multiple_of(4);
                all.push((flags | if says { wsk::sys::FLAG_AT_DISPATCH_LEVEL } else { 0 }) as usize);
            }
            all.extend_from_slice(arguments);
            kernel::in_callback(self.object() as usize, || call::driver(callback.name, callback.function, &all))
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "an NTSTATUS is the low half of the register")]
        Ok((result as u32).cast_signed())
    }

    /// Ends a callback: what waited for its return goes on.
    pub fn end(provider: &Arc<Provider>, inner: &mut Inner, callback: &Callback) {
        inner.events.running &= !callback.event;
        let running = inner.events.running;
        let disabling = std::mem::take(&mut inner.events.disabling);
        for (event, request) in disabling {
            if event & running == 0 {
                provider.finish_later(request.finish(status::SUCCESS, 0));
            } else {
                inner.events.disabling.push((event, request));
            }
        }
    }

    /// A callback that answers what its page does not list.
    pub fn wrong_answer(&self, callback: &Callback, answer: Status) -> Stopped {
        let message = format!("{callback} of {self} returned {answer:#x}");
        record(&rules::CALLBACK_ANSWER, message, Vec::new())
    }

    /// `SO_WSK_EVENT_CALLBACK`. With an IRP, a disable that has to wait keeps it and answers `STATUS_PENDING`.
    pub fn control_events(
        &self,
        provider: &Arc<Provider>,
        control: Control,
        request: Option<Request>,
    ) -> Result<Status, Stopped> {
        let mut inner = self.inner.lock();
        let status = self.change_events(&mut inner, control, request.is_some());
        match request {
            Some(request) if status == status::EVENT_PENDING => {
                request.mark_pending();
                inner.events.disabling.push((control.mask & !DISABLE, request));
                Ok(status::PENDING)
            }
            Some(request) => {
                drop(inner);
                provider.conclude(request, status, 0)
            }
            None => {
                drop(inner);
                provider.network().look_again(self.number);
                Ok(status)
            }
        }
    }

    fn change_events(&self, inner: &mut Inner, control: Control, with_irp: bool) -> Status {
        let mask = control.mask & !DISABLE;
        let inherited = if inner.role == Category::Listen { OF_CONNECTION } else { 0 };
        let ready = match inner.role {
            Category::Listen => inner.phase == Phase::Listening,
            Category::Datagram => inner.phase == Phase::Bound,
            Category::Connection => inner.phase == Phase::Connected,
            Category::Stream => false, // it neither listens nor is connected
            Category::Basic => return status::NOT_SUPPORTED,
        };
        let own = of_category(inner.role);
        if control.npi.is_null() || mask == 0 || mask & !(own | inherited) != 0 || mask & inner.events.fixed != 0 {
            return status::INVALID_PARAMETER;
        }
        if !ready {
            return inner.phase.refusal();
        }
        if control.mask & DISABLE == 0 {
            // An IRP is for disabling only, and what accepted sockets inherit needs no callback of the listening one.
            if with_irp || (mask & own != 0 && inner.events.callbacks.of_role(self.category, inner.role) == 0) {
                return status::INVALID_PARAMETER;
            }
            inner.events.enabled |= mask;
            return status::SUCCESS;
        }
        if !mask.is_power_of_two() || mask & inherited != 0 {
            return status::INVALID_PARAMETER;
        }
        inner.events.enabled &= !mask;
        if inner.events.running & mask == 0 { status::SUCCESS } else { status::EVENT_PENDING }
    }
}
