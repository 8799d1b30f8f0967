//! What came of a request on a socket: what the socket takes note of, and what its caller is told.

use super::linger::Stage;
use super::{Held, Phase, Socket};
use crate::irp::Irp;
use core::sync::atomic::Ordering;
use wdk_sys::{NTSTATUS, STATUS_HANDLES_CLOSED};
use wsk::{Ref, SocketRef};
use wskclient_abi::{
    AcceptReply, AddressReply, Kind, Role, STATUS_SUCCESS, SocketHandle, SocketReply, WsaError, is_error,
};

impl Socket {
    /// Takes note of what came of a request, and returns what its caller is told.
    pub fn outcome(
        &self,
        kind: Kind,
        status: NTSTATUS,
        information: usize,
        reserved: Option<Ref<Self>>,
        irp: &mut Irp,
    ) -> (NTSTATUS, usize) {
        match kind {
            Kind::Socket => self.opened(status, information, irp),
            Kind::Bind => self.moved(status, Phase::Bound, Phase::Created),
            Kind::Connect if self.role() == Role::Datagram => self.peer_fixed(status, irp),
            Kind::ReceiveFrom => self.received_from(status, information),
            Kind::Connect => {
                let answer = self.moved(status, Phase::Connected, Phase::Bound);
                self.connect_ended(answer.0);
                answer
            }
            Kind::Events => self.arrived(reserved, status, information, irp),
            Kind::Accept => self.accepted(reserved, status, information, irp),
            Kind::Address => self.address(status, irp),
            Kind::Shutdown => self.shut_down(status),
            Kind::GetOption => self.option_read(status, information, irp),
            Kind::IoControl => self.controlled(status, irp),
            Kind::SetOption => (self.verdict(status), 0),
            Kind::Send => self.sent(status, information),
            _ => (self.verdict(status), information),
        }
    }

    /// A request that fails while its socket is being closed was cancelled by that, whatever WSK calls it (contract: CARD-3): Wine's has
    /// a warning for it.
    pub fn verdict(&self, status: NTSTATUS) -> NTSTATUS {
        let failed = is_error(status) || status == STATUS_HANDLES_CLOSED;
        if failed && self.state.lock().closing { WsaError::OperationAborted.status() } else { status }
    }

    fn sent(&self, status: NTSTATUS, information: usize) -> (NTSTATUS, usize) {
        if status < 0 {
            // A stream that lacks what was to be sent does not end as if it were whole.
            self.state.lock().lingering.stage = Stage::Over;
        }
        (self.verdict(status), information)
    }

    fn moved(&self, status: NTSTATUS, success: Phase, failure: Phase) -> (NTSTATUS, usize) {
        self.state.lock().phase = if status == STATUS_SUCCESS { success } else { failure };
        (self.verdict(status), 0)
    }

    fn address(&self, status: NTSTATUS, irp: &mut Irp) -> (NTSTATUS, usize) {
        // WSK has written the address where the reply is.
        let length = if status == STATUS_SUCCESS { irp.amend_reply(|_: &mut AddressReply| ()) } else { 0 };
        (self.verdict(status), length)
    }

    fn shut_down(&self, status: NTSTATUS) -> (NTSTATUS, usize) {
        self.state.lock().send_side.shutdown_ended(status);
        (self.verdict(status), 0)
    }

    fn opened(&self, status: NTSTATUS, information: usize, irp: &mut Irp) -> (NTSTATUS, usize) {
        match self.arrive(status, information, Phase::Created) {
            Ok(socket) => (STATUS_SUCCESS, irp.reply(&SocketReply { socket })),
            Err(status) => (status, 0),
        }
    }

    fn accepted(
        &self,
        reserved: Option<Ref<Self>>,
        status: NTSTATUS,
        information: usize,
        irp: &mut Irp,
    ) -> (NTSTATUS, usize) {
        self.accept_is_back();
        let Some(reserved) = reserved else {
            return (WsaError::NoBuffers.status(), 0);
        };
        match reserved.arrive(status, information, Phase::Connected) {
            Ok(socket) => (STATUS_SUCCESS, irp.amend_reply(|reply: &mut AcceptReply| reply.socket = socket)),
            Err(status) => {
                reserved.discard();
                (self.verdict(status), 0)
            }
        }
    }

    /// As [`accepted`](Self::accepted), for who waits for a connection: it is kept for the next accept.
    fn arrived(
        &self,
        reserved: Option<Ref<Self>>,
        status: NTSTATUS,
        information: usize,
        irp: &mut Irp,
    ) -> (NTSTATUS, usize) {
        let arrival = match &reserved {
            Some(reserved) => reserved.arrive(status, information, Phase::Connected),
            None => Err(WsaError::NoBuffers.status()),
        };
        let answer = match (arrival, reserved) {
            (Ok(socket), Some(reserved)) => self.keep_ready(socket, reserved, irp),
            (Err(status), Some(reserved)) => {
                reserved.discard();
                (self.verdict(status), 0)
            }
            (_, None) => (WsaError::NoBuffers.status(), 0),
        };
        self.state.lock().happened.end();
        self.accept_is_back();
        answer
    }

    fn keep_ready(&self, handle: SocketHandle, connection: Ref<Self>, irp: &mut Irp) -> (NTSTATUS, usize) {
        // SAFETY: WSK has written the addresses, and nobody else has the connection.
        unsafe { (*connection.arrival()).socket = handle };
        let mut state = self.state.lock();
        if state.closing {
            drop(state);
            connection.close();
            return (WsaError::OperationAborted.status(), 0);
        }
        state.ready = Some(connection);
        drop(state);
        (STATUS_SUCCESS, irp.reply(&crate::events::ACCEPTABLE))
    }

    /// The accept that was out at WSK is back, or did not go out: another may go, the oldest that waits before any that comes now.
    pub fn accept_is_back(&self) {
        let waits = !self.accepts.is_empty();
        self.with_state(|state| {
            state.handing_on = waits;
            state.accepting = waits;
        });
        // One that has come since may have found this one still out.
        if waits || !self.accepts.is_empty() {
            self.queue_work();
        }
    }

    /// WSK has answered for a socket that was opening: it may be used from now on, unless it is being closed already.
    fn arrive(&self, status: NTSTATUS, information: usize, phase: Phase) -> Result<SocketHandle, NTSTATUS> {
        let mut state = self.state.lock();
        let wsk = SocketRef::from_information(information).filter(|_| status == STATUS_SUCCESS);
        state.wsk = wsk;
        if wsk.is_none() {
            state.held = Held::Gone;
            let closing = state.closing;
            drop(state);
            let failed = if status < 0 { status } else { WsaError::NetworkDown.status() };
            return Err(if closing { WsaError::OperationAborted.status() } else { failed });
        }
        state.phase = phase;
        if state.closing {
            drop(state);
            self.queue_work();
            return Err(WsaError::OperationAborted.status());
        }
        // Under the lock, so that a close finds the gate open or the socket opening.
        self.client.open.fetch_add(1, Ordering::Relaxed);
        let published = self.client.table.publish(self.slot);
        state.handle = published.unwrap_or_default();
        drop(state);
        if self.client.is_dead() {
            // The last handle's cleanup may have come by too early to see the socket.
            self.close();
        }
        published.ok_or(WsaError::NoBuffers.status())
    }

    /// Lets go of a socket that WSK never made, and that no request is pending on.
    pub fn discard(&self) {
        let mut state = self.state.lock();
        if state.wsk.is_none() {
            state.held = Held::Gone;
            self.finish_if_over(state);
        }
    }
}
