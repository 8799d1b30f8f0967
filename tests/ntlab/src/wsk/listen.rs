//! Binding, listening and accepting.
//!
//! One idea: a listening socket listens as soon as it is bound; connections that nobody has accepted yet wait in the host.
//!
//! Source: *`WskBind`*, *`WskListen`*, *`WskAccept`*, *`WskInspectComplete`*, *Listening for and Accepting Incoming Connections*.

use std::net::SocketAddr;
use std::sync::Arc;

use wsk::sys;

use super::Provider;
use super::events::Callbacks;
use super::lanes::{Op, Outcome};
use super::option::codes::{SO_REUSEADDR, SOL_SOCKET};
use super::rules;
use super::socket::{Category, Inner, Phase, Socket};
use super::status::{self, Status};
use super::{address, dispatch};
use crate::rules::record;

const BINDS: &[Category] = &[Category::Listen, Category::Connection, Category::Stream, Category::Datagram];
const ACCEPTS: &[Category] = &[Category::Listen, Category::Stream];

pub extern "win64" fn bind(
    socket: *mut sys::Socket,
    local: *mut sys::SockAddr,
    _flags: u32,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskBind", socket, BINDS, irp, |provider, socket, request| {
        // SAFETY: the driver passes a SOCKADDR of the socket's family.
        let local = unsafe { address::read(local, socket.family) };
        let status = match local.and_then(|local| address::inside_the_lab(local, status::INVALID_ADDRESS_COMPONENT)) {
            Ok(local) => socket.bind(&mut socket.inner.lock(), local),
            Err(status) => status,
        };
        provider.conclude(request, status, 0)
    })
}

pub extern "win64" fn listen(socket: *mut sys::Socket, irp: *mut sys::Irp) -> Status {
    dispatch::socket_call("WskListen", socket, &[Category::Stream], irp, |provider, socket, request| {
        let status = start_listening(&mut socket.inner.lock());
        provider.network().look_again(socket.number);
        provider.conclude(request, status, 0)
    })
}

pub extern "win64" fn accept(
    socket: *mut sys::Socket,
    _flags: u32,
    context: *mut std::ffi::c_void,
    dispatch: *const sys::ClientConnectionDispatch,
    local: *mut sys::SockAddr,
    remote: *mut sys::SockAddr,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskAccept", socket, ACCEPTS, irp, |provider, socket, request| {
        if !socket.inner.lock().lanes[0].is_empty() {
            let message = format!("WskAccept was called on {socket}, on which another is outstanding");
            return Err(record(&rules::PARALLEL_ACCEPTS, message, Vec::new()));
        }
        let callbacks = Callbacks { context: context as usize, table: dispatch as usize };
        socket.submit(provider, request, Op::Accept { local, remote, callbacks })
    })
}

pub extern "win64" fn inspect_complete(
    socket: *mut sys::Socket,
    id: *mut sys::InspectId,
    action: sys::InspectAction,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskInspectComplete", socket, &[Category::Listen], irp, |provider, socket, request| {
        // SAFETY: the driver passes the id that WskInspectEvent gave it.
        let id = unsafe { id.as_ref() }.filter(|id| id.key == socket.object() as usize);
        let status =
            id.map_or(status::INVALID_PARAMETER, |id| socket.inspect_complete(provider, id.serial_number, action));
        provider.conclude(request, status, 0)
    })
}

impl Socket {
    /// Binds, and starts to listen if that is what the socket is for.
    pub fn bind(&self, inner: &mut Inner, local: SocketAddr) -> Status {
        let (Phase::Unbound, Some(host)) = (inner.phase, &inner.host) else {
            return inner.phase.refusal();
        };
        match host.bind(local) {
            Ok(local) => {
                inner.local = Some(local);
                inner.phase = Phase::Bound;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Self::sharing(inner),
            Err(error) => return status::of_host(&error),
        }
        if self.category == Category::Listen { start_listening(inner) } else { status::SUCCESS }
    }

    /// What binding to an address that is in use comes to, by the table of *Sharing Transport Addresses*. The first socket is bound
    /// to the same specific address, as everything in the lab is.
    fn sharing(inner: &Inner) -> Status {
        if inner.options.is_set((SOL_SOCKET, SO_REUSEADDR)) {
            status::ACCESS_DENIED
        } else {
            status::ADDRESS_ALREADY_EXISTS
        }
    }

    /// Takes the next connection that has arrived.
    pub fn accept(
        &self,
        provider: &Arc<Provider>,
        inner: &mut Inner,
        local: *mut sys::SockAddr,
        remote: *mut sys::SockAddr,
        callbacks: Callbacks,
    ) -> Outcome {
        if inner.phase != Phase::Listening {
            return Outcome::Done(inner.phase.refusal(), 0);
        }
        let inherited = inner.options.inherited();
        let accepted = Self::next_arrival(inner).and_then(|arrival| {
            let socket = self.make_accepted(provider, arrival, callbacks, inherited)?;
            let (at, from) = {
                let inner = socket.inner.lock();
                (inner.local, inner.remote)
            };
            for (place, found) in [(local, at), (remote, from)] {
                if let Some(found) = found {
                    // SAFETY: the driver gave a place for an address of the socket's family, until the IRP is completed.
                    unsafe { address::write(place, found) };
                }
            }
            Ok((status::SUCCESS, socket.object() as usize))
        });
        accepted.into()
    }
}

fn start_listening(inner: &mut Inner) -> Status {
    let (Phase::Bound, Some(host)) = (inner.phase, &inner.host) else {
        return inner.phase.refusal();
    };
    match host.listen() {
        Ok(()) => {
            inner.phase = Phase::Listening;
            inner.role = Category::Listen;
            status::SUCCESS
        }
        // As if it had not been bound: the address is another listener's.
        Err(error) => {
            let status = status::of_host(&error);
            inner.host = None;
            inner.phase = Phase::Failed(status);
            status
        }
    }
}
