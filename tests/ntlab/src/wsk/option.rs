//! `WskControlSocket`: socket options.
//!
//! One idea: an option that the host has means the same there and here, except for the value that names it; the others are
//! answered from what the provider knows.
//!
//! Source: *`WskControlSocket`*, *WSK Socket Options*, and the page of each option.

use std::ffi::c_void;
use std::io;

use wsk::sys;

use super::events::Control;
use super::socket::{Category, Inner, Phase, Socket};
use super::status::{self, Status};
use super::{address, dispatch, kernel, rules};
use crate::call::{self, Stopped};
use crate::rules::record;

const ALL: &[Category] =
    &[Category::Basic, Category::Listen, Category::Connection, Category::Datagram, Category::Stream];

/// `SOL_SOCKET`.
pub const SOL_SOCKET: u32 = 0xffff;
/// `SO_REUSEADDR`.
pub const SO_REUSEADDR: u32 = 0x0004;
/// `SO_KEEPALIVE`.
pub const SO_KEEPALIVE: u32 = 0x0008;
/// `SO_SNDBUF`.
pub const SO_SNDBUF: u32 = 0x1001;
/// `SO_RCVBUF`.
pub const SO_RCVBUF: u32 = 0x1002;
/// `SO_ERROR`.
pub const SO_ERROR: u32 = 0x1007;
/// `SO_TYPE`.
pub const SO_TYPE: u32 = 0x1008;
/// `SO_CONDITIONAL_ACCEPT`.
pub const SO_CONDITIONAL_ACCEPT: u32 = 0x3002;
/// `SO_WSK_EVENT_CALLBACK`.
pub const SO_WSK_EVENT_CALLBACK: u32 = 0x4002;
/// `SIO_WSK_SET_REMOTE_ADDRESS`.
pub const SIO_WSK_SET_REMOTE_ADDRESS: u32 = 0x8f00_0001;
/// `SIO_WSK_QUERY_IDEAL_SEND_BACKLOG`.
pub const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: u32 = 0x4f00_0003;
/// `SIO_WSK_QUERY_RECEIVE_BACKLOG`.
pub const SIO_WSK_QUERY_RECEIVE_BACKLOG: u32 = 0x4f00_0004;
/// `SIO_WSK_QUERY_INSPECT_ID`.
pub const SIO_WSK_QUERY_INSPECT_ID: u32 = 0x4f00_0005;
/// `SIO_WSK_SET_SENDTO_ADDRESS`.
pub const SIO_WSK_SET_SENDTO_ADDRESS: u32 = 0x8f00_0006;
/// `IPPROTO_TCP`, as a level.
pub const IPPROTO_TCP: u32 = 6;
/// `TCP_NODELAY`.
pub const TCP_NODELAY: u32 = 1;
/// `IPPROTO_IPV6`, as a level.
pub const IPPROTO_IPV6: u32 = 41;
/// `IPV6_V6ONLY`.
pub const IPV6_V6ONLY: u32 = 27;

/// The driver's buffers of one control operation.
struct Buffers {
    input: *const c_void,
    input_size: usize,
    output: *mut c_void,
    output_size: usize,
}

pub extern "win64" fn control_socket(
    socket: *mut sys::Socket,
    request_type: sys::ControlSocketType,
    code: u32,
    level: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
    irp: *mut sys::Irp,
) -> Status {
    let buffers = Buffers { input, input_size, output, output_size };
    if irp.is_null() {
        let outcome = without_irp(socket, request_type, code, level, &buffers);
        let (status, count) = call::or_escape(outcome);
        if !returned.is_null() {
            // SAFETY: the driver passes NULL or a variable for the number of bytes returned.
            unsafe { returned.write(count) };
        }
        return status;
    }
    dispatch::socket_call("WskControlSocket", socket, ALL, irp, |provider, socket, request| {
        if is_event_callback(request_type, code, level) {
            // SAFETY: the driver passes `input_size` bytes of input.
            return match unsafe { buffers.event_control() } {
                Ok(control) => socket.control_events(provider, control, Some(request)),
                Err(status) => provider.conclude(request, status, 0),
            };
        }
        let outcome = control(socket, request_type, code, level, &buffers);
        let (status, information) = outcome.map_or_else(|status| (status, 0), |count| (status::SUCCESS, count));
        provider.conclude(request, status, information)
    })
}

fn is_event_callback(request_type: sys::ControlSocketType, code: u32, level: u32) -> bool {
    request_type == sys::CONTROL_SET_OPTION && level == SOL_SOCKET && code == SO_WSK_EVENT_CALLBACK
}

/// Only the event callbacks, and queries by I/O control, may go without an IRP. The result: a status, and bytes of output.
fn without_irp(
    socket: *mut sys::Socket,
    request_type: sys::ControlSocketType,
    code: u32,
    level: u32,
    buffers: &Buffers,
) -> Result<(Status, usize), Stopped> {
    let provider = kernel::provider();
    let call = provider.enter("WskControlSocket", socket, ALL, false)?;
    if is_event_callback(request_type, code, level) {
        // SAFETY: the driver passes `input_size` bytes of input.
        return match unsafe { buffers.event_control() } {
            Ok(control) => call.socket.control_events(&provider, control, None).map(|status| (status, 0)),
            Err(status) => Ok((status, 0)),
        };
    }
    if request_type == sys::CONTROL_IOCTL {
        let outcome = control(&call.socket, request_type, code, level, buffers);
        return Ok(outcome.map_or_else(|status| (status, 0), |count| (status::SUCCESS, count)));
    }
    let message = format!("WskControlSocket for option {code:#x} of level {level:#x} on {} got no IRP", call.socket);
    Err(record(&rules::NO_IRP, message, Vec::new()))
}

/// Does one control operation; the result is the number of bytes written to the output.
fn control(
    socket: &Socket,
    request_type: sys::ControlSocketType,
    code: u32,
    level: u32,
    buffers: &Buffers,
) -> Result<usize, Status> {
    let mut inner = socket.inner.lock();
    match request_type {
        sys::CONTROL_SET_OPTION => {
            // SAFETY: the driver passes `input_size` bytes of input.
            let value = unsafe { buffers.value() }?;
            set(socket, &mut inner, level, code, value)?;
            Ok(0)
        }
        sys::CONTROL_GET_OPTION => {
            let value = get(socket, &inner, level, code)?;
            // SAFETY: the driver passes `output_size` bytes for the output.
            unsafe { buffers.answer(value) }
        }
        sys::CONTROL_IOCTL => io_control(socket, &mut inner, code, buffers),
        _ => Err(status::INVALID_PARAMETER),
    }
}

/// Does one I/O control operation; the result is the number of bytes written to the output.
fn io_control(socket: &Socket, inner: &mut Inner, code: u32, buffers: &Buffers) -> Result<usize, Status> {
    let connection = matches!(socket.category, Category::Connection | Category::Stream);
    match code {
        SIO_WSK_QUERY_IDEAL_SEND_BACKLOG if connection && inner.phase == Phase::Connected => {
            // SAFETY: the driver passes `output_size` bytes for the output.
            unsafe { buffers.write(inner.events.ideal_backlog) }
        }
        SIO_WSK_QUERY_RECEIVE_BACKLOG if connection && inner.phase == Phase::Connected => {
            let host = inner.host.as_ref().ok_or(inner.phase.refusal())?;
            let waiting = of_host(host.waiting())?;
            // SAFETY: as above.
            unsafe { buffers.write(waiting) }
        }
        SIO_WSK_QUERY_INSPECT_ID if connection => {
            let (key, serial_number) = inner.events.inspect_id.ok_or(status::INVALID_DEVICE_STATE)?;
            // SAFETY: as above.
            unsafe { buffers.write(sys::InspectId { key, serial_number }) }
        }
        SIO_WSK_SET_REMOTE_ADDRESS | SIO_WSK_SET_SENDTO_ADDRESS if socket.category == Category::Datagram => {
            if buffers.input.is_null() || buffers.input_size < address::length(socket.family) {
                return Err(status::INVALID_PARAMETER);
            }
            // SAFETY: the driver passes a SOCKADDR, of which there is enough.
            let remote = unsafe { address::read(buffers.input.cast(), socket.family) }?;
            let remote = address::inside_the_lab(remote, status::NETWORK_UNREACHABLE)?;
            if inner.phase != Phase::Bound {
                return Err(inner.phase.refusal());
            }
            if code == SIO_WSK_SET_REMOTE_ADDRESS {
                // From now on nobody else's datagrams arrive.
                of_host(inner.host.as_ref().ok_or(inner.phase.refusal())?.connect(remote))?;
            }
            inner.remote = Some(remote);
            Ok(0)
        }
        SIO_WSK_QUERY_IDEAL_SEND_BACKLOG | SIO_WSK_QUERY_RECEIVE_BACKLOG if connection => Err(inner.phase.refusal()),
        _ => Err(status::NOT_SUPPORTED),
    }
}

impl Buffers {
    /// # Safety
    /// `output` is null or points to `output_size` writable bytes.
    unsafe fn write<T>(&self, value: T) -> Result<usize, Status> {
        if self.output.is_null() || self.output_size < size_of::<T>() {
            return Err(status::BUFFER_TOO_SMALL);
        }
        // SAFETY: the caller vouches for the memory, of which there is enough.
        unsafe { self.output.cast::<T>().write_unaligned(value) };
        Ok(size_of::<T>())
    }

    /// # Safety
    /// `input` is null or points to `input_size` readable bytes.
    unsafe fn event_control(&self) -> Result<Control, Status> {
        if self.input.is_null() || self.input_size < size_of::<Control>() {
            return Err(status::INVALID_PARAMETER);
        }
        // SAFETY: the caller vouches for the struct.
        Ok(unsafe { self.input.cast::<Control>().read_unaligned() })
    }

    /// # Safety
    /// `input` is null or points to `input_size` readable bytes.
    unsafe fn value(&self) -> Result<u32, Status> {
        if self.input.is_null() {
            return Err(status::INVALID_PARAMETER);
        }
        match self.input_size {
            // SAFETY: the caller vouches for the byte: some options take a BOOLEAN.
            1 => Ok(unsafe { self.input.cast::<u8>().read() }.into()),
            // SAFETY: the caller vouches for the four bytes.
            4.. => Ok(unsafe { self.input.cast::<u32>().read_unaligned() }),
            _ => Err(status::INVALID_PARAMETER),
        }
    }

    /// # Safety
    /// `output` is null or points to `output_size` writable bytes.
    unsafe fn answer(&self, value: u32) -> Result<usize, Status> {
        if self.output.is_null() || self.output_size < size_of::<u32>() {
            return Err(status::BUFFER_TOO_SMALL);
        }
        // SAFETY: the caller vouches for the four bytes.
        unsafe { self.output.cast::<u32>().write_unaligned(value) };
        Ok(size_of::<u32>())
    }
}

fn of_host<T>(result: io::Result<T>) -> Result<T, Status> {
    result.map_err(|error| status::of_host(&error))
}

fn set(socket: &Socket, inner: &mut Inner, level: u32, code: u32, value: u32) -> Result<(), Status> {
    if (level, code) == (SOL_SOCKET, SO_CONDITIONAL_ACCEPT) {
        if socket.category != Category::Listen || value > 1 {
            return Err(if value > 1 { status::INVALID_PARAMETER } else { status::NOT_SUPPORTED });
        }
        if inner.phase != Phase::Unbound {
            return Err(inner.phase.refusal());
        }
        inner.events.conditional = value == 1;
        return Ok(());
    }
    let host = inner.host.as_ref().ok_or(inner.phase.refusal())?.options().ok_or(status::NOT_SUPPORTED)?;
    let size = usize::try_from(value).unwrap_or(usize::MAX);
    let unbound = inner.phase == Phase::Unbound;
    of_host(match (level, code) {
        (SOL_SOCKET, SO_REUSEADDR) if !unbound => return Err(status::INVALID_DEVICE_STATE),
        (SOL_SOCKET, SO_REUSEADDR) if socket.tcp => host.set_reuse_port(value != 0),
        (SOL_SOCKET, SO_REUSEADDR) => host.set_reuse_address(value != 0),
        (SOL_SOCKET, SO_KEEPALIVE) => host.set_keepalive(value != 0),
        (SOL_SOCKET, SO_SNDBUF) => host.set_send_buffer_size(size),
        (SOL_SOCKET, SO_RCVBUF) => host.set_recv_buffer_size(size),
        (IPPROTO_TCP, TCP_NODELAY) if socket.tcp => host.set_tcp_nodelay(value != 0),
        (IPPROTO_IPV6, IPV6_V6ONLY) if socket.family == sys::AF_INET6 => host.set_only_v6(value != 0),
        _ => return Err(status::NOT_SUPPORTED),
    })
}

fn get(socket: &Socket, inner: &Inner, level: u32, code: u32) -> Result<u32, Status> {
    match (level, code) {
        (SOL_SOCKET, SO_TYPE) => return Ok(if socket.tcp { sys::SOCK_STREAM } else { sys::SOCK_DGRAM }.into()),
        (SOL_SOCKET, SO_CONDITIONAL_ACCEPT) if socket.category == Category::Listen => {
            return Ok(inner.events.conditional.into());
        }
        (SOL_SOCKET, SO_ERROR) => {
            return Ok(if let Phase::Failed(status) = inner.phase { status.cast_unsigned() } else { 0 });
        }
        _ => {}
    }
    let host = inner.host.as_ref().ok_or(inner.phase.refusal())?.options().ok_or(status::NOT_SUPPORTED)?;
    let size = |size: io::Result<usize>| size.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
    of_host(match (level, code) {
        (SOL_SOCKET, SO_REUSEADDR) if socket.tcp => host.reuse_port().map(u32::from),
        (SOL_SOCKET, SO_REUSEADDR) => host.reuse_address().map(u32::from),
        (SOL_SOCKET, SO_KEEPALIVE) => host.keepalive().map(u32::from),
        (SOL_SOCKET, SO_SNDBUF) => size(host.send_buffer_size()),
        (SOL_SOCKET, SO_RCVBUF) => size(host.recv_buffer_size()),
        (IPPROTO_TCP, TCP_NODELAY) if socket.tcp => host.tcp_nodelay().map(u32::from),
        (IPPROTO_IPV6, IPV6_V6ONLY) if socket.family == sys::AF_INET6 => host.only_v6().map(u32::from),
        _ => return Err(status::NOT_SUPPORTED),
    })
}
