//! What a socket has that has not ended: its requests, and its close.

use super::linger::Stage;
use super::{Held, Phase, Socket, SocketState};
use crate::operation::Operation;
use crate::outstanding::Closing;
use wskclient_abi::{Awaited, Kind, SocketHandle};

impl Socket {
    /// Looks at its pending requests: the socket's handle, the kind, and when each was taken. `visit` is called under a spin lock.
    pub fn requests(&self, mut visit: impl FnMut(SocketHandle, Kind, u64)) {
        let state = self.state.lock();
        let handle = state.handle;
        for operation in state.records.pending() {
            visit(handle, operation.kind(), operation.since());
        }
        if state.close_request.is_some() {
            visit(handle, Kind::Close, state.closing_since);
        }
        drop(state);
        for queue in [&self.accepts, &self.events, &self.closes] {
            queue.for_each(|_, kind, since| visit(handle, kind, since));
        }
    }

    /// What its close waits for; none if it is not being closed, or gone.
    pub fn closing(&self) -> Option<Closing> {
        let drained = self.client.table.is_drained(self.slot);
        let state = self.state.lock();
        if !state.closing || state.held == Held::Finished {
            return None;
        }
        let kind = state.records.pending().next().map(Operation::kind);
        let awaited = state.awaited(drained, kind.is_some());
        Some(Closing { socket: state.handle, awaited, kind, since: state.closing_since })
    }
}

impl SocketState {
    fn awaited(&self, drained: bool, pending: bool) -> Awaited {
        match self.held {
            Held::Closing => Awaited::CloseSocket,
            Held::ByWsk if self.phase == Phase::Opening => Awaited::Request,
            Held::ByWsk if !drained => Awaited::Call,
            Held::ByWsk => match self.lingering.stage {
                Stage::Sending if self.sends_are_out() => Awaited::Sends,
                Stage::Disconnecting => Awaited::Disconnect,
                Stage::Draining => Awaited::PeerClose,
                Stage::Sending | Stage::Disconnected | Stage::Over => Awaited::Worker,
            },
            Held::Gone if pending => Awaited::Request,
            Held::Gone | Held::Finished => Awaited::Worker,
        }
    }
}
