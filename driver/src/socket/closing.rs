//! The end of a socket: closed, given back to WSK, gone.
//!
//! Closing has four steps, each taken by whoever makes it possible: nobody comes in any more (the closer); nobody is in a call (the
//! last to leave the gate); WSK has it back (`WskCloseSocket`'s completion); no request is pending (the last completion).

use super::linger::{Linger, Lingering, Stage};
use super::{Held, Phase, Socket, SocketState};
use crate::client::Client;
use crate::clock;
use crate::irp::Irp;
use crate::lock::Guard;
use crate::queue::{Owner, Parked};
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use wdk_sys::NTSTATUS;
use wsk::{Arrived, Ref, Returned, Running, SocketRef, sys};
use wskclient_abi::{Close, Kind, Linger as LingerOption, STATUS_PENDING, STATUS_SUCCESS, WsaError};
use wskclient_lifecycle::Closed;

/// How a close that was asked for ends the socket.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// At once.
    Abort,
    /// Gracefully, within so many milliseconds or the driver's deadline. The close completes at once.
    InBackground(Option<u32>),
    /// Gracefully, within so many milliseconds. The close completes when it is over.
    Awaited(u32),
}

impl Ending {
    /// What a close without flags does.
    pub fn of(option: LingerOption) -> Self {
        match (option.l_onoff, option.l_linger) {
            (0, _) => Self::InBackground(None),
            (_, 0) => Self::Abort,
            (_, seconds) => Self::Awaited(u32::from(seconds).saturating_mul(1000).min(Close::LONGEST_LINGER)),
        }
    }
}

impl Socket {
    /// Closes the socket for the teardown, once: nobody comes in any more; the worker gives it back to WSK when nobody is in a call.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if !state.begin_close(&self.client) {
            drop(state);
            if !self.spec.target.policy().lingers_at_teardown {
                self.cut_linger();
            }
            return;
        }
        let opening = state.phase == Phase::Opening;
        drop(state);
        if !opening {
            self.close_gate();
            self.cancel_waiting();
        }
    }

    /// As [`close`](Self::close), for a request. One that aborts completes when WSK has the socket back; a graceful one at once or when
    /// it is over, and what was sent before it still arrives. A socket without a connection is just closed. The caller is inside the
    /// gate.
    ///
    /// # Errors
    /// `WSAENOTSOCK` if it is being closed already, `WSAENOBUFS`; nothing is changed, and the IRP is the caller's.
    pub fn close_for(&self, irp: Irp, ending: Ending) -> Result<NTSTATUS, (Irp, WsaError)> {
        let milliseconds = match ending {
            Ending::Abort => return self.abort_for(irp),
            Ending::InBackground(None) => self.client.driver().parameters.linger_deadline,
            Ending::InBackground(Some(milliseconds)) | Ending::Awaited(milliseconds) => milliseconds,
        };
        let Ok(linger) = Linger::try_new(milliseconds) else { return Err((irp, WsaError::NoBuffers)) };
        let mut state = self.state.lock();
        if !state.can_linger() {
            drop(state);
            return self.abort_for(irp);
        }
        if !state.begin_close(&self.client) {
            drop(state);
            return Err((irp, WsaError::NotSocket));
        }
        state.lingering = Lingering { linger: None, stage: Stage::Sending, irp_out: false, timer_out: true };
        let linger = NonNull::from(&**state.lingering.linger.insert(linger));
        drop(state);
        self.client.closing.fetch_sub(1, Ordering::Relaxed);
        self.lingers(1);
        self.arm(linger);
        self.client.take(Kind::Close);
        let at_once = if matches!(ending, Ending::Awaited(_)) {
            self.await_close(irp);
            None
        } else {
            Some(irp)
        };
        self.close_gate();
        self.cancel_waiting();
        self.cancel_all_but_sends();
        Ok(at_once.map_or(STATUS_PENDING, |irp| self.client.complete(irp, Kind::Close, STATUS_SUCCESS, 0)))
    }

    fn abort_for(&self, irp: Irp) -> Result<NTSTATUS, (Irp, WsaError)> {
        let mut state = self.state.lock();
        if !state.begin_close(&self.client) {
            drop(state);
            return Err((irp, WsaError::NotSocket));
        }
        irp.mark_pending();
        state.close_request = Some(irp);
        drop(state);
        self.client.take(Kind::Close);
        self.close_gate();
        self.cancel_waiting();
        Ok(STATUS_PENDING)
    }

    /// Lets a close wait until the lingering is over, which it can't be before the gate is closed. If it is cancelled, only the waiting
    /// ends.
    fn await_close(&self, irp: Irp) {
        irp.mark_pending();
        self.client.instance(self.spec.target).enter_again();
        // SAFETY: whoever calls has the socket, so a reference to it exists.
        let owner = Owner::Closing(unsafe { Ref::again(self) });
        self.closes.park(Parked::new(irp, owner, Kind::Close));
    }

    /// Cancels the accepts that wait, and who waits for events: nobody comes in any more, and each of them is inside. A connection
    /// that nobody has accepted goes too.
    pub fn cancel_waiting(&self) {
        for queue in [&self.accepts, &self.events] {
            while let Some(parked) = queue.pop() {
                parked.complete(WsaError::OperationAborted.status(), 0);
            }
        }
        let ready = self.state.lock().ready.take();
        if let Some(connection) = ready {
            connection.close();
        }
    }

    fn close_gate(&self) {
        match self.client.table.close(self.slot) {
            Closed::Empty | Closed::Already => self.queue_work(),
            // The last to leave will.
            Closed::Draining => {}
        }
    }

    /// Gives the socket back to WSK. On the worker.
    pub(super) fn give_back(&self, wsk: SocketRef) {
        // SAFETY: whoever calls has the socket, so a reference to it exists.
        let context = unsafe { Ref::again(self) }.into_raw();
        // SAFETY: nobody's until this call (invariant); the routine takes the context over.
        unsafe { self.close_irp.set_completion_routine(close_completed, context.as_ptr().cast()) };
        // SAFETY: the gate has drained, and this is the one close.
        let status = unsafe { wsk.close(self.close_irp.as_ptr()) };
        match self.close_claim.returned(status == STATUS_PENDING) {
            Returned::Outstanding | Returned::Finished => {}
            Returned::NeverTaken => {
                // SAFETY: the routine won't run: the context is ours again.
                drop(unsafe { Ref::from_raw(context) });
                self.given_back();
            }
        }
    }

    /// WSK has nothing of the socket's left, but perhaps requests whose completion is still under way.
    fn given_back(&self) {
        let mut state = self.state.lock();
        state.held = Held::Gone;
        drop(state);
        self.disarm();
        self.finish_if_over(self.state.lock());
    }

    pub(super) fn finish_if_over(&self, mut state: Guard<'_, SocketState>) {
        if state.held == Held::Gone && state.records.are_over() && state.lingering.is_back() {
            state.held = Held::Finished;
            let (closing, lingers, request) =
                (state.closing, state.lingering.linger.is_some(), state.close_request.take());
            drop(state);
            if lingers {
                self.lingers(-1);
            } else if closing {
                self.client.closing.fetch_sub(1, Ordering::Relaxed);
            }
            self.finish(request);
        }
    }

    /// The end: the socket leaves its instance and its slot, the close that asked for it completes.
    fn finish(&self, request: Option<Irp>) {
        // SAFETY: whoever calls has the socket, so a reference to it exists; the slot's may be the last but this.
        let socket = unsafe { Ref::again(self) };
        let instance = self.client.instance(self.spec.target);
        instance.remove(&socket);
        self.client.table.release(self.slot);
        if let Some(irp) = request {
            self.client.complete(irp, Kind::Close, STATUS_SUCCESS, 0);
        }
        while let Some(parked) = self.closes.pop() {
            parked.complete(STATUS_SUCCESS, 0);
        }
        instance.leave(&self.client);
        if instance.is_awaited() || self.client.leaves_sockets() {
            // Perhaps only sockets that linger are left.
            self.client.queue_work();
        }
    }

    /// What is to be done next for a socket that is being closed, once nobody is in a call. On the worker.
    pub(super) fn next_step(&self) -> Option<(Step, SocketRef)> {
        let mut state = self.state.lock();
        let due = state.closing
            && state.held == Held::ByWsk
            && state.phase != Phase::Opening
            && self.client.table.is_drained(self.slot);
        let wsk = state.wsk.filter(|_| due)?;
        let step = match state.lingering.stage {
            Stage::Sending if state.sends_are_out() => return None,
            Stage::Sending if state.send_side.is_over() => state.hand_out(Stage::Draining, Step::Drain),
            Stage::Sending => state.hand_out(Stage::Disconnecting, Step::Disconnect),
            Stage::Disconnected => state.hand_out(Stage::Draining, Step::Drain),
            Stage::Disconnecting | Stage::Draining => return None,
            Stage::Over => {
                state.held = Held::Closing;
                Step::GiveBack
            }
        };
        Some((step, wsk))
    }
}

/// What the worker does for a socket that is being closed.
pub(super) enum Step {
    /// Disconnect gracefully.
    Disconnect,
    /// Wait for the peer's end of the stream.
    Drain,
    /// Give it back to WSK.
    GiveBack,
}

impl SocketState {
    fn hand_out(&mut self, stage: Stage, step: Step) -> Step {
        self.lingering.stage = stage;
        self.lingering.irp_out = true;
        step
    }

    pub(super) fn begin_close(&mut self, client: &Client) -> bool {
        let first = !self.closing && matches!(self.held, Held::ByWsk);
        if first {
            self.closing = true;
            self.closing_since = clock::now();
            client.driver().watchdog.watch();
            client.closing.fetch_add(1, Ordering::Relaxed);
            if self.phase != Phase::Opening {
                client.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
        first
    }
}

/// WSK has closed the socket. At any IRQL up to `DISPATCH_LEVEL`, perhaps inside the call.
unsafe extern "C" fn close_completed(_device: *mut c_void, _irp: *mut sys::Irp, context: *mut c_void) -> NTSTATUS {
    let _running = Running::enter(context);
    // SAFETY: what `give_back` gave up is not null.
    let socket: NonNull<Socket> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the reference that `give_back` gave up.
    let socket = unsafe { Ref::from_raw(socket) };
    let (Arrived::End | Arrived::Leave) = socket.close_claim.arrived();
    socket.given_back();
    wsk::MORE_PROCESSING_REQUIRED
}
