//! Events: one request a socket waits for what happens to it, and is told what and with which code.
//!
//! | event | comes from |
//! |---|---|
//! | accept | the request is a WSK accept itself, whose connection is kept for the next accept |
//! | connect | the end of a connect |
//! | read, close | WSK's event callbacks, which are enabled when somebody first waits for them |
//!
//! A callback refuses the data that it tells of: WSK keeps it for the next receive, and nothing is copied. What WSK tells of an end of
//! the stream that came before its callback was enabled is not documented; a receive finds it in any case. From the moment that a
//! socket is being closed nothing is told any more (contract: WSA-9, SAN-5).

use crate::accept;
use crate::irp::Irp;
use crate::queue::{Owner, Parked};
use crate::requests::refuse;
use crate::socket::{Phase, Socket, SocketState};
use crate::table::Entry;
use core::ffi::c_void;
use wdk_sys::NTSTATUS;
use wsk::{Callbacks, Event, Ref, Sink, sys};
use wskclient_abi::{Events, EventsReply, Kind, Role, STATUS_PENDING, STATUS_SUCCESS, WsaError, is_error};
use zerocopy::FromZeros;

/// The callbacks of every socket. Their context is the [`Socket`], which stays until WSK has closed it.
pub static CALLBACKS: Callbacks = Callbacks::new::<Told>();

/// The answer for who waits for a connection.
pub const ACCEPTABLE: EventsReply = EventsReply { events: Events::ACCEPT, reserved: 0, codes: [0; 6] };

/// What has happened to a socket, and whether somebody waits for it.
pub struct Happened {
    events: u32,
    codes: [u32; 6],
    waiting: bool,
}

impl Happened {
    /// Nothing.
    pub const fn nothing() -> Self {
        Self { events: 0, codes: [0; 6], waiting: false }
    }

    /// Somebody begins to wait: one at a time.
    pub fn begin(&mut self) -> Result<(), WsaError> {
        if core::mem::replace(&mut self.waiting, true) { Err(WsaError::Already) } else { Ok(()) }
    }

    /// Nobody waits any more.
    pub const fn end(&mut self) {
        self.waiting = false;
    }

    /// A receive takes what there is: of what is left is told anew.
    pub const fn received(&mut self) {
        self.events &= !Events::READ;
    }

    fn record(&mut self, event: u32, code: u32) {
        self.events |= event;
        if let Some(place) = self.codes.get_mut(event.trailing_zeros() as usize) {
            *place = code;
        }
    }

    /// The answer for who waits for `mask`. The end of a connect is told once.
    fn tell(&mut self, mask: u32) -> EventsReply {
        let events = self.events & mask;
        let mut reply = EventsReply { events, ..EventsReply::new_zeroed() };
        for (bit, (place, code)) in reply.codes.iter_mut().zip(self.codes).enumerate() {
            *place = if events >> bit & 1 == 0 { 0 } else { code };
        }
        self.events &= !(events & Events::CONNECT);
        reply
    }
}

/// Waits for events, of which the mask has some and no unknown ones.
pub fn wait(socket: Entry<'_>, irp: Irp, mask: u32) -> NTSTATUS {
    let (of_role, wsk_events) = match socket.role() {
        Role::Listen => (Events::ACCEPT, 0),
        Role::Connection => {
            (Events::READ | Events::CONNECT | Events::CLOSE, sys::EVENT_RECEIVE | sys::EVENT_DISCONNECT)
        }
        Role::Datagram => (Events::READ, sys::EVENT_RECEIVE_FROM),
    };
    if mask & !of_role != 0 {
        return refuse(irp, WsaError::NotSupported);
    }
    if socket.role() == Role::Listen {
        return accept::accept(socket, irp, Kind::Events);
    }
    if let Err(status) = begin_waiting(&socket, &irp, mask, wsk_events) {
        return irp.complete(status, 0);
    }
    irp.mark_pending();
    // SAFETY: the entry keeps the socket.
    let waiting = unsafe { Ref::again(&*socket) };
    let owner = Owner::Socket(socket.into_owned());
    waiting.await_event(Parked::new(irp, owner, Kind::Events));
    waiting.tell();
    STATUS_PENDING
}

/// Takes a request that waits, and has WSK tell what it waits for.
fn begin_waiting(socket: &Socket, irp: &Irp, mask: u32, wsk_events: u32) -> Result<(), NTSTATUS> {
    if !socket.client().driver().subsystem.is_served() {
        // Nothing will happen any more (contract: WSA-6).
        return Err(WsaError::NetworkDown.status());
    }
    let charge = socket.client().charge(irp, Kind::Events).map_err(WsaError::status)?;
    let role = socket.role();
    let wsk = socket.with_state(|state| state.begin_waiting(role, mask)).map_err(WsaError::status)?;
    // SAFETY: the caller is inside the gate; connected, or for datagrams and bound; created with our callbacks.
    wsk.map_or(Ok(()), |wsk| unsafe { wsk.enable_events(wsk_events) })
        .inspect_err(|_| socket.with_state(|state| state.happened.end()))?;
    charge.take();
    Ok(())
}

impl SocketState {
    /// Begins to wait. Answers the socket if WSK is to tell.
    fn begin_waiting(&mut self, role: Role, mask: u32) -> Result<Option<wsk::SocketRef>, WsaError> {
        let told_by_wsk = match self.phase {
            Phase::Bound if role == Role::Datagram => true,
            _ if role == Role::Datagram => return Err(WsaError::Invalid),
            Phase::Connected => mask & !Events::CONNECT != 0,
            _ if mask & Events::CONNECT == 0 => return Err(WsaError::NotConnected),
            _ => false,
        };
        self.happened.begin()?;
        Ok(self.wsk.filter(|_| told_by_wsk))
    }
}

impl Socket {
    /// Something has happened. At any IRQL up to `DISPATCH_LEVEL`, with no lock held.
    fn happened(&self, event: u32, code: u32) {
        self.with_state(|state| state.happened.record(event, code));
        self.tell();
    }

    /// A connect has ended.
    pub fn connect_ended(&self, status: NTSTATUS) {
        let error = WsaError::from_status(status).unwrap_or(WsaError::NetworkDown);
        self.happened(Events::CONNECT, if is_error(status) { error.code() } else { 0 });
    }

    /// Tells who waits, if there is something to tell and the socket is not being closed.
    fn tell(&self) {
        loop {
            let happened = self.with_state(|state| if state.closing { 0 } else { state.happened.events });
            let Some(mut parked) = self.events.pop_where(|irp| mask_of(irp) & happened != 0) else { return };
            let mask = mask_of(&parked.irp);
            let Some(reply) = self.with_state(|state| (!state.closing).then(|| state.happened.tell(mask))) else {
                return parked.complete(WsaError::OperationAborted.status(), 0);
            };
            if reply.events != 0 {
                let length = parked.irp.reply(&reply);
                return parked.complete(STATUS_SUCCESS, length);
            }
            // A receive has taken it meanwhile: the wait goes on.
            self.await_event(parked);
        }
    }

    /// Lets a request wait for an event.
    fn await_event(&self, parked: Parked) {
        self.events.park(parked);
        if self.with_state(|state| state.closing) {
            // The close may have cancelled what waited before this one did.
            self.cancel_waiting();
        }
    }
}

/// What a request waits for: its input was valid when it was parked, and nobody has written it since.
fn mask_of(irp: &Irp) -> u32 {
    irp.input().map_or(0, |Events { mask, .. }| mask)
}

/// Who WSK tells.
pub enum Told {}

impl Sink for Told {
    unsafe fn event(context: *mut c_void, event: Event) {
        // SAFETY: sockets are created with themselves as context, and stay until WSK has closed them.
        let socket = unsafe { &*context.cast::<Socket>() };
        match event {
            Event::Readable => socket.happened(Events::READ, 0),
            Event::Disconnected { abortive: false } => socket.happened(Events::CLOSE, 0),
            Event::Disconnected { abortive: true } => {
                socket.happened(Events::CLOSE, WsaError::ConnectionReset.code());
            }
            Event::Lost => {
                let event = if socket.role() == Role::Datagram { Events::READ } else { Events::CLOSE };
                socket.happened(event, WsaError::NetworkDown.code());
            }
        }
    }
}
