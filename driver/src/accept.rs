//! Accepts: one at a time is out at WSK for each listening socket (two crash Windows), the rest wait in the driver.

use crate::clock;
use crate::irp::Irp;
use crate::operation::Outgoing;
use crate::pool::Ref;
use crate::queue::{Owner, Parked};
use crate::socket::{Phase, Socket, Spec};
use crate::table::Entry;
use core::ptr::NonNull;
use wdk_sys::NTSTATUS;
use wsk::{Passive, sys};
use wskclient_abi::{AcceptReply, Kind, Role, STATUS_PENDING, WsaError};

/// An accept whose input is valid, on a socket that the caller is inside of.
pub fn accept(listener: Entry<'_>, irp: Irp) -> NTSTATUS {
    if listener.role() != Role::Listen {
        return irp.complete(WsaError::NotSupported.status(), 0);
    }
    // The first one goes out at once.
    let first = listener.with_state(|state| {
        let listening = state.phase == Phase::Listening;
        let first = listening && !state.accepting;
        state.accepting |= first;
        listening.then_some(first)
    });
    let Some(first) = first else { return irp.complete(WsaError::Invalid.status(), 0) };
    listener.client().take(Kind::Accept);
    irp.mark_pending();
    if first {
        issue(&listener, irp, clock::now());
    } else {
        park(listener, irp);
    }
    STATUS_PENDING
}

/// Lets an accept wait, inside the listener's gate.
fn park(listener: Entry<'_>, irp: Irp) {
    // SAFETY: the entry keeps the socket.
    let socket = unsafe { Ref::again(&*listener) };
    socket.accepts.park(Parked::new(irp, Owner::Socket(listener.into_owned()), Kind::Accept));
    let (accepting, closing) = socket.with_state(|state| (state.accepting, state.closing));
    if closing {
        // The close may have cancelled what waited before this one did.
        socket.cancel_accepts();
    } else if !accepting {
        // The one that was out came back meanwhile.
        socket.queue_work();
    }
}

/// Hands the next waiting accept to WSK, if none is out. On the worker.
pub fn issue_waiting(socket: &Ref<Socket>, _: Passive) {
    let free = socket.with_state(|state| !core::mem::replace(&mut state.accepting, true));
    if !free {
        return;
    }
    if let Some(Parked { irp, owner: Owner::Socket(entry), since, .. }) = socket.accepts.pop() {
        return issue(&entry, irp, since);
    }
    socket.with_state(|state| state.accepting = false);
    // One that came meanwhile saw an accept out, and does not call again.
    if !socket.accepts.is_empty() {
        socket.queue_work();
    }
}

/// Hands an accept to WSK that was taken at `since`. The caller is inside the listener's gate and has marked the listener as accepting, and the IRP is counted and marked pending.
fn issue(listener: &Socket, mut irp: Irp, since: u64) {
    let reserved = match Socket::try_new(listener.client(), Spec { role: Role::Connection, ..*listener.spec() }) {
        Ok(reserved) => reserved,
        Err(status) => return fail(listener, irp, ended_by_teardown(status)),
    };
    let (operation, wsk) = match listener.begin_taken(Kind::Accept, &irp, since, |_| Ok(())) {
        Ok(begun) => begun,
        Err(status) => {
            reserved.discard();
            return fail(listener, irp, status);
        }
    };
    let (local, remote) = addresses(&mut irp);
    let mut outgoing = Outgoing::new(operation, irp);
    outgoing.reserve(reserved);
    let status = match (wsk, local, remote) {
        // SAFETY: inside the gate; a listening socket with no other accept out; the addresses are in the IRP's system buffer.
        (Some(wsk), Some(local), Some(remote)) => unsafe { wsk.accept(local, remote, outgoing.irp()) },
        _ => wsk::NOT_IMPLEMENTED,
    };
    outgoing.called(listener, status);
}

/// The accept was taken while the provider was up: if it is not any more, its teardown ends the accept (contract: CARD-3).
fn ended_by_teardown(status: NTSTATUS) -> NTSTATUS {
    if status == WsaError::NotInitialised.status() { WsaError::OperationAborted.status() } else { status }
}

/// Where WSK writes the addresses: in the reply, which is zeroed.
fn addresses(irp: &mut Irp) -> (Option<NonNull<sys::SockAddr>>, Option<NonNull<sys::SockAddr>>) {
    use core::mem::offset_of;
    if irp.zero_reply::<AcceptReply>().is_err() {
        return (None, None);
    }
    let reply = irp.system_buffer();
    let at = |offset| NonNull::new(reply.wrapping_add(offset).cast());
    (at(offset_of!(AcceptReply, local)), at(offset_of!(AcceptReply, remote)))
}

/// An accept that could not go out.
fn fail(listener: &Socket, irp: Irp, status: NTSTATUS) {
    listener.with_state(|state| state.accepting = false);
    listener.client().complete(irp, Kind::Accept, status, 0);
    if !listener.accepts.is_empty() {
        listener.queue_work();
    }
}
