//! A socket from `WskSocket` or `WskAccept` to the completion of `WskCloseSocket`.
//!
//! One idea: the driver holds a pointer, the provider a record; every call looks the record up, so a call on a socket that is
//! closed, is being closed, or never was is found instead of obeyed. The memory that the driver's pointer leads to is kept until
//! the machine ends, so that no later socket has the same address.
//!
//! Source: *Winsock Kernel Socket Categories*, *`WskSocket`*, *`WskCloseSocket`*.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use wsk::sys;

use super::Provider;
use super::dispatch;
use super::events::{self, Callbacks, Events};
use super::lanes::{LANES, Lane};
use super::option::values::Values;
use super::registration::Client;
use super::request::Request;
use super::rules;
use super::status::{self, Status};
use super::transport::Host;
use crate::call::Stopped;
use crate::rules::record;

/// Winsock Kernel socket categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Basic,
    Listen,
    Connection,
    Datagram,
    Stream,
}

impl Category {
    /// From the flags of `WskSocket`, of which one may be set.
    pub fn from_flags(flags: u32) -> Option<Self> {
        match flags {
            sys::FLAG_BASIC_SOCKET => Some(Self::Basic),
            sys::FLAG_LISTEN_SOCKET => Some(Self::Listen),
            sys::FLAG_CONNECTION_SOCKET => Some(Self::Connection),
            sys::FLAG_DATAGRAM_SOCKET => Some(Self::Datagram),
            sys::FLAG_STREAM_SOCKET => Some(Self::Stream),
            _ => None,
        }
    }
}

/// How far a socket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Unbound,
    Bound,
    Listening,
    Connected,
    /// Every operation ends with this status.
    Failed(Status),
}

impl Phase {
    /// What an operation gets that this phase does not allow.
    pub fn refusal(self) -> Status {
        if let Self::Failed(status) = self { status } else { status::INVALID_DEVICE_STATE }
    }
}

/// The part of a socket that its lock protects.
pub struct Inner {
    pub host: Option<Host>,
    pub phase: Phase,
    /// What the socket acts as: its category, until a stream socket listens or connects.
    pub role: Category,
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    /// Where `SIO_WSK_SET_SENDTO_ADDRESS` has datagrams go.
    pub destination: Option<SocketAddr>,
    pub options: Values,
    /// The cached security descriptor that the socket was given.
    pub descriptor: Option<usize>,
    /// A graceful disconnect was asked for: nothing is sent after it.
    pub shut: bool,
    pub lanes: [Lane; LANES],
    /// The IRP of `WskCloseSocket`, while others are on their way back.
    pub close: Option<Request>,
    pub events: Events,
}

impl Inner {
    /// Ends the host's socket: as `WskCloseSocket` does it, a connection that is not shut down in both directions is reset.
    pub fn tear_down(&mut self, provider: &Provider, phase: Phase) {
        if self.phase == Phase::Connected {
            self.abort_connection(provider);
        }
        if let Some(host) = self.host.take() {
            // It may be connecting: the peer's side perhaps has the connection already.
            host.reset();
        }
        self.phase = phase;
        self.events.inspecting.clear();
        self.events.inspected.clear();
    }

    /// Ends the connection, with a reset unless both sides have sent their FIN.
    pub fn abort_connection(&mut self, provider: &Provider) {
        if let Some(host) = self.host.take()
            && !(self.shut && host.both_shut())
        {
            provider.totals.resets.fetch_add(1, Ordering::Relaxed);
            host.reset();
        }
        self.phase = Phase::Failed(status::CONNECTION_ABORTED);
    }
}

/// Calls to a socket's functions.
#[derive(Default)]
struct Uses {
    /// Functions that have not returned.
    inside: Vec<&'static str>,
    /// `WskCloseSocket` was called.
    closing: bool,
}

/// A socket of a driver.
pub struct Socket {
    /// The address of the driver's `WSK_SOCKET`.
    object: usize,
    /// Its number, never used again: its token with the host's epoll.
    pub number: usize,
    pub category: Category,
    pub family: sys::AddressFamily,
    /// TCP, not UDP.
    pub tcp: bool,
    pub client: Arc<Client>,
    /// IRPs of the socket that WSK has, that of its close included.
    pub irps: AtomicUsize,
    uses: Mutex<Uses>,
    pub inner: Mutex<Inner>,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.tcp { "TCP" } else { "UDP" };
        write!(f, "{:?} socket {:#x} ({protocol})", self.category, self.object)
    }
}

/// A call to one of a socket's functions, until it returns.
pub struct Call {
    pub socket: Arc<Socket>,
    function: &'static str,
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut uses = self.socket.uses.lock();
        if let Some(index) = uses.inside.iter().position(|&inside| std::ptr::eq(inside, self.function)) {
            uses.inside.swap_remove(index);
        }
    }
}

impl Socket {
    /// The driver's pointer to it.
    pub fn object(&self) -> *mut sys::Socket {
        self.object as *mut sys::Socket
    }

    /// `WskCloseSocket` was called.
    pub fn is_closing(&self) -> bool {
        self.uses.lock().closing
    }

    /// One more IRP of the socket is in WSK.
    pub fn irp_taken(&self) {
        self.irps.fetch_add(1, Ordering::SeqCst);
    }

    /// Enters one of the socket's functions.
    fn enter(self: &Arc<Self>, function: &'static str, closes: bool) -> Result<Call, Stopped> {
        let mut uses = self.uses.lock();
        let broken = if uses.closing {
            let rule = if closes { &rules::CLOSE_TWICE } else { &rules::USE_AFTER_CLOSE };
            Some((rule, format!("{function} was called on {self}, which is being closed")))
        } else if closes && !uses.inside.is_empty() {
            let inside = uses.inside.join(", ");
            Some((&rules::CLOSE_OVERLAPS_CALL, format!("{function} was called on {self} inside {inside}")))
        } else {
            None
        };
        if let Some((rule, message)) = broken {
            drop(uses);
            return Err(record(rule, message, Vec::new()));
        }
        uses.closing |= closes;
        uses.inside.push(function);
        drop(uses);
        Ok(Call { socket: Arc::clone(self), function })
    }
}

enum Entry {
    Open(Arc<Socket>),
    /// What it was.
    Closed(String),
}

/// Every socket that the provider has given out.
#[derive(Default)]
pub struct Table {
    by_object: HashMap<usize, Entry>,
    by_number: HashMap<usize, Arc<Socket>>,
    /// The memory behind the drivers' pointers.
    #[expect(clippy::vec_box, reason = "drivers hold the objects' addresses")]
    objects: Vec<Box<sys::Socket>>,
    last: usize,
}

// SAFETY: a `WSK_SOCKET` here is written once, before its address is given out; its pointer leads to a static table.
unsafe impl Send for Table {}

impl Table {
    /// Sockets whose close has not completed.
    pub fn open(&self) -> usize {
        self.by_number.len()
    }

    pub fn all(&self) -> Vec<Arc<Socket>> {
        self.by_number.values().cloned().collect()
    }

    pub fn by_number(&self, number: usize) -> Option<Arc<Socket>> {
        self.by_number.get(&number).cloned()
    }

    /// One line for each socket that is not closed.
    pub fn live(&self) -> Vec<String> {
        self.by_number.values().map(|socket| format!("{socket}, not closed")).collect()
    }

    /// Forgets a socket whose close is about to complete.
    pub fn closed(&mut self, socket: &Socket) {
        self.by_object.insert(socket.object, Entry::Closed(socket.to_string()));
        if self.by_number.remove(&socket.number).is_some() {
            socket.client.sockets.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// What a new socket is.
pub struct New {
    pub category: Category,
    pub family: sys::AddressFamily,
    pub tcp: bool,
    pub client: Arc<Client>,
    pub phase: Phase,
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    pub callbacks: Callbacks,
    pub options: Values,
    pub descriptor: Option<usize>,
}

impl Provider {
    /// Makes a socket of the driver around one of the host.
    pub fn add_socket(&self, host: Host, new: New) -> std::io::Result<Arc<Socket>> {
        let mut table = self.sockets.lock();
        table.last += 1;
        let number = table.last;
        match host.fd() {
            Some(fd) => self.network().watch(fd, number)?,
            None => host.belongs_to(number),
        }
        let object = Box::new(sys::Socket { dispatch: dispatch::of(new.category) });
        let address = std::ptr::from_ref(&*object) as usize;
        table.objects.push(object);
        let inner = Inner {
            host: Some(host),
            phase: new.phase,
            role: new.category,
            local: new.local,
            remote: new.remote,
            destination: None,
            options: new.options,
            descriptor: new.descriptor,
            shut: false,
            lanes: Default::default(),
            close: None,
            events: Events::new(
                new.callbacks,
                events::fixed(new.category, new.client.static_events.load(Ordering::SeqCst)),
            ),
        };
        new.client.sockets.fetch_add(1, Ordering::SeqCst);
        let socket = Arc::new(Socket {
            object: address,
            number,
            category: new.category,
            family: new.family,
            tcp: new.tcp,
            client: new.client,
            irps: AtomicUsize::new(0),
            uses: Mutex::default(),
            inner: Mutex::new(inner),
        });
        table.by_object.insert(address, Entry::Open(Arc::clone(&socket)));
        table.by_number.insert(number, Arc::clone(&socket));
        self.totals.sockets_opened.fetch_add(1, Ordering::Relaxed);
        Ok(socket)
    }

    /// Enters a function of a socket. `categories` are those whose dispatch tables have it.
    pub fn enter(
        &self,
        function: &'static str,
        socket: *mut sys::Socket,
        categories: &[Category],
        closes: bool,
    ) -> Result<Call, Stopped> {
        let entry = match self.sockets.lock().by_object.get(&(socket as usize)) {
            Some(Entry::Open(socket)) => Ok(Arc::clone(socket)),
            Some(Entry::Closed(was)) => Err(Some(was.clone())),
            None => Err(None),
        };
        match entry {
            Ok(found) if categories.contains(&found.category) => found.enter(function, closes),
            Ok(found) => Err(record(&rules::UNKNOWN_SOCKET, format!("{function} was called on {found}"), Vec::new())),
            Err(Some(was)) => {
                let rule = if closes { &rules::CLOSE_TWICE } else { &rules::USE_AFTER_CLOSE };
                Err(record(rule, format!("{function} was called on the closed {was}"), Vec::new()))
            }
            Err(None) => {
                let message = format!("{function} was called on {socket:p}, which WSK did not give out");
                Err(record(&rules::UNKNOWN_SOCKET, message, Vec::new()))
            }
        }
    }
}
