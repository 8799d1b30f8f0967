//! Connections: `WskConnect`, `WskSend`, `WskReceive` and `WskDisconnect`.
//!
//! One idea: an attempt moves as much data as the host takes and says whether the IRP is done; it never waits.
//!
//! Source: *`WskConnect`*, *`WskSend`*, *`WskReceive`*, *`WskDisconnect`*.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wsk::sys;

use super::Provider;
use super::buffers::Buffer;
use super::events;
use super::lanes::{Op, Outcome, failure};
use super::request::Request;
use super::rules;
use super::socket::{Category, Inner, Phase, Socket};
use super::status::{self, Status};
use super::{address, dispatch};
use crate::call::Stopped;
use crate::rules::record;

const CONNECTS: &[Category] = &[Category::Connection, Category::Stream];

pub extern "win64" fn connect(
    socket: *mut sys::Socket,
    remote: *mut sys::SockAddr,
    _flags: u32,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskConnect", socket, CONNECTS, irp, |provider, socket, request| {
        // SAFETY: the driver passes a SOCKADDR of the socket's family.
        let remote = unsafe { address::read(remote, socket.family) };
        match remote.and_then(|remote| address::inside_the_lab(remote, status::NETWORK_UNREACHABLE)) {
            Ok(remote) => socket.submit(provider, request, Op::connect(remote, false, Buffer::default())),
            Err(status) => provider.conclude(request, status, 0),
        }
    })
}

/// Bytes that `WskConnectEx` sends at most.
const MOST_WITH_CONNECT: usize = 65_535;

pub extern "win64" fn connect_ex(
    socket: *mut sys::Socket,
    remote: *mut sys::SockAddr,
    buffer: *mut sys::Buf,
    flags: u32,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskConnectEx", socket, CONNECTS, irp, |provider, socket, request| {
        // SAFETY: the driver passes NULL or a WSK_BUF with a valid MDL chain.
        let buffer = unsafe { Buffer::read("WskConnectEx", buffer) }?;
        // SAFETY: the driver passes a SOCKADDR of the socket's family.
        let remote = unsafe { address::read(remote, socket.family) };
        let remote = remote.and_then(|remote| address::inside_the_lab(remote, status::NETWORK_UNREACHABLE));
        match remote {
            _ if flags != 0 => provider.conclude(request, status::INVALID_PARAMETER, 0),
            _ if buffer.length > MOST_WITH_CONNECT => provider.conclude(request, status::BUFFER_OVERFLOW, 0),
            Ok(remote) => socket.submit(provider, request, Op::connect(remote, false, buffer)),
            Err(status) => provider.conclude(request, status, 0),
        }
    })
}

pub extern "win64" fn send(socket: *mut sys::Socket, buffer: *mut sys::Buf, _flags: u32, irp: *mut sys::Irp) -> Status {
    dispatch::socket_call("WskSend", socket, CONNECTS, irp, |provider, socket, request| {
        // SAFETY: the driver passes a WSK_BUF with a valid MDL chain.
        let buffer = unsafe { Buffer::read("WskSend", buffer) }?;
        let shut = {
            let inner = socket.inner.lock();
            inner.shut && inner.phase == Phase::Connected
        };
        if shut {
            return provider.conclude(request, status::PIPE_DISCONNECTED, 0);
        }
        socket.submit(provider, request, Op::Send { buffer, done: 0 })
    })
}

pub extern "win64" fn receive(
    socket: *mut sys::Socket,
    buffer: *mut sys::Buf,
    flags: u32,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskReceive", socket, CONNECTS, irp, |provider, socket, request| {
        // SAFETY: the driver passes a WSK_BUF with a valid MDL chain.
        let buffer = unsafe { Buffer::read("WskReceive", buffer) }?;
        let (all, drain) = (flags & sys::FLAG_WAITALL != 0, flags & sys::FLAG_DRAIN != 0);
        if drain && (all || buffer.length != 0) {
            let message = format!("WskReceive got flags {flags:#x} and a buffer of {} bytes", buffer.length);
            return Err(record(&rules::DRAIN_WITH_BUFFER, message, Vec::new()));
        }
        socket.submit(provider, request, Op::Receive { buffer, done: 0, all, drain })
    })
}

pub extern "win64" fn disconnect(
    socket: *mut sys::Socket,
    buffer: *mut sys::Buf,
    flags: u32,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskDisconnect", socket, CONNECTS, irp, |provider, socket, request| {
        if flags & sys::FLAG_ABORTIVE != 0 {
            if !buffer.is_null() {
                let message = "WskDisconnect got WSK_FLAG_ABORTIVE and a buffer";
                return Err(record(&rules::ABORT_WITH_BUFFER, message, Vec::new()));
            }
            return socket.abort(provider, request);
        }
        // SAFETY: the driver passes NULL or a WSK_BUF with a valid MDL chain.
        let buffer = unsafe { Buffer::read("WskDisconnect", buffer) }?;
        socket.disconnect(provider, request, buffer)
    })
}

impl Socket {
    fn disconnect(
        self: &Arc<Self>,
        provider: &Arc<Provider>,
        request: Request,
        buffer: Buffer,
    ) -> Result<Status, Stopped> {
        let refusal = {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Connected {
                Some(inner.phase.refusal())
            } else if inner.shut {
                Some(status::PIPE_DISCONNECTED)
            } else {
                inner.shut = true;
                None
            }
        };
        match refusal {
            Some(status) => provider.conclude(request, status, 0),
            None => self.submit(provider, request, Op::Disconnect { buffer, done: 0, shut: false }),
        }
    }

    /// Does as much of `op` as the host lets it.
    pub fn attempt(self: &Arc<Self>, provider: &Arc<Provider>, inner: &mut Inner, op: &mut Op) -> Outcome {
        match op {
            Op::Accept { local, remote, callbacks } => self.accept(provider, inner, *local, *remote, *callbacks),
            Op::Connect { remote, started, connected, made, buffer, done } => {
                if !*connected {
                    match connect_some(inner, *remote, started) {
                        Outcome::Done(status::SUCCESS, _) => *connected = true,
                        Outcome::Done(status, _) if *made => {
                            self.discard(provider, inner);
                            return Outcome::Done(status, 0);
                        }
                        outcome => return outcome,
                    }
                }
                match send_some(provider, inner, buffer, done) {
                    Ok(()) => Outcome::Done(status::SUCCESS, if *made { self.object() as usize } else { 0 }),
                    Err(outcome) => outcome,
                }
            }
            Op::Send { buffer, done } => match send_some(provider, inner, buffer, done) {
                Ok(()) => Outcome::Done(status::SUCCESS, buffer.length),
                Err(outcome) => {
                    if inner.events.has(events::SEND_BACKLOG) && inner.events.ideal_backlog != inner.events.told_backlog
                    {
                        provider.network().look_again(self.number);
                    }
                    outcome
                }
            },
            Op::Disconnect { buffer, done, shut } => self.disconnect_some(provider, inner, buffer, done, shut),
            Op::Receive { buffer, done, all, drain } => {
                receive_some(provider, self.number, inner, buffer, done, *all, *drain)
            }
            Op::ReceiveFrom { buffer, remote, control_length, flags } => {
                Self::receive_from(provider, inner, buffer, *remote, *control_length, *flags)
            }
            Op::SendTo { buffer, remote } => Self::send_to(provider, inner, buffer, *remote),
            Op::SendMessages { buffers, next, done, remote } => {
                while let Some(buffer) = buffers.get(*next) {
                    match Self::send_to(provider, inner, buffer, *remote) {
                        Outcome::Done(status::SUCCESS, count) => *done += count,
                        outcome => return outcome,
                    }
                    *next += 1;
                }
                Outcome::Done(status::SUCCESS, *done)
            }
        }
    }

    fn disconnect_some(
        &self,
        provider: &Provider,
        inner: &mut Inner,
        buffer: &Buffer,
        done: &mut usize,
        shut: &mut bool,
    ) -> Outcome {
        if !*shut {
            if let Err(outcome) = send_some(provider, inner, buffer, done) {
                return outcome;
            }
            let Some(host) = &inner.host else {
                return Outcome::Done(inner.phase.refusal(), 0);
            };
            if let Err(error) = host.shut_down() {
                return failed(inner, failure(&error));
            }
            *shut = true;
        }
        let Some(host) = &inner.host else {
            return Outcome::Done(inner.phase.refusal(), 0);
        };
        if host.fin_acknowledged() {
            return match host.take_error() {
                Ok(Some(error)) => failed(inner, failure(&error)),
                _ => Outcome::Done(status::SUCCESS, 0),
            };
        }
        provider.network().look_again(self.number);
        Outcome::Wait
    }
}

/// The connection is over: everything to come ends as this does.
pub fn failed(inner: &mut Inner, status: Status) -> Outcome {
    inner.host = None;
    inner.phase = Phase::Failed(status);
    inner.events.reset = true;
    Outcome::Done(status, 0)
}

fn connect_some(inner: &mut Inner, remote: SocketAddr, started: &mut bool) -> Outcome {
    let (Phase::Bound, Some(host)) = (inner.phase, &inner.host) else {
        return Outcome::Done(inner.phase.refusal(), 0);
    };
    *started = true;
    match host.connect(remote) {
        Ok(true) => {
            inner.local = host.local().ok().or(inner.local);
            inner.remote = Some(remote);
            inner.phase = Phase::Connected;
            inner.role = if inner.role == Category::Stream { Category::Connection } else { inner.role };
            Outcome::Done(status::SUCCESS, 0)
        }
        Ok(false) => Outcome::Wait,
        // The socket stays bound and may be connected again.
        Err(error) => Outcome::Done(status::of_host(&error), 0),
    }
}

/// Hands the rest of `buffer` to the host. The error is what the IRP comes to, if it is not all taken.
fn send_some(provider: &Provider, inner: &mut Inner, buffer: &Buffer, done: &mut usize) -> Result<(), Outcome> {
    if inner.phase != Phase::Connected {
        return Err(Outcome::Done(inner.phase.refusal(), 0));
    }
    while *done < buffer.length {
        let Some(host) = &inner.host else {
            return Err(Outcome::Done(inner.phase.refusal(), 0));
        };
        // SAFETY: the driver leaves the buffer alone until the IRP is completed.
        match unsafe { host.send(&buffer.segments, *done) } {
            Ok(count) => {
                *done += count;
                provider.totals.bytes_sent.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                inner.events.send_waits();
                return Err(Outcome::Wait);
            }
            Err(error) => return Err(failed(inner, failure(&error))),
        }
    }
    Ok(())
}

fn receive_some(
    provider: &Provider,
    number: usize,
    inner: &mut Inner,
    buffer: &Buffer,
    done: &mut usize,
    all: bool,
    drain: bool,
) -> Outcome {
    if inner.phase != Phase::Connected {
        return Outcome::Done(inner.phase.refusal(), 0);
    }
    if inner.events.refused {
        inner.events.refused = false;
        provider.network().look_again(number);
    }
    inner.events.resumed = true;
    if buffer.length == 0 && !drain {
        return Outcome::Done(status::SUCCESS, 0); // it only enables WskReceiveEvent again
    }
    if inner.events.running & events::RECEIVE != 0 {
        return Outcome::Wait; // the callback may yet take what has arrived
    }
    let most = if all { buffer.length } else { provider.take_at_most(buffer.length) };
    loop {
        let Some(host) = &inner.host else {
            return Outcome::Done(inner.phase.refusal(), 0);
        };
        let count = if drain {
            host.discard()
        } else {
            // SAFETY: the driver leaves the buffer alone until the IRP is completed.
            unsafe { host.receive(&buffer.segments, *done, most) }
        };
        match count {
            Ok(0) => return Outcome::Done(status::SUCCESS, *done),
            Ok(_) if drain => {}
            Ok(count) => {
                *done += count;
                provider.totals.bytes_received.fetch_add(count as u64, Ordering::Relaxed);
                if !all || *done == buffer.length {
                    return Outcome::Done(status::SUCCESS, *done);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Wait,
            Err(error) => {
                let outcome = failed(inner, failure(&error));
                // Data that has arrived is not taken back; the next IRP tells of the error.
                return if *done == 0 { outcome } else { Outcome::Done(status::SUCCESS, *done) };
            }
        }
    }
}
