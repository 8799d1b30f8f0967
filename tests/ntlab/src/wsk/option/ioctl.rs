//! I/O control operations on sockets.
//!
//! Source: *WSK Socket IOCTL Operations* and the page of each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wsk::sys;

use super::super::socket::{Category, Inner, Phase, Socket};
use super::super::status::{self, Status};
use super::super::{address, transport};
use super::Buffers;
use super::codes::{
    SIO_ADDRESS_LIST_QUERY, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG, SIO_WSK_QUERY_INSPECT_ID, SIO_WSK_QUERY_RECEIVE_BACKLOG,
    SIO_WSK_REGISTER_EXTENSION, SIO_WSK_SET_REMOTE_ADDRESS, SIO_WSK_SET_SENDTO_ADDRESS,
};
use crate::irql;

/// `SOCKET_ADDRESS`.
#[repr(C)]
struct ListedAddress {
    address: *mut sys::SockAddr,
    length: i32,
}

/// Whether the page of an operation says that its IRP is NULL.
pub fn goes_without_irp(code: u32) -> bool {
    matches!(code, SIO_WSK_QUERY_INSPECT_ID | SIO_ADDRESS_LIST_QUERY | SIO_WSK_REGISTER_EXTENSION)
}

/// Does one of those operations. The result: a status, and bytes of output (those that are needed, if there is too little room).
pub fn without_irp(socket: &Socket, code: u32, buffers: &Buffers) -> (Status, usize) {
    match code {
        SIO_WSK_QUERY_INSPECT_ID => {
            let Some((key, serial_number)) = socket.inner.lock().events.inspect_id else {
                return (status::INVALID_DEVICE_REQUEST, 0);
            };
            // SAFETY: the driver passes `output_size` bytes for the output.
            let written = unsafe { buffers.write(sys::InspectId { key, serial_number }) };
            written.map_or_else(|status| (status, 0), |count| (status::SUCCESS, count))
        }
        SIO_ADDRESS_LIST_QUERY => list_addresses(socket, buffers),
        _ => (status::NOT_SUPPORTED, 0), // there is no extension interface here
    }
}

/// `SOCKET_ADDRESS_LIST` with the loopback address of the socket's family.
fn list_addresses(socket: &Socket, buffers: &Buffers) -> (Status, usize) {
    const COUNT: usize = 8; // INT iAddressCount, and what aligns the pointer behind it
    if irql::current() > irql::PASSIVE {
        return (status::INVALID_DEVICE_STATE, 0);
    }
    let length = address::length(socket.family);
    let needed = COUNT + size_of::<ListedAddress>() + length;
    if buffers.output.is_null() || buffers.output_size < needed {
        return (status::BUFFER_OVERFLOW, needed);
    }
    let ip: IpAddr =
        if socket.family == sys::AF_INET { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let start = buffers.output.cast::<u8>();
    let place: *mut sys::SockAddr = start.wrapping_add(COUNT + size_of::<ListedAddress>()).cast();
    let listed = ListedAddress { address: place, length: i32::try_from(length).unwrap_or(0) };
    // SAFETY: the driver passes `output_size` bytes, which are enough.
    unsafe { start.cast::<i32>().write_unaligned(1) };
    // SAFETY: the driver passes `output_size` bytes, which are enough for the count and one address.
    unsafe { start.wrapping_add(COUNT).cast::<ListedAddress>().write_unaligned(listed) };
    // SAFETY: the driver passes `output_size` bytes, which are enough for the count and one address.
    unsafe { address::write(place, SocketAddr::new(ip, 0)) };
    (status::SUCCESS, needed)
}

/// Does an operation that has an IRP; the result is the number of bytes written to the output.
pub fn control(socket: &Socket, code: u32, buffers: &Buffers) -> Result<usize, Status> {
    let mut inner = socket.inner.lock();
    let connection = matches!(socket.category, Category::Connection | Category::Stream);
    match code {
        SIO_WSK_QUERY_IDEAL_SEND_BACKLOG | SIO_WSK_QUERY_RECEIVE_BACKLOG
            if connection && inner.phase != Phase::Connected =>
        {
            Err(inner.phase.refusal())
        }
        SIO_WSK_QUERY_IDEAL_SEND_BACKLOG if connection => {
            // SAFETY: the driver passes `output_size` bytes for the output.
            unsafe { buffers.write(inner.events.ideal_backlog) }
        }
        SIO_WSK_QUERY_RECEIVE_BACKLOG if connection => {
            let host = inner.host.as_ref().ok_or(inner.phase.refusal())?;
            let waiting = host.waiting().map_err(|error| status::of_host(&error))?;
            // SAFETY: the driver passes `output_size` bytes for the output.
            unsafe { buffers.write(waiting) }
        }
        SIO_WSK_SET_REMOTE_ADDRESS | SIO_WSK_SET_SENDTO_ADDRESS if socket.category == Category::Datagram => {
            fix_address(socket, &mut inner, code, buffers).map(|()| 0)
        }
        // Their IRP is NULL.
        code if goes_without_irp(code) => Err(status::INVALID_PARAMETER),
        _ => Err(status::NOT_SUPPORTED),
    }
}

/// Fixes where datagrams go to, or no input: lets it loose.
fn fix_address(socket: &Socket, inner: &mut Inner, code: u32, buffers: &Buffers) -> Result<(), Status> {
    let remote = match (buffers.input.is_null(), buffers.input_size) {
        (true, 0) => None,
        (false, size) if size >= address::length(socket.family) => {
            // SAFETY: the driver passes a SOCKADDR, of which there is enough.
            let remote = unsafe { address::read(buffers.input.cast(), socket.family) }?;
            Some(address::inside_the_lab(remote, status::NETWORK_UNREACHABLE)?)
        }
        _ => return Err(status::INVALID_PARAMETER),
    };
    let (Phase::Bound, Some(host)) = (inner.phase, &inner.host) else {
        return Err(inner.phase.refusal());
    };
    if code == SIO_WSK_SET_SENDTO_ADDRESS {
        inner.destination = remote;
        return Ok(());
    }
    let fixed = match remote {
        Some(remote) => transport::Host::connect(host, remote).map(drop),
        None => host.disconnect(),
    };
    fixed.map_err(|error| status::of_host(&error))?;
    inner.remote = remote;
    // What somebody else had sent before is not for the driver any more.
    inner.events.datagrams.retain(|(_, from)| remote.is_none_or(|remote| remote == *from));
    Ok(())
}
