//! A socket's pending set: the records of its requests that are out, and those that are free for more.
//!
//! A record is allocated when more requests are out at once than the socket has records for, and kept for the next request: what is
//! asked again and again allocates nothing. No more than [`SPARE`] are kept, so that what a socket holds is bounded by what is
//! pending on it.

use super::Socket;
use crate::accept::is_blocking;
use crate::cancel::{Why, blocks};
use crate::client::Opener;
use crate::clock;
use crate::irp::Irp;
use crate::list::{Links, List};
use crate::operation::{HeldRequests, Operation};
use crate::socket::SocketState;
use alloc::boxed::Box;
use core::ptr::NonNull;
use wdk_sys::NTSTATUS;
use wsk::{Ref, SocketRef, try_box};
use wskclient_abi::{Kind, WsaError};

/// Free records that a socket keeps.
const SPARE: u32 = 16;

/// The records of a socket.
///
/// # Invariants
/// - Every record of the socket's is in one of the two lists, but for those whose requests have left the pending set and whose calls
///   have not returned.
/// - `spare` is the length of `free`.
pub(super) struct Records {
    pending: List,
    /// Requests that have left the pending set and whose IRPs are not complete.
    completing: u32,
    free: List,
    spare: u32,
}

impl Records {
    pub(super) const fn none() -> Self {
        Self { pending: List::new(), completing: 0, free: List::new(), spare: 0 }
    }

    /// Whether every request is over, and its IRP complete.
    pub(super) const fn are_over(&self) -> bool {
        self.pending.is_empty() && self.completing == 0
    }

    /// Those of the requests that are out, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Operation> {
        let mut next = self.pending.first();
        core::iter::from_fn(move || {
            let links = next?;
            // SAFETY: in the list, which is borrowed from its owner's lock.
            next = unsafe { Links::after(links) };
            // SAFETY: pending, so the record is there while the lock is held.
            Some(unsafe { Operation::from_links(links).as_ref() })
        })
    }

    /// A free record, which is in no list now.
    fn take_free(&mut self) -> Option<NonNull<Operation>> {
        let links = self.free.pop()?;
        // INVARIANT: one less.
        self.spare = self.spare.wrapping_sub(1);
        Some(Operation::from_links(links))
    }

    /// Keeps a record for the next request, unless there are enough: then it is the caller's to free.
    ///
    /// # Safety
    /// The record is the socket's, in no list, and nobody uses it.
    unsafe fn keep(&mut self, operation: NonNull<Operation>) -> Option<NonNull<Operation>> {
        if self.spare >= SPARE {
            return Some(operation);
        }
        // SAFETY: the caller's promise.
        unsafe { self.free.push(operation.cast()) };
        // INVARIANT: one more.
        self.spare = self.spare.wrapping_add(1);
        None
    }

    /// Frees the free records. For a socket that goes: it has no others then.
    pub(super) fn free(&mut self) {
        while let Some(operation) = self.take_free() {
            // SAFETY: in no list now; a free record is nobody's.
            unsafe { free(operation) };
        }
    }
}

/// Frees a record.
///
/// # Safety
/// It is in no list, and nobody uses it.
unsafe fn free(operation: NonNull<Operation>) {
    // SAFETY: from `add_operation`, freed this once.
    drop(unsafe { Box::from_raw(operation.as_ptr()) });
}

impl Socket {
    /// Begins a request: makes sure that the socket's state allows it, changes the state as `step` says, and links a record into the
    /// pending set.
    ///
    /// # Errors
    /// What `step` says, or `WSAENOBUFS`; nothing is changed.
    pub fn begin(
        &self,
        kind: Kind,
        irp: &Irp,
        step: impl FnOnce(&mut SocketState) -> Result<(), WsaError>,
    ) -> Result<(NonNull<Operation>, Option<SocketRef>), NTSTATUS> {
        self.begin_taken(kind, irp, clock::now(), step)
    }

    /// As [`begin`](Self::begin), for a request that was taken at `since`.
    ///
    /// # Errors
    /// As `begin`.
    pub fn begin_taken(
        &self,
        kind: Kind,
        irp: &Irp,
        since: u64,
        step: impl FnOnce(&mut SocketState) -> Result<(), WsaError>,
    ) -> Result<(NonNull<Operation>, Option<SocketRef>), NTSTATUS> {
        loop {
            let mut state = self.state.lock();
            if state.records.free.is_empty() {
                drop(state);
                if self.add_operation() {
                    continue;
                }
                return Err(WsaError::NoBuffers.status());
            }
            if state.closing {
                // The caller came in before the close, and too late for it to see this request.
                return Err(WsaError::OperationAborted.status());
            }
            step(&mut state).map_err(WsaError::status)?;
            let Some(mut operation) = state.records.take_free() else {
                return Err(WsaError::NoBuffers.status());
            };
            // SAFETY: whoever calls has the socket, so a reference to it exists.
            let socket = unsafe { Ref::again(self) };
            // SAFETY: a free record is nobody's.
            unsafe { operation.as_mut() }.begin(socket, kind, irp, since);
            // SAFETY: in no list now.
            unsafe { state.records.pending.push(operation.cast()) };
            return Ok((operation, state.wsk));
        }
    }

    /// Adds a free record; false if pool ran out.
    pub(super) fn add_operation(&self) -> bool {
        let Ok(operation) = try_box(Operation::new()) else {
            return false;
        };
        // SAFETY: new, so in no list.
        unsafe { self.recycle(NonNull::from(Box::leak(operation))) };
        true
    }

    /// A record's request is over, but for the completion of its IRP: until [`completed`](Self::completed) the socket stays. The
    /// record is free if the call has returned.
    ///
    /// # Safety
    /// The record is in the pending set, and its claim has told the caller to end the request.
    pub unsafe fn take_back(&self, operation: NonNull<Operation>) {
        let mut state = self.state.lock();
        // SAFETY: the caller's promise.
        unsafe { state.records.pending.remove(operation.cast()) };
        state.records.completing = state.records.completing.wrapping_add(1);
        // SAFETY: the record stays until this party has come by.
        let is_free = unsafe { operation.as_ref() }.ended();
        // SAFETY: in no list now, and nobody uses it any more.
        let surplus = if is_free { unsafe { state.records.keep(operation) } } else { None };
        drop(state);
        if let Some(surplus) = surplus {
            // SAFETY: not kept, so still in no list.
            unsafe { free(surplus) };
        }
    }

    /// The IRP of a request that was taken back is complete.
    pub fn completed(&self) {
        let mut state = self.state.lock();
        state.records.completing = state.records.completing.wrapping_sub(1);
        if state.linger_goes_on() {
            drop(state);
            self.queue_work();
        } else {
            self.finish_if_over(state);
        }
    }

    /// Takes a record back.
    ///
    /// # Safety
    /// The record is the socket's, unlinked, and has no user.
    pub unsafe fn recycle(&self, operation: NonNull<Operation>) {
        // SAFETY: the caller's promise.
        let surplus = unsafe { self.state.lock().records.keep(operation) };
        if let Some(surplus) = surplus {
            // SAFETY: not kept, so still in no list.
            unsafe { free(surplus) };
        }
    }

    /// Cancels the creation that came through a handle, and ends the waiting of closes that did. What these wait for goes on: it is not the
    /// handle's (contract: WSP-6).
    pub fn cancel_creation_and_closes_of(&self, opener: Opener) {
        self.closes.drain_of(opener, |parked| parked.complete(WsaError::OperationAborted.status(), 0));
        self.cancel_pending(Why::Aborted, |operation| {
            operation.kind() == Kind::Socket && operation.came_through(opener)
        });
    }

    /// Cancels the requests that came through a handle: those that wait here, and those that are out at WSK.
    pub fn cancel_requests_of(&self, opener: Opener) {
        for queue in [&self.accepts, &self.events] {
            queue.drain_of(opener, |parked| parked.complete(WsaError::OperationAborted.status(), 0));
        }
        self.cancel_pending(Why::Aborted, |operation| operation.came_through(opener));
    }

    /// Whether a call is out, or waits, that blocks a client which knows no overlapped I/O.
    pub fn has_blocking_calls(&self) -> bool {
        // In the order in which an accept goes from one place to the next.
        !self.accepts.has_none_and(is_blocking, || self.in_hand.is_nothing())
            || self.state.lock().records.pending().any(|operation| blocks(operation.kind()))
    }

    /// Cancels the blocking calls of a client that knows no overlapped I/O; how many.
    pub fn cancel_blocking_calls(&self) -> u32 {
        let mut count = 0_u32;
        while let Some(parked) = self.accepts.pop_where(is_blocking) {
            parked.complete(WsaError::Interrupted.status(), 0);
            count = count.wrapping_add(1);
        }
        count = count.wrapping_add(u32::from(self.in_hand.interrupt()));
        count.wrapping_add(self.cancel_pending(Why::Interrupted, |operation| blocks(operation.kind())))
    }

    /// Cancels those of the requests that are out which are wanted and were not cancelled before; how many. They are held in one pass,
    /// and cancelled with no lock held.
    pub(super) fn cancel_pending(&self, why: Why, wanted: impl Fn(&Operation) -> bool) -> u32 {
        let mut held = HeldRequests::none();
        let state = self.state.lock();
        for operation in state.records.pending() {
            if wanted(operation) && operation.hold_for_cancel(why) {
                held.add(operation);
            }
        }
        drop(state);
        held.cancel()
    }
}
