//! Binding, listening and accepting.
//!
//! One idea: a listening socket listens as soon as it is bound; connections that nobody has accepted yet wait in the host.
//!
//! Source: *`WskBind`*, *`WskListen`*, *`WskAccept`*, *`WskInspectComplete`*, *Listening for and Accepting Incoming Connections*.

use std::net::SocketAddr;
use std::sync::Arc;

use wsk::sys;

use super::Provider;
use super::lanes::{Op, Outcome};
use super::rules;
use super::socket::{Category, Inner, New, Phase, Socket};
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
        provider.conclude(request, status, 0)
    })
}

pub extern "win64" fn accept(
    socket: *mut sys::Socket,
    _flags: u32,
    _context: *mut std::ffi::c_void,
    _dispatch: *const sys::ClientConnectionDispatch,
    local: *mut sys::SockAddr,
    remote: *mut sys::SockAddr,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskAccept", socket, ACCEPTS, irp, |provider, socket, request| {
        if !socket.inner.lock().lanes[0].is_empty() {
            let message = format!("WskAccept was called on {socket}, on which another is outstanding");
            return Err(record(&rules::PARALLEL_ACCEPTS, message, Vec::new()));
        }
        socket.submit(provider, request, Op::Accept { local, remote })
    })
}

pub extern "win64" fn inspect_complete(
    socket: *mut sys::Socket,
    _id: *mut sys::InspectId,
    _action: sys::InspectAction,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::socket_call("WskInspectComplete", socket, &[Category::Listen], irp, |provider, _, request| {
        provider.conclude(request, status::NOT_IMPLEMENTED, 0)
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
            Err(error) => return status::of_host(&error),
        }
        if self.category == Category::Listen { start_listening(inner) } else { status::SUCCESS }
    }

    /// Takes the next connection that has arrived.
    pub fn accept(
        &self,
        provider: &Arc<Provider>,
        inner: &Inner,
        local: *mut sys::SockAddr,
        remote: *mut sys::SockAddr,
    ) -> Outcome {
        let (Phase::Listening, Some(host)) = (inner.phase, &inner.host) else {
            return Outcome::Done(inner.phase.refusal(), 0);
        };
        let accepted = host.accept().and_then(|(host, from)| {
            let at = host.local()?;
            let new = New {
                category: Category::Connection,
                family: self.family,
                tcp: true,
                client: Arc::clone(&self.client),
                phase: Phase::Connected,
                local: Some(at),
                remote: Some(from),
            };
            let socket = provider.add_socket(host, new)?;
            // SAFETY: the driver gave a place for an address of the socket's family, until the IRP is completed.
            unsafe { address::write(local, at) };
            // SAFETY: as above.
            unsafe { address::write(remote, from) };
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
