//! Accepts: one at a time is out at WSK for each listening socket (two crash Windows), the rest wait in the driver.

use crate::cancel::blocks;
use crate::clock;
use crate::events::ACCEPTABLE;
use crate::irp::Irp;
use crate::operation::Outgoing;
use crate::queue::{Owner, Parked};
use crate::socket::{Phase, Socket, SocketState, Spec};
use crate::table::Entry;
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU8, Ordering};
use wdk_sys::NTSTATUS;
use wsk::{Passive, Ref, sys};
use wskclient_abi::{AcceptReply, Ioctl, Kind, Role, STATUS_PENDING, STATUS_SUCCESS, WsaError};

/// Whether a request that waits among the accepts is one: it may also wait for a connection, which blocks nobody.
pub fn is_blocking(irp: &Irp) -> bool {
    let (code, ..) = irp.device_control();
    Ioctl::from_code(code).is_some_and(|ioctl| blocks(ioctl.kind()))
}

/// A blocking accept that the worker has taken from the queue and that is not pending yet (contract: WSA-7).
///
/// It is noted under the queue's lock, and let go of under the socket's, where the accept becomes pending: who looks at the queue and
/// this, and then at what is pending, does not miss it. It belongs to who has marked the listener as accepting.
pub struct InHand(AtomicU8);

const NOTHING: u8 = 0;
const AN_ACCEPT: u8 = 1;
const INTERRUPTED: u8 = 2;

impl InHand {
    /// Nothing is.
    pub const fn nothing() -> Self {
        Self(AtomicU8::new(NOTHING))
    }

    /// Whether nothing is.
    pub fn is_nothing(&self) -> bool {
        self.0.load(Ordering::Acquire) == NOTHING
    }

    /// Interrupts the accept, if there is one: it does not go out.
    pub fn interrupt(&self) -> bool {
        self.0.compare_exchange(AN_ACCEPT, INTERRUPTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn take(&self, kind: Kind) {
        if blocks(kind) {
            self.0.store(AN_ACCEPT, Ordering::Release);
        }
    }

    /// # Errors
    /// `WSAEINTR`: it was interrupted.
    fn let_go(&self) -> Result<(), WsaError> {
        if self.0.swap(NOTHING, Ordering::AcqRel) == INTERRUPTED { Err(WsaError::Interrupted) } else { Ok(()) }
    }
}

/// An accept whose input is valid, on a socket that the caller is inside of. Of another kind, `Events`, it is a request that waits for a
/// connection, and leaves it for the next accept.
pub fn accept(listener: Entry<'_>, irp: Irp, kind: Kind) -> NTSTATUS {
    if listener.role() != Role::Listen {
        return irp.complete(WsaError::NotSupported.status(), 0);
    }
    let begun = listener.client().charge(&irp, kind).and_then(|charge| {
        let first = listener.with_state(|state| state.begin_accept(kind))?;
        charge.take();
        Ok(first)
    });
    let first = match begun {
        Ok(first) => first,
        Err(error) => return irp.complete(error.status(), 0),
    };
    irp.mark_pending();
    // The first one goes out at once.
    if first {
        issue(&listener, irp, kind, clock::now());
    } else {
        park(listener, irp, kind);
    }
    STATUS_PENDING
}

impl SocketState {
    /// Whether an accept that is taken now is the one that goes out.
    fn begin_accept(&mut self, kind: Kind) -> Result<bool, WsaError> {
        if self.phase != Phase::Listening {
            return Err(WsaError::Invalid);
        }
        if kind == Kind::Events {
            self.happened.begin()?;
        }
        Ok(!core::mem::replace(&mut self.accepting, true))
    }
}

/// Lets an accept wait, inside the listener's gate.
fn park(listener: Entry<'_>, irp: Irp, kind: Kind) {
    // SAFETY: the entry keeps the socket.
    let socket = unsafe { Ref::again(&*listener) };
    socket.accepts.park(Parked::new(irp, Owner::Socket(listener.into_owned()), kind));
    let (accepting, closing) = socket.with_state(|state| (state.accepting, state.closing));
    if closing {
        // The close may have cancelled what waited before this one did.
        socket.cancel_waiting();
    } else if !accepting {
        // The one that was out came back meanwhile.
        socket.queue_work();
    }
}

/// Hands the next waiting accept to WSK, if there is one and none is out. On the worker.
pub fn issue_waiting(socket: &Ref<Socket>, _: Passive) {
    let free = socket.with_state(|state| {
        let handed_on = core::mem::take(&mut state.handing_on);
        !core::mem::replace(&mut state.accepting, true) || handed_on
    });
    if !free {
        return;
    }
    if let Some(Parked { irp, owner: Owner::Socket(entry), kind, since }) =
        socket.accepts.pop_noting(|kind| socket.in_hand.take(kind))
    {
        return issue(&entry, irp, kind, since);
    }
    socket.with_state(|state| state.accepting = false);
    // One that came meanwhile saw an accept out, and does not call again.
    if !socket.accepts.is_empty() {
        socket.queue_work();
    }
}

/// Hands an accept to WSK that was taken at `since`, unless a connection is there already. The caller is inside the listener's gate and
/// has marked the listener as accepting, and the IRP is counted and marked pending.
fn issue(listener: &Socket, mut irp: Irp, kind: Kind, since: u64) {
    if let Some(length) = take_ready(listener, &mut irp, kind) {
        return end(listener, irp, kind, STATUS_SUCCESS, length);
    }
    let reserved = match Socket::try_new(listener.client(), Spec { role: Role::Connection, ..*listener.spec() }) {
        Ok(reserved) => reserved,
        Err(status) => return end(listener, irp, kind, ended_by_teardown(status), 0),
    };
    let (operation, wsk) = match listener.begin_taken(kind, &irp, since, |_| listener.in_hand.let_go()) {
        Ok(begun) => begun,
        Err(status) => {
            reserved.discard();
            return end(listener, irp, kind, status, 0);
        }
    };
    let reply = match kind {
        Kind::Events => reserved.arrival().cast(),
        _ if irp.zero_reply::<AcceptReply>().is_ok() => irp.system_buffer(),
        _ => null_mut(),
    };
    let (local, remote) = (at(reply, offset_of!(AcceptReply, local)), at(reply, offset_of!(AcceptReply, remote)));
    let callbacks = reserved.callbacks();
    let mut outgoing = Outgoing::new(operation, irp);
    outgoing.reserve(reserved);
    let status = match (wsk, local, remote) {
        // SAFETY: inside the gate; a listening socket with no other accept out; the addresses are in the IRP's system buffer or in the
        // new socket, which stays until WSK has closed it.
        (Some(wsk), Some(local), Some(remote)) => unsafe { wsk.accept(callbacks, local, remote, outgoing.irp()) },
        _ => wsk::NOT_IMPLEMENTED,
    };
    outgoing.called(listener, status);
}

/// Answers a request with the connection that is there already: an accept takes it.
fn take_ready(listener: &Socket, irp: &mut Irp, kind: Kind) -> Option<usize> {
    if kind == Kind::Events {
        return listener.with_state(|state| state.ready.is_some()).then(|| irp.reply(&ACCEPTABLE));
    }
    let connection = listener.with_state(|state| state.ready.take())?;
    // SAFETY: WSK has written it, and only the listener had the connection.
    let reply = unsafe { connection.arrival().read() };
    Some(irp.reply(&reply))
}

/// The accept was taken while the provider was up: if it is not any more, its teardown ends the accept (contract: CARD-3).
fn ended_by_teardown(status: NTSTATUS) -> NTSTATUS {
    if status == WsaError::NotInitialised.status() { WsaError::OperationAborted.status() } else { status }
}

/// A place in a reply, if there is one.
const fn at(reply: *mut u8, offset: usize) -> Option<NonNull<sys::SockAddr>> {
    if reply.is_null() { None } else { NonNull::new(reply.wrapping_add(offset).cast()) }
}

/// Completes an accept that does not go out, or not again.
fn end(listener: &Socket, irp: Irp, kind: Kind, status: NTSTATUS, information: usize) {
    // It ends here, interrupted or not.
    let _was_interrupted = listener.in_hand.let_go();
    if kind == Kind::Events {
        listener.with_state(|state| state.happened.end());
    }
    listener.accept_is_back();
    listener.client().complete(irp, kind, status, information);
}
