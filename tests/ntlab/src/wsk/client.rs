//! The provider's functions that make sockets: `WskSocket` and `WskSocketConnect`.
//!
//! One idea: IoStatus.Information of the IRP is the only place that a new socket's pointer appears in.
//!
//! Source: *`WskSocket`*, *`WskSocketConnect`*, *WSK Address Families*.

use std::ffi::c_void;
use std::net::SocketAddr;
use std::sync::Arc;

use wsk::sys;

use super::buffers::Buffer;
use super::events::Callbacks;
use super::lanes::Op;
use super::option::values::Values;
use super::registration::Client;
use super::socket::{Category, New, Phase, Socket};
use super::status::{self, Status};
use super::{Provider, address, dispatch};

pub extern "win64" fn socket(
    client: *mut sys::Client,
    family: sys::AddressFamily,
    kind: u16,
    protocol: u32,
    flags: u32,
    context: *mut c_void,
    dispatch: *const c_void,
    _process: *mut sys::Process,
    _thread: *mut sys::Thread,
    security: *mut sys::SecurityDescriptor,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::client_call("WskSocket", client, irp, |provider, client, request| {
        let descriptor = provider.descriptor("WskSocket", security)?;
        let callbacks = Callbacks { context: context as usize, table: dispatch as usize };
        match provider.open(client, family, kind, protocol, flags, callbacks) {
            Ok(socket) => {
                socket.inner.lock().descriptor = descriptor;
                provider.conclude(request, status::SUCCESS, socket.object() as usize)
            }
            Err(status) => provider.conclude(request, status, 0),
        }
    })
}

pub extern "win64" fn socket_connect(
    client: *mut sys::Client,
    kind: u16,
    protocol: u32,
    local: *mut sys::SockAddr,
    remote: *mut sys::SockAddr,
    _flags: u32,
    context: *mut c_void,
    dispatch: *const sys::ClientConnectionDispatch,
    _process: *mut sys::Process,
    _thread: *mut sys::Thread,
    security: *mut sys::SecurityDescriptor,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::client_call("WskSocketConnect", client, irp, |provider, client, request| {
        let descriptor = provider.descriptor("WskSocketConnect", security)?;
        // SAFETY: the driver passes SOCKADDRs, of the family that they say.
        let opened = unsafe { provider.open_bound(client, kind, protocol, local, remote) };
        match opened {
            Ok((socket, remote)) => {
                {
                    let mut inner = socket.inner.lock();
                    inner.events.callbacks = Callbacks { context: context as usize, table: dispatch as usize };
                    inner.descriptor = descriptor;
                }
                let request = provider.pass_to_socket(request, &socket);
                socket.submit(provider, request, Op::connect(remote, true, Buffer::default()))
            }
            Err(status) => provider.conclude(request, status, 0),
        }
    })
}

impl Provider {
    /// Makes a socket.
    fn open(
        &self,
        client: &Arc<Client>,
        family: sys::AddressFamily,
        kind: u16,
        protocol: u32,
        flags: u32,
        callbacks: Callbacks,
    ) -> Result<Arc<Socket>, Status> {
        if self.is_lost() {
            return Err(status::DEVICE_NOT_READY);
        }
        let category = Category::from_flags(flags).ok_or(status::INVALID_PARAMETER)?;
        if family != sys::AF_INET && family != sys::AF_INET6 {
            return Err(status::PROTOCOL_NOT_SUPPORTED);
        }
        let tcp = match (kind, protocol) {
            (sys::SOCK_STREAM, sys::IPPROTO_TCP) => true,
            (sys::SOCK_DGRAM, sys::IPPROTO_UDP) => false,
            _ => return Err(status::PROTOCOL_NOT_SUPPORTED),
        };
        let fits = match category {
            Category::Basic => true,
            Category::Datagram => !tcp,
            Category::Listen | Category::Connection | Category::Stream => tcp,
        };
        if !fits {
            return Err(status::INVALID_PARAMETER);
        }
        let new = New {
            category,
            family,
            tcp,
            client: Arc::clone(client),
            phase: Phase::Unbound,
            local: None,
            remote: None,
            callbacks,
            options: Values::default(),
            descriptor: None,
        };
        let socket = self.new_end(tcp, family == sys::AF_INET6).and_then(|host| self.add_socket(host, new));
        socket.map_err(|error| status::of_host(&error))
    }

    /// Makes a connection-oriented socket that is bound, and says where to connect it.
    ///
    /// # Safety
    /// Each address is null or points to a readable SOCKADDR of its own family.
    unsafe fn open_bound(
        &self,
        client: &Arc<Client>,
        kind: u16,
        protocol: u32,
        local: *const sys::SockAddr,
        remote: *const sys::SockAddr,
    ) -> Result<(Arc<Socket>, SocketAddr), Status> {
        // SAFETY: the caller vouches for the address.
        let family = unsafe { address::family(local) }?;
        // SAFETY: the caller vouches for both addresses.
        let (local, remote) = (unsafe { address::read(local, family) }?, unsafe { address::read(remote, family) }?);
        let local = address::inside_the_lab(local, status::INVALID_ADDRESS_COMPONENT)?;
        let remote = address::inside_the_lab(remote, status::NETWORK_UNREACHABLE)?;
        let socket = self.open(client, family, kind, protocol, sys::FLAG_CONNECTION_SOCKET, Callbacks::default())?;
        match socket.bind(&mut socket.inner.lock(), local) {
            status::SUCCESS => {}
            status => {
                socket.discard(self, &mut socket.inner.lock());
                return Err(status);
            }
        }
        Ok((socket, remote))
    }
}
