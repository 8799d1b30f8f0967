//! Requests on sockets: each is checked against the socket's state and handed to WSK with its own IRP and buffer.

use crate::client::Client;
use crate::irp::Irp;
use crate::operation::Outgoing;
use crate::request::{Data, SocketRequest};
use crate::socket::{Ending, Phase, SendSide, Socket, SocketState, Spec};
use crate::table::Entry;
use crate::target::Target;
use crate::{accept, datagram, events, options};
use core::ptr::NonNull;
use wdk_sys::NTSTATUS;
use wsk::{NOT_IMPLEMENTED, Ref, SocketRef, sys};
use wskclient_abi::{AddressReply, Kind, Role, STATUS_SUCCESS, SocketHandle, WsaError};

/// Creates a socket.
pub fn open(client: &Ref<Client>, irp: Irp, spec: Spec) -> NTSTATUS {
    let begun = client.charge(&irp, Kind::Socket).map_err(WsaError::status).and_then(|charge| {
        let socket = Socket::try_new(client, spec)?;
        let (operation, _) = socket.begin(Kind::Socket, &irp, |_| Ok(())).inspect_err(|_| socket.discard())?;
        charge.take();
        Ok((socket, operation))
    });
    let (socket, operation) = match begun {
        Ok(begun) => begun,
        Err(status) => return irp.complete(status, 0),
    };
    let outgoing = Outgoing::new(operation, irp);
    let status = match client.driver().subsystem.provider() {
        // SAFETY: the socket is inside the instance's gate, so the capture is kept; it stays until WSK has closed it.
        Some(wsk) => unsafe { wsk.socket(spec.family, socket.category(), socket.callbacks(), outgoing.irp()) },
        None => WsaError::NetworkDown.status(),
    };
    outgoing.called(&socket, status)
}

/// Serves a request on a socket.
pub fn on_socket(client: &Client, irp: Irp, handle: SocketHandle, request: SocketRequest) -> NTSTATUS {
    let Some(socket) = client.table.enter(handle) else {
        return irp.complete(no_socket(client).status(), 0);
    };
    match request {
        SocketRequest::Bind(family, _) | SocketRequest::Connect(family, _) if family != socket.spec().family => {
            irp.complete(WsaError::FamilyNotSupported.status(), 0)
        }
        SocketRequest::Bind(_, address) => hand_over(
            &socket,
            irp,
            Kind::Bind,
            |state| state.advance(&[Phase::Created], Phase::Binding),
            // SAFETY: inside the gate; a valid address of its family in the IRP's system buffer.
            |wsk, outgoing| unsafe { wsk.bind(socket.category(), address, outgoing.irp()) },
        ),
        SocketRequest::Listen => listen(&socket, irp),
        SocketRequest::Accept => accept::accept(socket, irp, Kind::Accept),
        SocketRequest::Events(mask) => events::wait(socket, irp, mask),
        SocketRequest::Connect(_, address) if socket.role() == Role::Datagram => {
            datagram::connect(&socket, irp, address)
        }
        SocketRequest::Connect(_, address) => hand_over_if(
            &socket,
            irp,
            Kind::Connect,
            |state| state.advance(&[Phase::Bound], Phase::Connecting),
            // SAFETY: inside the gate; bound, of this category; a valid address of its family in the IRP's system buffer.
            |wsk, outgoing| unsafe { wsk.connect(address, outgoing.irp()) },
        ),
        SocketRequest::LocalAddress => address(&socket, irp, SocketState::bound, |wsk, at, outgoing| {
            // SAFETY: inside the gate; bound, of this category; the address goes to the IRP's system buffer.
            unsafe { wsk.local_address(socket.category(), at, outgoing.irp()) }
        }),
        SocketRequest::PeerAddress if socket.role() == Role::Datagram => datagram::peer_address(&socket, irp),
        SocketRequest::PeerAddress if socket.role() != Role::Connection => {
            irp.complete(WsaError::NotSupported.status(), 0)
        }
        SocketRequest::PeerAddress => address(&socket, irp, SocketState::connected, |wsk, at, outgoing| {
            // SAFETY: inside the gate; connected; the address goes to the IRP's system buffer.
            unsafe { wsk.remote_address(at, outgoing.irp()) }
        }),
        SocketRequest::Shutdown(0) if socket.role() == Role::Datagram => datagram::shut_down(&socket, irp),
        SocketRequest::Shutdown(flags) => {
            let step = |state: &mut SocketState| state.begin_shutdown(flags);
            hand_over_if(&socket, irp, Kind::Shutdown, step, |wsk, outgoing| {
                // SAFETY: inside the gate; connected.
                unsafe { wsk.disconnect(flags, outgoing.irp()) }
            })
        }
        SocketRequest::Send(data) if socket.role() == Role::Datagram => {
            datagram::send(&socket, irp, Kind::Send, &data, None)
        }
        SocketRequest::Send(data) => send(&socket, irp, &data),
        SocketRequest::Receive(data, 0) if socket.role() == Role::Datagram => datagram::receive(&socket, irp, &data),
        SocketRequest::Receive(data, flags) => receive(&socket, irp, &data, flags),
        SocketRequest::SendTo(..) | SocketRequest::ReceiveFrom(_) if socket.role() != Role::Datagram => {
            refuse(irp, WsaError::NotSupported)
        }
        SocketRequest::SendTo(data, to) => datagram::send(&socket, irp, Kind::SendTo, &data, to),
        SocketRequest::ReceiveFrom(data) => datagram::receive_from(&socket, irp, &data),
        SocketRequest::GetOption(option) => options::get(&socket, irp, option),
        SocketRequest::SetOption(option, value) => options::set(&socket, irp, option, value),
        SocketRequest::Control(control) => options::control(&socket, irp, control),
        SocketRequest::CloseGracefully(milliseconds) => close(&socket, irp, Ending::InBackground(milliseconds)),
        SocketRequest::Close => {
            let ending = socket.with_state(|state| Ending::of(state.linger_option));
            close(&socket, irp, ending)
        }
    }
}

fn close(socket: &Entry<'_>, irp: Irp, ending: Ending) -> NTSTATUS {
    match socket.close_for(irp, ending) {
        Ok(status) => status,
        Err((irp, error)) => refuse(irp, error),
    }
}

/// What a handle that names no open socket means (contract: WSA-1, X-5).
fn no_socket(client: &Client) -> WsaError {
    let with_sockets = Target::ALL.into_iter().filter(|target| target.policy().has_sockets);
    let started = with_sockets.into_iter().any(|target| client.instance(target).references() != 0);
    if started { WsaError::NotSocket } else { WsaError::NotInitialised }
}

fn listen(socket: &Entry<'_>, irp: Irp) -> NTSTATUS {
    if socket.role() != Role::Listen {
        return irp.complete(WsaError::NotSupported.status(), 0);
    }
    answer(socket, irp, Kind::Listen, |state, _| {
        state.advance(&[Phase::Bound, Phase::Listening], Phase::Listening)?;
        Ok(0)
    })
}

/// Sends on a connection. Nothing is sent at once (*send function*: a length of zero is permissible and treated as successful).
fn send(socket: &Entry<'_>, irp: Irp, data: &Data) -> NTSTATUS {
    if data.length != 0 || socket.role() != Role::Connection {
        return hand_over_if(socket, irp, Kind::Send, SocketState::can_send, |wsk, outgoing| {
            let buffer = outgoing.buffer(data);
            // SAFETY: inside the gate; connected; the buffer is the IRP's MDL, exactly.
            unsafe { wsk.send(buffer, 0, outgoing.irp()) }
        });
    }
    answer(socket, irp, Kind::Send, |state, _| {
        state.can_send()?;
        Ok(0)
    })
}

/// Receives on a connection: at least one byte (*recv function*: for byte stream sockets a length of zero is `WSAEINVAL`).
fn receive(socket: &Entry<'_>, irp: Irp, data: &Data, flags: u32) -> NTSTATUS {
    if data.length == 0 && socket.role() == Role::Connection {
        return refuse(irp, WsaError::Invalid);
    }
    let step = |state: &mut SocketState| {
        state.happened.received();
        state.connected()
    };
    hand_over_if(socket, irp, Kind::Receive, step, |wsk, outgoing| {
        let buffer = outgoing.buffer(data);
        // SAFETY: inside the gate; connected; the buffer is the IRP's MDL, exactly.
        unsafe { wsk.receive(buffer, flags, outgoing.irp()) }
    })
}

/// Serves a request that WSK is not asked about, as long as there is WSK (contract: WSA-6): `step` looks at the state or changes it,
/// and answers the length of the reply that it writes.
pub fn answer(
    socket: &Socket,
    mut irp: Irp,
    kind: Kind,
    step: impl FnOnce(&mut SocketState, &mut Irp) -> Result<usize, WsaError>,
) -> NTSTATUS {
    let client = socket.client();
    if !client.driver().subsystem.is_served() {
        return refuse(irp, WsaError::NetworkDown);
    }
    match socket.with_state(|state| step(state, &mut irp)) {
        Ok(length) => {
            client.take_in_passing(&irp, kind);
            client.complete(irp, kind, STATUS_SUCCESS, length)
        }
        Err(error) => refuse(irp, error),
    }
}

/// Completes a request that is not taken.
pub fn refuse(irp: Irp, error: WsaError) -> NTSTATUS {
    irp.complete(error.status(), 0)
}

/// Asks WSK for an address, which it writes into the IRP's system buffer.
fn address(
    socket: &Entry<'_>,
    mut irp: Irp,
    step: impl FnOnce(&mut SocketState) -> Result<(), WsaError>,
    call: impl FnOnce(SocketRef, NonNull<sys::SockAddr>, &mut Outgoing) -> NTSTATUS,
) -> NTSTATUS {
    let zeroed = irp.zero_reply::<AddressReply>();
    let (Ok(()), Some(at)) = (zeroed, NonNull::new(irp.system_buffer().cast())) else {
        return irp.complete(WsaError::Fault.status(), 0);
    };
    hand_over(socket, irp, Kind::Address, step, |wsk, outgoing| call(wsk, at, outgoing))
}

/// As [`hand_over`], for sockets that connect.
fn hand_over_if(
    socket: &Entry<'_>,
    irp: Irp,
    kind: Kind,
    step: impl FnOnce(&mut SocketState) -> Result<(), WsaError>,
    call: impl FnOnce(SocketRef, &mut Outgoing) -> NTSTATUS,
) -> NTSTATUS {
    if socket.role() == Role::Connection {
        hand_over(socket, irp, kind, step, call)
    } else {
        irp.complete(WsaError::NotSupported.status(), 0)
    }
}

/// Hands a request to WSK: if the socket's state allows it, with its own IRP.
pub fn hand_over(
    socket: &Entry<'_>,
    irp: Irp,
    kind: Kind,
    step: impl FnOnce(&mut SocketState) -> Result<(), WsaError>,
    call: impl FnOnce(SocketRef, &mut Outgoing) -> NTSTATUS,
) -> NTSTATUS {
    let charge = match socket.client().charge(&irp, kind) {
        Ok(charge) => charge,
        Err(error) => return refuse(irp, error),
    };
    let (operation, wsk) = match socket.begin(kind, &irp, step) {
        Ok(begun) => begun,
        Err(status) => {
            // Before the caller is told, who may ask for something else.
            drop(charge);
            return irp.complete(status, 0);
        }
    };
    charge.take();
    let mut outgoing = Outgoing::new(operation, irp);
    let status = wsk.map_or(NOT_IMPLEMENTED, |wsk| call(wsk, &mut outgoing));
    outgoing.called(socket, status)
}

impl SocketState {
    /// From one of `from` to `to`.
    fn advance(&mut self, from: &[Phase], to: Phase) -> Result<(), WsaError> {
        if from.contains(&self.phase) {
            self.phase = to;
            return Ok(());
        }
        Err(match self.phase {
            Phase::Binding | Phase::Connecting => WsaError::Already,
            Phase::Connected if to == Phase::Connecting => WsaError::IsConnected,
            _ => WsaError::Invalid,
        })
    }

    pub fn connected(&mut self) -> Result<(), WsaError> {
        if self.phase == Phase::Connected { Ok(()) } else { Err(WsaError::NotConnected) }
    }

    fn bound(&mut self) -> Result<(), WsaError> {
        match self.phase {
            Phase::Opening | Phase::Created | Phase::Binding => Err(WsaError::Invalid),
            Phase::Bound | Phase::Listening | Phase::Connecting | Phase::Connected => Ok(()),
        }
    }

    fn can_send(&mut self) -> Result<(), WsaError> {
        self.connected()?;
        if self.send_side.is_over() { Err(WsaError::Shutdown) } else { Ok(()) }
    }

    /// A graceful shutdown happens once; an abortive one may follow it.
    fn begin_shutdown(&mut self, flags: u32) -> Result<(), WsaError> {
        self.connected()?;
        if self.send_side.is_over() && flags & sys::FLAG_ABORTIVE == 0 {
            return Err(WsaError::Shutdown);
        }
        if self.send_side != SendSide::Ended {
            self.send_side = SendSide::Ending;
        }
        Ok(())
    }
}
