//! The two lanes of a socket: IRPs that wait to receive, and IRPs that wait to send.
//!
//! One idea: a lane is served in order, under the socket's lock, by whoever has news: the call that brings an IRP, the network
//! thread, or a cancellation. What is finished is completed after the lock is released.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wsk::sys;

use super::Provider;
use super::buffers::Buffer;
use super::events::Callbacks;
use super::request::{Finished, Owner, Request};
use super::rules;
use super::socket::{Inner, Phase, Socket};
use super::status::{self, Status};
use crate::call::Stopped;
use crate::rules::record;

/// What an IRP that may wait is for.
pub enum Op {
    /// The next connection, and where to write its addresses.
    Accept { local: *mut sys::SockAddr, remote: *mut sys::SockAddr, callbacks: Callbacks },
    /// A connection; `started` once the host has been asked; `made` if the socket is only made for it; then what to send.
    Connect { remote: SocketAddr, started: bool, connected: bool, made: bool, buffer: Buffer, done: usize },
    /// `done` bytes of the buffer have been handed to TCP.
    Send { buffer: Buffer, done: usize },
    /// As a send, then the FIN and its acknowledgement.
    Disconnect { buffer: Buffer, done: usize, shut: bool },
    /// `done` bytes of the buffer are filled.
    Receive { buffer: Buffer, done: usize, all: bool, drain: bool },
    /// One datagram, and where to write its sender, the length of its control data, and its flags.
    ReceiveFrom { buffer: Buffer, remote: *mut sys::SockAddr, control_length: *mut u32, flags: *mut u32 },
    /// One datagram.
    SendTo { buffer: Buffer, remote: SocketAddr },
    /// Datagrams, of which `next` is the first that is not sent; `done` bytes are.
    SendMessages { buffers: Vec<Buffer>, next: usize, done: usize, remote: SocketAddr },
}

// SAFETY: the pointers lead to memory that the driver keeps valid until the IRP that they came with is completed; only the holder
// of the socket's lock follows them.
unsafe impl Send for Op {}

/// What came of an attempt.
pub enum Outcome {
    /// The IRP has its status and its Information.
    Done(Status, usize),
    /// The host has to change first.
    Wait,
}

/// An IRP in a lane.
pub struct Pending {
    pub request: Request,
    pub op: Op,
}

/// IRPs in the order of the calls that brought them.
pub type Lane = BTreeMap<u64, Pending>;
/// The lanes of a socket.
pub const LANES: usize = 2;

impl Op {
    /// A connection to `remote`.
    pub fn connect(remote: SocketAddr, made: bool, buffer: Buffer) -> Self {
        Self::Connect { remote, started: false, connected: false, made, buffer, done: 0 }
    }

    fn lane(&self) -> usize {
        match self {
            Self::Accept { .. } | Self::Receive { .. } | Self::ReceiveFrom { .. } => 0,
            Self::Connect { .. }
            | Self::Send { .. }
            | Self::Disconnect { .. }
            | Self::SendTo { .. }
            | Self::SendMessages { .. } => 1,
        }
    }

    /// What an IRP that ends before its time comes to: a receive keeps the data that it already has.
    fn ended(&self, status: Status) -> (Status, usize) {
        match self {
            Self::Receive { done, drain: false, .. } if *done != 0 => (status::SUCCESS, *done),
            _ => (status, 0),
        }
    }

    /// Whether part of the data has gone out, so that the stream would have a hole without the rest.
    fn is_cut(&self) -> bool {
        match self {
            Self::Send { buffer, done } | Self::Disconnect { buffer, done, shut: false } => {
                *done != 0 && *done < buffer.length
            }
            _ => false,
        }
    }
}

/// The status for an error of the host. Memory that is not there is the driver's fault, and stops the machine.
pub fn failure(error: &io::Error) -> Status {
    if error.raw_os_error() == Some(libc::EFAULT) {
        // The machine has stopped: whoever completes the IRP leaves.
        let _ = record(&rules::BUFFER_GONE, "the memory of a buffer that WSK has is not accessible", Vec::new());
    }
    status::of_host(error)
}

impl From<Result<(Status, usize), io::Error>> for Outcome {
    fn from(result: Result<(Status, usize), io::Error>) -> Self {
        match result {
            Ok((status, information)) => Self::Done(status, information),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Wait,
            Err(error) => Self::Done(failure(&error), 0),
        }
    }
}

impl Socket {
    /// Does what an IRP is for: at once, if the host can and nobody is before it, or when its turn comes.
    pub fn submit(self: &Arc<Self>, provider: &Arc<Provider>, request: Request, mut op: Op) -> Result<Status, Stopped> {
        let lane = op.lane();
        let mut inner = self.inner.lock();
        let outcome =
            if inner.lanes[lane].is_empty() { self.attempt(provider, &mut inner, &mut op) } else { Outcome::Wait };
        match outcome {
            Outcome::Done(status, information) => {
                drop(inner);
                provider.conclude(request, status, information)
            }
            Outcome::Wait => {
                request.mark_pending();
                Self::wait(provider, &mut inner, lane, Pending { request, op });
                Ok(status::PENDING)
            }
        }
    }

    /// Puts an IRP into its lane, unless it has been cancelled. True: it waits.
    fn wait(provider: &Arc<Provider>, inner: &mut Inner, lane: usize, pending: Pending) -> bool {
        if pending.request.arm() {
            inner.lanes[lane].insert(pending.request.number, pending);
            return true;
        }
        let finished = Self::cut_short(provider, inner, pending, status::CANCELLED);
        provider.finish_later(finished);
        false
    }

    /// Ends an IRP that was taken out of its lane.
    fn cut_short(provider: &Provider, inner: &mut Inner, pending: Pending, status: Status) -> Finished {
        if pending.op.is_cut() {
            // Windows documents no state of a connection whose send was cancelled half-way. A reset tells the peer.
            inner.tear_down(provider, Phase::Failed(status::CONNECTION_ABORTED));
        }
        if matches!(pending.op, Op::Disconnect { shut: false, .. }) {
            // The end of the stream had its place behind what is still to be sent, and is not sent now.
            inner.shut = false;
        }
        if matches!(pending.op, Op::Connect { made: true, .. })
            && let Owner::Socket(socket) = &pending.request.owner
        {
            socket.discard(provider, inner);
        } else if matches!(pending.op, Op::Connect { started: true, .. }) {
            inner.tear_down(provider, Phase::Failed(status::INVALID_DEVICE_STATE));
        }
        let (status, information) = pending.op.ended(status);
        pending.request.finish(status, information)
    }

    /// Serves both lanes as far as the host lets it.
    pub fn pump(self: &Arc<Self>, provider: &Arc<Provider>) {
        let mut inner = self.inner.lock();
        self.pump_locked(provider, &mut inner);
    }

    fn pump_locked(self: &Arc<Self>, provider: &Arc<Provider>, inner: &mut Inner) {
        for lane in 0..LANES {
            let mut from = 0;
            while let Some(number) = inner.lanes[lane].range(from..).next().map(|(&number, _)| number) {
                from = number + 1;
                let Some(mut pending) = inner.lanes[lane].remove(&number) else {
                    break;
                };
                if !pending.request.disarm() {
                    inner.lanes[lane].insert(number, pending); // its cancel routine comes for it
                    continue;
                }
                match self.attempt(provider, inner, &mut pending.op) {
                    Outcome::Done(status, information) => {
                        provider.finish_later(pending.request.finish(status, information));
                    }
                    Outcome::Wait => {
                        if Self::wait(provider, inner, lane, pending) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Ends a pending IRP for its cancel routine.
    pub fn cancel(self: &Arc<Self>, provider: &Arc<Provider>, number: u64) -> Result<(), Stopped> {
        let mut inner = self.inner.lock();
        let Some(pending) = inner.lanes.iter_mut().find_map(|lane| lane.remove(&number)) else {
            return Ok(());
        };
        let finished = Self::cut_short(provider, &mut inner, pending, status::CANCELLED);
        // The IRP may have stood before others that the host is ready for.
        self.pump_locked(provider, &mut inner);
        drop(inner);
        if provider.completes_inline() {
            provider.complete(finished)
        } else {
            provider.finish_later(finished);
            Ok(())
        }
    }

    /// Takes every pending IRP out of the lanes that is not being cancelled right now.
    fn drain(provider: &Provider, inner: &mut Inner, status: Status) -> Vec<Finished> {
        let mut finished = Vec::new();
        for lane in 0..LANES {
            for (number, pending) in std::mem::take(&mut inner.lanes[lane]) {
                if pending.request.disarm() {
                    finished.push(Self::cut_short(provider, inner, pending, status));
                } else {
                    inner.lanes[lane].insert(number, pending);
                }
            }
        }
        finished
    }

    /// Takes the socket away from under the driver: everything pending ends with `status`, and so does everything to come.
    pub fn fail(&self, provider: &Provider, status: Status) {
        let mut inner = self.inner.lock();
        let finished = Self::drain(provider, &mut inner, status);
        inner.tear_down(provider, Phase::Failed(status));
        inner.events.lost.get_or_insert(false);
        for finished in finished {
            provider.finish_later(finished);
        }
        provider.network().look_again(self.number);
    }

    /// Forgets a socket that no driver knows of.
    pub fn discard(&self, provider: &Provider, inner: &mut Inner) {
        inner.tear_down(provider, Phase::Failed(status::FILE_FORCED_CLOSED));
        provider.sockets.lock().closed(self);
    }

    /// Gives up everything that belongs to the host, and the IRPs with it.
    pub fn abandon(&self) {
        let mut inner = self.inner.lock();
        inner.host = None;
        inner.close = None;
        let lanes = std::mem::take(&mut inner.lanes);
        drop(inner);
        drop(lanes);
    }

    /// `WskCloseSocket`, once nothing else can call the socket.
    pub fn close(self: &Arc<Self>, provider: &Arc<Provider>, request: Request) -> Result<Status, Stopped> {
        provider.end_changes_of(self, status::CANCELLED);
        let mut inner = self.inner.lock();
        if inner.events.retained != 0 {
            let message =
                format!("WskCloseSocket was called on {self}, of which {} lists are retained", inner.events.retained);
            drop(inner);
            return Err(record(&rules::INDICATION_RETAINED, message, Vec::new()));
        }
        let finished = Self::drain(provider, &mut inner, status::CANCELLED);
        inner.tear_down(provider, Phase::Failed(status::FILE_FORCED_CLOSED));
        if self.irps.load(Ordering::SeqCst) == 1 {
            drop(inner);
            provider.sockets.lock().closed(self);
            return provider.conclude(request, status::SUCCESS, 0);
        }
        request.mark_pending();
        inner.close = Some(request);
        drop(inner);
        for finished in finished {
            if provider.completes_inline() {
                provider.complete(finished)?;
            } else {
                provider.finish_later(finished);
            }
        }
        Ok(status::PENDING)
    }

    /// An IRP of the socket is back with the driver. The last one but the close lets the close complete.
    pub fn irp_returned(&self, provider: &Provider) {
        if self.irps.fetch_sub(1, Ordering::SeqCst) != 2 {
            return;
        }
        let close = {
            let mut inner = self.inner.lock();
            if self.irps.load(Ordering::SeqCst) == 1 { inner.close.take() } else { None }
        };
        if let Some(close) = close {
            provider.sockets.lock().closed(self);
            provider.finish_later(close.finish(status::SUCCESS, 0));
        }
    }

    /// An abortive disconnect: no data goes either way any more.
    pub fn abort(self: &Arc<Self>, provider: &Arc<Provider>, request: Request) -> Result<Status, Stopped> {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Connected {
            let status = inner.phase.refusal();
            drop(inner);
            return provider.conclude(request, status, 0);
        }
        let finished = Self::drain(provider, &mut inner, status::CONNECTION_ABORTED);
        inner.abort_connection(provider);
        drop(inner);
        for finished in finished {
            provider.finish_later(finished);
        }
        provider.conclude(request, status::SUCCESS, 0)
    }
}
