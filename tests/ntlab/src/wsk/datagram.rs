//! Datagrams: `WskSendTo` and `WskReceiveFrom`.
//!
//! One idea: a datagram goes or comes whole or not at all; one that does not fit the buffer fills it and says so.
//!
//! Source: *`WskSendTo`*, *`WskReceiveFrom`*, *`WskSendMessages`*.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use wsk::sys;

use super::Provider;
use super::buffers::Buffer;
use super::events;
use super::lanes::{Op, Outcome};
use super::socket::{Category, Inner, Phase, Socket};
use super::status::{self, Status};
use super::{address, dispatch};

const DATAGRAM: &[Category] = &[Category::Datagram];
/// `MSG_TRUNC`.
const TRUNCATED: u32 = 0x100;

pub extern "win64" fn send_to(
    socket: *mut sys::Socket,
    buffer: *mut sys::Buf,
    _flags: u32,
    remote: *mut sys::SockAddr,
    _control_length: u32,
    _control: *mut sys::ControlHeader,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskSendTo", socket, DATAGRAM, irp, |provider, socket, request| {
        // SAFETY: the driver passes a WSK_BUF with a valid MDL chain.
        let buffer = unsafe { Buffer::read("WskSendTo", buffer) }?;
        // SAFETY: the driver passes a SOCKADDR of the socket's family.
        let remote = unsafe { destination(socket, remote) };
        match remote {
            Ok(remote) => socket.submit(provider, request, Op::SendTo { buffer, remote }),
            Err(status) => provider.conclude(request, status, 0),
        }
    })
}

pub extern "win64" fn receive_from(
    socket: *mut sys::Socket,
    buffer: *mut sys::Buf,
    _flags: u32,
    remote: *mut sys::SockAddr,
    control_length: *mut u32,
    _control: *mut sys::ControlHeader,
    flags: *mut u32,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskReceiveFrom", socket, DATAGRAM, irp, |provider, socket, request| {
        // SAFETY: the driver passes a WSK_BUF with a valid MDL chain.
        let buffer = unsafe { Buffer::read("WskReceiveFrom", buffer) }?;
        socket.submit(provider, request, Op::ReceiveFrom { buffer, remote, control_length, flags })
    })
}

pub extern "win64" fn send_messages(
    socket: *mut sys::Socket,
    list: *mut sys::BufList,
    flags: u32,
    remote: *mut sys::SockAddr,
    _control_length: u32,
    _control: *mut sys::ControlHeader,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskSendMessages", socket, DATAGRAM, irp, |provider, socket, request| {
        let (mut buffers, mut next) = (Vec::new(), list);
        // SAFETY: the driver passes a list that ends with a null pointer.
        while let Some(node) = unsafe { next.as_ref() } {
            // SAFETY: each of its buffers has a valid MDL chain.
            buffers.push(unsafe { Buffer::read("WskSendMessages", &raw const node.buffer) }?);
            next = node.next;
        }
        // SAFETY: the driver passes NULL or a SOCKADDR of the socket's family.
        let remote = unsafe { destination(socket, remote) };
        match remote {
            _ if flags != 0 || buffers.is_empty() => provider.conclude(request, status::INVALID_PARAMETER, 0),
            Ok(remote) => socket.submit(provider, request, Op::SendMessages { buffers, next: 0, done: 0, remote }),
            Err(status) => provider.conclude(request, status, 0),
        }
    })
}

/// Where a datagram goes: to `remote`, or if that is NULL to an address that an I/O control has fixed.
///
/// # Safety
/// `remote` is null or points to a readable SOCKADDR of its own family.
unsafe fn destination(socket: &Socket, remote: *const sys::SockAddr) -> Result<SocketAddr, Status> {
    if remote.is_null() {
        let inner = socket.inner.lock();
        return inner.destination.or(inner.remote).ok_or(status::INVALID_PARAMETER);
    }
    // SAFETY: as the caller's.
    let remote = unsafe { address::read(remote, socket.family) }?;
    address::inside_the_lab(remote, status::NETWORK_UNREACHABLE)
}

impl Socket {
    /// Sends one datagram.
    pub fn send_to(provider: &Provider, inner: &Inner, buffer: &Buffer, remote: SocketAddr) -> Outcome {
        let (Phase::Bound, Some(host)) = (inner.phase, &inner.host) else {
            return Outcome::Done(inner.phase.refusal(), 0);
        };
        if provider.holds_datagrams.load(Ordering::SeqCst) {
            return Outcome::Wait;
        }
        let sent = loop {
            // SAFETY: the driver leaves the buffer alone until the IRP is completed.
            match unsafe { host.send_to(&buffer.segments, remote) } {
                // The host tells of an earlier datagram that nobody wanted, and has not sent this one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                sent => break sent,
            }
        };
        if let Ok(count) = sent {
            provider.totals.bytes_sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        sent.map(|count| (status::SUCCESS, count)).into()
    }

    /// Receives one datagram.
    pub fn receive_from(
        provider: &Provider,
        inner: &mut Inner,
        buffer: &Buffer,
        remote: *mut sys::SockAddr,
        control_length: *mut u32,
        flags: *mut u32,
    ) -> Outcome {
        let (Phase::Bound, Some(host)) = (inner.phase, &inner.host) else {
            return Outcome::Done(inner.phase.refusal(), 0);
        };
        if inner.events.running & events::RECEIVE_FROM != 0 {
            return Outcome::Wait; // the callback may refuse what it was given
        }
        let received = if let Some((bytes, from)) = inner.events.datagrams.pop_front() {
            // SAFETY: the driver leaves the buffer alone until the IRP is completed.
            let count = unsafe { buffer.fill(&bytes) };
            Ok((count, from, count < bytes.len()))
        } else {
            loop {
                // SAFETY: the driver leaves the buffer alone until the IRP is completed.
                match unsafe { host.receive_from(buffer) } {
                    // It came before the remote address was fixed.
                    Ok((_, from, _)) if inner.remote.is_some_and(|remote| remote != from) => {}
                    received => break received,
                }
            }
        };
        if received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return Outcome::Done(status::PORT_UNREACHABLE, 0);
        }
        received
            .map(|(count, from, truncated)| {
                provider.totals.bytes_received.fetch_add(count as u64, Ordering::Relaxed);
                // SAFETY: the driver gave NULL or a place for an address of the socket's family, until the IRP is completed.
                unsafe { address::write(remote, from) };
                if !control_length.is_null() {
                    // SAFETY: the driver keeps the variable valid until the IRP is completed.
                    unsafe { control_length.write(0) };
                }
                if !flags.is_null() {
                    // SAFETY: the driver keeps the variable valid until the IRP is completed.
                    unsafe { flags.write(if truncated { TRUNCATED } else { 0 }) };
                }
                (if truncated { status::BUFFER_OVERFLOW } else { status::SUCCESS }, count)
            })
            .into()
    }
}
