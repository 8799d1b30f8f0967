//! Datagram sockets.

use crate::address::Family;
use crate::operation::{Arguments, Operation, Outcome};
use crate::socket::{self, Handle, Owner, Socket};
use crate::{Buffer, Category, Client, Error, Event, MayCall, NotStarted, Passive, SocketRef, Transfer, sys, try_box};
use core::net::SocketAddr;
use core::ptr::NonNull;
use core::time::Duration;
use sys::NtStatus;

/// A UDP socket. See [`Socket`] for what else it can do.
///
/// Source: *Winsock Kernel Socket Categories*, *Sending Data over a Datagram Socket*.
pub struct Datagram(Handle);

impl Owner for Datagram {
    fn handle(&self) -> &Handle {
        &self.0
    }

    fn of(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Socket for Datagram {}

/// A receive of a datagram is over.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the datagram are in the buffer.
    pub result: Result<usize, Error>,
    /// Who sent it.
    pub from: Option<SocketAddr>,
    /// There were more bytes, which are lost.
    pub truncated: bool,
    /// The buffer, with the datagram in it.
    pub buffer: Buffer,
}

/// `STATUS_BUFFER_OVERFLOW`: the datagram was longer than the buffer.
const BUFFER_OVERFLOW: NtStatus = 0x8000_0005_u32.cast_signed();

impl Datagram {
    /// Asks for a UDP socket. `<= DISPATCH_LEVEL`. Source: *`WskSocket`*.
    ///
    /// # Errors
    /// [`Error::Deregistered`], [`Error::NotCaptured`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn open(
        client: &Client,
        family: Family,
        call: impl Into<MayCall>,
    ) -> Result<Operation<Result<Self, Error>>, Error> {
        socket::open(client, family, Category::Datagram, None, call.into())
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
        socket::open(client, family, Category::Datagram, Some(try_box(events)?), call.into())
    }

    /// A socket that is bound to `address`. `PASSIVE_LEVEL`; waits for each of the two steps for `limit` at most.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`bind`](Socket::bind); [`Error::TimedOut`]. The socket is given back.
    pub fn bound(client: &Client, address: &SocketAddr, limit: Duration, passive: Passive) -> Result<Self, Error> {
        let datagram = Self::open(client, Family::of(address), passive)?.finish(limit, passive)?;
        datagram.bind(address, passive)?.finish(limit, passive)?;
        Ok(datagram)
    }

    /// Sends what is in `buffer`, perhaps nothing, to `peer` in one datagram. `<= DISPATCH_LEVEL`. Source: *`WskSendTo`*.
    ///
    /// # Errors
    /// [`Error::Family`], [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    pub fn send_to(
        &self,
        buffer: Buffer,
        peer: &SocketAddr,
        call: impl Into<MayCall>,
    ) -> Result<Operation<Transfer>, NotStarted> {
        let arguments = Arguments { buf: buffer.full_part(), buffer: Some(buffer), ..Arguments::new() };
        self.transfer(arguments, Some(peer), call.into(), |wsk, arguments, irp| {
            let peer = socket::first_address(arguments).as_ptr();
            // SAFETY: inside the gate; the buffer lies within its MDL; all is in the arguments, the address of the socket's family.
            unsafe { wsk.send_to(socket::buf(arguments), peer, irp) }
        })
    }

    /// Receives one datagram into `buffer`. `<= DISPATCH_LEVEL`. Source: *`WskReceiveFrom`*.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers. A datagram that is longer than the buffer is none.
    pub fn receive_from(&self, buffer: Buffer, call: impl Into<MayCall>) -> Result<Operation<Received>, NotStarted> {
        let ended = |arguments: &mut Arguments, status: NtStatus, information| {
            if let Some(buffer) = &mut arguments.buffer {
                buffer.filled(if status == 0 || status == BUFFER_OVERFLOW { information } else { 0 });
            }
        };
        let arguments = Arguments { buf: buffer.whole(), buffer: Some(buffer), ended, ..Arguments::new() };
        self.transfer(arguments, None, call.into(), |wsk, arguments, irp| {
            let from = socket::first_address(arguments).as_ptr();
            // SAFETY: the arguments are there.
            let flags = unsafe { &raw mut (*arguments.as_ptr()).value };
            // SAFETY: inside the gate; the buffer is as long as its MDL; all is in the arguments.
            unsafe { wsk.receive_from(socket::buf(arguments), from, flags, irp) }
        })
    }

    fn transfer<T: Outcome>(
        &self,
        mut arguments: Arguments,
        peer: Option<&SocketAddr>,
        call: MayCall,
        transfer: impl FnOnce(SocketRef, NonNull<Arguments>, NonNull<sys::Irp>) -> NtStatus,
    ) -> Result<Operation<T>, NotStarted> {
        let inside = match self.0.enter(call) {
            Ok(inside) => inside,
            Err(error) => return Err(arguments.not_made(error).into()),
        };
        if let Some(peer) = peer {
            if let Err(error) = inside.socket().check_family(peer) {
                return Err(arguments.not_made(error).into());
            }
            arguments.addresses[0].set(peer);
        }
        // SAFETY: what `transfer` uses is in the arguments, and right for the socket (the callers).
        unsafe { inside.start(arguments, transfer) }.map_err(NotStarted::from)
    }

    /// Has WSK tell of the datagrams that arrive. The socket is bound, and was made with a closure to tell. `<= DISPATCH_LEVEL`.
    /// Source: *`SO_WSK_EVENT_CALLBACK`*.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::NotImplemented`] where there are no events; what WSK answers.
    pub fn enable_events(&self, call: impl Into<MayCall>) -> Result<(), Error> {
        self.0.enter(call.into())?.enable_events(sys::EVENT_RECEIVE_FROM)
    }
}

impl Outcome for Result<Datagram, Error> {
    fn of(arguments: Arguments, status: NtStatus, _: usize) -> Self {
        socket::opened(arguments, status).map(Datagram)
    }
}

impl Outcome for Received {
    fn of(arguments: Arguments, status: NtStatus, information: usize) -> Self {
        let truncated = status == BUFFER_OVERFLOW;
        let result = Error::check(if truncated { 0 } else { status }).map(|()| information);
        let from = arguments.addresses[0].get().filter(|_| result.is_ok());
        Self { result, from, truncated, buffer: arguments.into_buffer() }
    }
}
