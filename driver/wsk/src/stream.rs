//! Connections.

use crate::address::Family;
use crate::operation::{Arguments, NotMade, Operation, Outcome};
use crate::socket::{self, Handle, Owner, Socket};
use crate::{Buffer, Category, Client, Error, Event, MayCall, Passive, SocketRef, sys, try_box};
use core::net::SocketAddr;
use core::ptr::NonNull;
use core::time::Duration;
use sys::NtStatus;

/// A connection-oriented socket: connected by its owner, or [accepted](crate::Listener::accept). See [`Socket`] for what else it can do.
///
/// Source: *Winsock Kernel Socket Categories*, *Sending Data over a Connection-Oriented Socket*.
pub struct Stream(Handle);

impl Owner for Stream {
    fn handle(&self) -> &Handle {
        &self.0
    }

    fn of(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Socket for Stream {}

/// A send or a receive is over.
#[derive(Debug)]
pub struct Transfer {
    /// How many bytes went through. A receive of none is the peer's end of the stream.
    pub result: Result<usize, Error>,
    /// The buffer; after a receive, what was received is in it.
    pub buffer: Buffer,
}

/// A send or a receive was not begun.
#[derive(Debug)]
pub struct NotStarted {
    /// Why.
    pub error: Error,
    /// The buffer, as it was.
    pub buffer: Buffer,
}

impl From<NotStarted> for Error {
    fn from(not_started: NotStarted) -> Self {
        not_started.error
    }
}

impl From<NotMade> for NotStarted {
    fn from(NotMade { error, buffer }: NotMade) -> Self {
        // SAFETY: only sends and receives fail with this error, and their arguments begin with a buffer.
        Self { error, buffer: unsafe { buffer.unwrap_unchecked() } }
    }
}

/// How a connection is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// What has been sent still arrives, and then the end of the stream; receiving goes on. The operation may last as long as the peer
    /// lives: an [`Abort`](Self::Abort) or a close ends it.
    Sending,
    /// The connection is reset.
    Abort,
}

impl Stream {
    /// Asks for a socket to connect. `<= DISPATCH_LEVEL`. Source: *`WskSocket`*.
    ///
    /// # Errors
    /// [`Error::Deregistered`], [`Error::NotCaptured`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn open(
        client: &Client,
        family: Family,
        call: impl Into<MayCall>,
    ) -> Result<Operation<Result<Self, Error>>, Error> {
        socket::open(client, family, Category::Connection, None, call.into())
    }

    /// As [`open`](Self::open), of a socket that will tell `events` of its events once they are [enabled](Self::enable_events).
    ///
    /// `events` is called at `DISPATCH_LEVEL` or below, may not wait, and has no way to call WSK. The socket's close waits for it.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_with_events(
        client: &Client,
        family: Family,
        events: impl Fn(Event) + Send + Sync + 'static,
        call: impl Into<MayCall>,
    ) -> Result<Operation<Result<Self, Error>>, Error> {
        socket::open(client, family, Category::Connection, Some(try_box(events)?), call.into())
    }

    /// A connection to `peer`, from any local address. `PASSIVE_LEVEL`; waits for each of the three steps for `limit` at most.
    ///
    /// # Errors
    /// As for [`open`](Self::open), [`bind`](Socket::bind) and [`connect`](Self::connect); [`Error::TimedOut`]. The socket is given back.
    pub fn connected(client: &Client, peer: &SocketAddr, limit: Duration, passive: Passive) -> Result<Self, Error> {
        let family = Family::of(peer);
        let stream = Self::open(client, family, passive)?.finish(limit, passive)?;
        stream.bind(&family.any(), passive)?.finish(limit, passive)?;
        stream.connect(peer, passive)?.finish(limit, passive)?;
        Ok(stream)
    }

    /// Connects the socket, which is bound. `<= DISPATCH_LEVEL`. Source: *`WskConnect`*.
    ///
    /// # Errors
    /// [`Error::Family`], [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn connect(&self, peer: &SocketAddr, call: impl Into<MayCall>) -> Result<Operation<Result<(), Error>>, Error> {
        let inside = self.0.enter(call.into())?;
        let arguments = socket::with_address(inside.socket(), peer)?;
        // SAFETY: inside the gate; an address of the socket's family, in the arguments.
        let call = |wsk: SocketRef, arguments, irp| unsafe { wsk.connect(socket::first_address(arguments), irp) };
        // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
        unsafe { inside.start(arguments, call) }.map_err(Error::from)
    }

    /// Sends what is in `buffer`, all of it. `<= DISPATCH_LEVEL`. Source: *`WskSend`*.
    ///
    /// # Errors
    /// [`Error::Length`]: nothing is in it. [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn send(&self, buffer: Buffer, call: impl Into<MayCall>) -> Result<Operation<Transfer>, NotStarted> {
        if buffer.bytes().is_empty() {
            return Err(NotStarted { error: Error::Length, buffer });
        }
        let arguments = Arguments { buf: buffer.full_part(), buffer: Some(buffer), ..Arguments::new() };
        // SAFETY: inside the gate; the buffer lies within its MDL; both are in the arguments.
        self.transfer(arguments, call.into(), |wsk, buf, irp| unsafe { wsk.send(buf, 0, irp) })
    }

    /// Receives into `buffer`: at least a byte, at most what it holds. `<= DISPATCH_LEVEL`. Source: *`WskReceive`*.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn receive(&self, buffer: Buffer, call: impl Into<MayCall>) -> Result<Operation<Transfer>, NotStarted> {
        let ended = |arguments: &mut Arguments, status: NtStatus, information| {
            if let Some(buffer) = &mut arguments.buffer {
                buffer.filled(if status == 0 { information } else { 0 });
            }
        };
        let arguments = Arguments { buf: buffer.whole(), buffer: Some(buffer), ended, ..Arguments::new() };
        // SAFETY: as for `send`.
        self.transfer(arguments, call.into(), |wsk, buf, irp| unsafe { wsk.receive(buf, 0, irp) })
    }

    fn transfer(
        &self,
        arguments: Arguments,
        call: MayCall,
        transfer: impl FnOnce(SocketRef, NonNull<sys::Buf>, NonNull<sys::Irp>) -> NtStatus,
    ) -> Result<Operation<Transfer>, NotStarted> {
        let inside = match self.0.enter(call) {
            Ok(inside) => inside,
            Err(error) => return Err(arguments.not_made(error).into()),
        };
        // SAFETY: the arguments that `transfer` uses are in the arguments, and right for the socket (the callers).
        let started =
            unsafe { inside.start(arguments, |wsk, arguments, irp| transfer(wsk, socket::buf(arguments), irp)) };
        started.map_err(NotStarted::from)
    }

    /// Shuts the connection down. `<= DISPATCH_LEVEL`. Source: *`WskDisconnect`*.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers: it is not connected.
    pub fn shut_down(&self, how: Shutdown, call: impl Into<MayCall>) -> Result<Operation<Result<(), Error>>, Error> {
        let flags = if how == Shutdown::Abort { sys::FLAG_ABORTIVE } else { 0 };
        let inside = self.0.enter(call.into())?;
        // SAFETY: inside the gate.
        let call = |wsk: SocketRef, _, irp| unsafe { wsk.disconnect(flags, irp) };
        // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
        unsafe { inside.start(Arguments::new(), call) }.map_err(Error::from)
    }

    /// Asks for the peer's address. `<= DISPATCH_LEVEL`. Source: *`WskGetRemoteAddress`*.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers: it is not connected.
    pub fn peer_address(&self, call: impl Into<MayCall>) -> Result<Operation<Result<SocketAddr, Error>>, Error> {
        let inside = self.0.enter(call.into())?;
        // SAFETY: inside the gate; room for any address, in the arguments.
        let call =
            |wsk: SocketRef, arguments, irp| unsafe { wsk.remote_address(socket::first_address(arguments), irp) };
        // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
        unsafe { inside.start(Arguments::new(), call) }.map_err(Error::from)
    }

    /// Has WSK tell of the data that arrives, and of the peer's end. The socket is connected, and was made with a closure to tell.
    /// `<= DISPATCH_LEVEL`. Source: *`SO_WSK_EVENT_CALLBACK`*.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::NotImplemented`] where there are no events; what WSK answers.
    pub fn enable_events(&self, call: impl Into<MayCall>) -> Result<(), Error> {
        self.0.enter(call.into())?.enable_events(sys::EVENT_RECEIVE | sys::EVENT_DISCONNECT)
    }
}

impl Outcome for Result<Stream, Error> {
    fn of(arguments: Arguments, status: NtStatus, _: usize) -> Self {
        socket::opened(arguments, status).map(Stream)
    }
}

impl Outcome for Transfer {
    fn of(arguments: Arguments, status: NtStatus, information: usize) -> Self {
        let result = Error::check(status).map(|()| information);
        Self { result, buffer: arguments.into_buffer() }
    }
}
