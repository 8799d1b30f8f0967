//! Listening sockets.

use crate::address::Family;
use crate::operation::{Arguments, Operation, Outcome};
use crate::socket::{self, Handle, Listening, Owner, Socket};
use crate::{Category, Client, Error, Event, MayCall, OutOfPool, Passive, Stream, sys, try_box};
use core::net::SocketAddr;
use core::ptr::NonNull;
use core::time::Duration;
use sys::NtStatus;

/// A listening socket. It listens from its bind on. See [`Socket`] for what else it can do.
///
/// Source: *Listening for and Accepting Incoming Connections*.
pub struct Listener(Handle);

impl Owner for Listener {
    fn handle(&self) -> &Handle {
        &self.0
    }

    fn of(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Socket for Listener {}

/// A connection that was accepted.
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// Where the peer has connected to, if WSK told it.
    pub local: Option<SocketAddr>,
    /// The peer, if WSK told it.
    pub peer: Option<SocketAddr>,
}

impl Listener {
    /// Asks for a listening socket. `<= DISPATCH_LEVEL`. Source: *`WskSocket`*.
    ///
    /// # Errors
    /// [`Error::Deregistered`], [`Error::NotCaptured`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn open(
        client: &Client,
        family: Family,
        call: impl Into<MayCall>,
    ) -> Result<Operation<Result<Self, Error>>, Error> {
        socket::open(client, family, Category::Listen, None, call.into())
    }

    /// A socket that listens at `address`. `PASSIVE_LEVEL`; waits for each of the two steps for `limit` at most.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`bind`](Socket::bind); [`Error::TimedOut`]. The socket is given back.
    pub fn bound(client: &Client, address: &SocketAddr, limit: Duration, passive: Passive) -> Result<Self, Error> {
        let listener = Self::open(client, Family::of(address), passive)?.finish(limit, passive)?;
        listener.bind(address, passive)?.finish(limit, passive)?;
        Ok(listener)
    }

    /// Accepts the next connection. One accept at a time is out: Windows hangs with two. `<= DISPATCH_LEVEL`. Source: *`WskAccept`*.
    ///
    /// # Errors
    /// [`Error::Busy`]: one is out, perhaps one that was dropped and that WSK has not given back. [`Error::Closed`],
    /// [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn accept(&self, call: impl Into<MayCall>) -> Result<Operation<Result<Accepted, Error>>, Error> {
        self.start_accept(None, call.into())
    }

    /// As [`accept`](Self::accept), of a connection that will tell `events` of its events once they are
    /// [enabled](Stream::enable_events).
    ///
    /// # Errors
    /// As for `accept`.
    pub fn accept_with_events(
        &self,
        events: impl Fn(Event) + Send + Sync + 'static,
        call: impl Into<MayCall>,
    ) -> Result<Operation<Result<Accepted, Error>>, Error> {
        self.start_accept(Some(try_box(events)?), call.into())
    }

    fn start_accept(
        &self,
        events: Option<Listening>,
        call: MayCall,
    ) -> Result<Operation<Result<Accepted, Error>>, Error> {
        let inside = self.0.enter(call)?;
        let listener = inside.socket();
        let made = Handle::try_new(inside.hold()?, listener.family(), Category::Connection, events);
        let made = made.map_err(|OutOfPool| Error::OutOfMemory)?;
        let callbacks = made.callbacks();
        listener.begin_accept()?;
        let arguments = Arguments { made: Some(made), ended, ..Arguments::new() };
        let call = |wsk: crate::SocketRef, arguments: NonNull<Arguments>, irp| {
            let (local, remote) = (socket::address(arguments, 0), socket::address(arguments, 1));
            // SAFETY: inside the gate; a listening socket with no other accept out; room for two addresses in the arguments; the new
            // socket's state stays until it is closed.
            unsafe { wsk.accept(callbacks, local, remote, irp) }
        };
        // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
        unsafe { inside.start(arguments, call) }.map_err(|not_made| {
            listener.end_accept();
            not_made.error
        })
    }
}

/// The accept has come back.
fn ended(arguments: &mut Arguments, status: NtStatus, information: usize) {
    if let Some(made) = &mut arguments.made {
        made.made(status, information);
    }
    if let Some(listener) = &arguments.on {
        listener.end_accept();
    }
}

impl Outcome for Result<Listener, Error> {
    fn of(arguments: Arguments, status: NtStatus, _: usize) -> Self {
        socket::opened(arguments, status).map(Listener)
    }
}

impl Outcome for Result<Accepted, Error> {
    fn of(arguments: Arguments, status: NtStatus, _: usize) -> Self {
        let [local, peer] = arguments.addresses.map(|address| address.get());
        let stream = Stream::of(socket::opened(arguments, status)?);
        Ok(Accepted { stream, local, peer })
    }
}
