//! Datagrams: sent to an address, or to the peer that a connect fixed; received with the address that they came from.

use crate::irp::Irp;
use crate::nt;
use crate::request::Data;
use crate::requests::{answer, hand_over, refuse};
use crate::socket::{Phase, SendSide, Socket, SocketState};
use crate::table::Entry;
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};
use wdk_sys::NTSTATUS;
use wsk::sys::{AF_INET, AddressFamily, SockAddr, SockAddrIn, SockAddrIn6};
use wskclient_abi::{
    Address, AddressReply, Connect, Kind, MAX_DATAGRAM, ReceivedFrom, STATUS_SUCCESS, WsaError, is_error,
};

/// A datagram socket's peer.
#[derive(Clone, Copy)]
pub struct Peer {
    /// The address that is fixed, if one is.
    address: Option<Address>,
    /// A connect is out.
    changing: bool,
}

impl Peer {
    /// None.
    pub const fn none() -> Self {
        Self { address: None, changing: false }
    }
}

/// Fixes the peer.
pub fn connect(socket: &Entry<'_>, irp: Irp, address: NonNull<SockAddr>) -> NTSTATUS {
    let length = if socket.spec().family == AF_INET { size_of::<SockAddrIn>() } else { size_of::<SockAddrIn6>() };
    let step = |state: &mut SocketState| {
        state.can_exchange_datagrams()?;
        if core::mem::replace(&mut state.peer.changing, true) { Err(WsaError::Already) } else { Ok(()) }
    };
    hand_over(socket, irp, Kind::Connect, step, |wsk, outgoing| {
        // SAFETY: inside the gate; bound, of this category; a valid address of its family in the IRP's system buffer.
        unsafe { wsk.set_remote_address(address, length, outgoing.irp()) }
    })
}

/// Sends to an address, or to the peer.
pub fn send(
    socket: &Entry<'_>,
    irp: Irp,
    kind: Kind,
    data: &Data,
    to: Option<(AddressFamily, NonNull<SockAddr>)>,
) -> NTSTATUS {
    if data.length > MAX_DATAGRAM as usize {
        return refuse(irp, WsaError::MessageSize);
    }
    if to.is_some_and(|(family, _)| family != socket.spec().family) {
        return refuse(irp, WsaError::FamilyNotSupported);
    }
    let without_peer = if kind == Kind::SendTo { WsaError::DestinationAddressRequired } else { WsaError::NotConnected };
    let step = |state: &mut SocketState| {
        state.can_exchange_datagrams()?;
        match state.peer.address {
            None if to.is_none() => Err(without_peer),
            _ if state.send_side.is_over() => Err(WsaError::Shutdown),
            _ => Ok(()),
        }
    };
    hand_over(socket, irp, kind, step, |wsk, outgoing| {
        let remote = to.map_or(null_mut(), |(_, address)| address.as_ptr());
        let buffer = outgoing.buffer(data);
        // SAFETY: inside the gate; bound, of this category; the buffer is the IRP's; so is the address, without which one is fixed.
        unsafe { wsk.send_to(buffer, remote, outgoing.irp()) }
    })
}

/// Receives, without the sender's address.
pub fn receive(socket: &Entry<'_>, irp: Irp, data: &Data) -> NTSTATUS {
    hand_over(socket, irp, Kind::Receive, SocketState::can_receive_datagrams, |wsk, outgoing| {
        let buffer = outgoing.buffer(data);
        // SAFETY: inside the gate; bound, of this category; the buffer is the IRP's.
        unsafe { wsk.receive_from(buffer, null_mut(), null_mut(), outgoing.irp()) }
    })
}

/// Receives. WSK writes the sender's address and the flags straight into the caller's locked buffer, before the data: the IRP owns
/// their memory as it owns the data's, until it completes.
pub fn receive_from(socket: &Entry<'_>, irp: Irp, data: &Data) -> NTSTATUS {
    let header = NonNull::new(data.mdl).map_or(null_mut(), |mdl| {
        // SAFETY: the I/O manager has locked the pages.
        unsafe { nt::system_address(mdl) }
    });
    if header.is_null() {
        return refuse(irp, WsaError::NoBuffers);
    }
    let address = header.wrapping_add(offset_of!(ReceivedFrom, address)).cast();
    let flags = header.wrapping_add(offset_of!(ReceivedFrom, flags)).cast();
    hand_over(socket, irp, Kind::ReceiveFrom, SocketState::can_receive_datagrams, |wsk, outgoing| {
        // Not before the request is taken: one that is refused changes nothing.
        // SAFETY: decoding has found room for the header.
        unsafe { header.write_bytes(0, size_of::<ReceivedFrom>()) };
        let buffer = outgoing.buffer(data);
        // SAFETY: inside the gate; bound, of this category; the buffer is the IRP's, and so are both places: 28 bytes and 4.
        unsafe { wsk.receive_from(buffer, address, flags, outgoing.irp()) }
    })
}

/// Says the peer's address.
pub fn peer_address(socket: &Entry<'_>, irp: Irp) -> NTSTATUS {
    answer(socket, irp, Kind::Address, |state, irp| {
        let address = state.peer.address.ok_or(WsaError::NotConnected)?;
        Ok(irp.reply(&AddressReply { address, reserved: 0 }))
    })
}

/// Ends the sending. There is no connection to tell of it.
pub fn shut_down(socket: &Entry<'_>, irp: Irp) -> NTSTATUS {
    answer(socket, irp, Kind::Shutdown, |state, _| {
        state.send_side = SendSide::Ended;
        Ok(0)
    })
}

impl Socket {
    /// The peer has been fixed, or not.
    pub fn peer_fixed(&self, status: NTSTATUS, irp: &Irp) -> (NTSTATUS, usize) {
        // Nobody has written the input since it was decoded.
        let address = irp.input().map(|Connect { address, .. }| address).ok();
        self.with_state(|state| {
            state.peer.changing = false;
            if status == STATUS_SUCCESS {
                state.peer.address = address;
            }
        });
        (self.verdict(status), 0)
    }

    /// A datagram has been received, whole or as far as it fitted, or not.
    pub fn received_from(&self, status: NTSTATUS, information: usize) -> (NTSTATUS, usize) {
        let header = if is_error(status) { 0 } else { size_of::<ReceivedFrom>() };
        (self.verdict(status), information.wrapping_add(header))
    }
}

impl SocketState {
    fn can_receive_datagrams(&mut self) -> Result<(), WsaError> {
        self.happened.received();
        self.can_exchange_datagrams()
    }

    /// Whether the socket is bound.
    fn can_exchange_datagrams(&mut self) -> Result<(), WsaError> {
        if self.phase == Phase::Bound { Ok(()) } else { Err(WsaError::Invalid) }
    }
}
