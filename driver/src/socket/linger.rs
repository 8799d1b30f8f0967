//! A graceful close: what was sent before it still arrives (contract: WSP-6, X-4).
//!
//! It escalates by itself: the sends that are out end, WSK disconnects gracefully, the peer's end of the stream is waited for, and WSK
//! gets the socket back, which then resets nothing. At the deadline, or when the teardown of a provider that does not wait comes by,
//! whatever is still missing is left out and the close aborts.

use super::{Held, Phase, SendSide, Socket, SocketState};
use crate::cancel::Why;
use crate::nt;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::take;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering;
use wdk_sys::{KDPC, KTIMER, LARGE_INTEGER, NTSTATUS, ntddk};
use wsk::{Arrived, Claim, OutOfPool, OwnIrp, Ref, Returned, Running, SocketRef, sys, try_box};
use wskclient_abi::{Kind, STATUS_PENDING, STATUS_SUCCESS};

/// How far a graceful close has come. [`Stage::Over`] is also that of a close that is not graceful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Sends are still out.
    Sending,
    /// `WskDisconnect` is out.
    Disconnecting,
    /// The peer's end of the stream is to be waited for.
    Disconnected,
    /// It is being waited for: a draining `WskReceive` is out.
    Draining,
    /// Nothing more is waited for.
    Over,
}

/// The graceful close of a socket, if there is one.
pub struct Lingering {
    /// Set when it begins.
    pub linger: Option<Box<Linger>>,
    /// How far it has come.
    pub stage: Stage,
    /// Its IRP is out at WSK.
    pub irp_out: bool,
    /// Its timer is set, or the timer's DPC is on the way.
    pub timer_out: bool,
}

impl Lingering {
    /// The close is not graceful.
    pub const fn none() -> Self {
        Self { linger: None, stage: Stage::Over, irp_out: false, timer_out: false }
    }

    /// Whether nothing of it is out.
    pub const fn is_back(&self) -> bool {
        !self.irp_out && !self.timer_out
    }

    /// Ends it before its end. False if there is nothing to end.
    fn cut(&mut self) -> bool {
        let lingers = self.linger.is_some() && self.stage != Stage::Over;
        if lingers {
            self.stage = Stage::Over;
        }
        lingers
    }
}

/// What a graceful close needs, allocated before it begins: so it can't fail half-way.
///
/// # Invariants
/// - `irp` is out at WSK while the state says `irp_out`; `timer` is set, or its DPC on the way, while it says `timer_out`. The
///   socket, and so this, stays until neither does.
pub struct Linger {
    irp: OwnIrp,
    claim: Claim,
    buffer: UnsafeCell<sys::Buf>,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    milliseconds: u32,
}

impl Linger {
    /// Everything for a close that lingers so long.
    pub fn try_new(milliseconds: u32) -> Result<Box<Self>, OutOfPool> {
        // A value that finds no pool is dropped, and its IRP with it.
        try_box(Self {
            irp: OwnIrp::try_new()?,
            claim: Claim::new(),
            buffer: UnsafeCell::new(sys::Buf { mdl: null_mut(), offset: 0, length: 0 }),
            // SAFETY: a KTIMER is plain data.
            timer: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            // SAFETY: a KDPC is plain data.
            dpc: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            milliseconds,
        })
    }
}

impl SocketState {
    /// Whether a close of this socket can linger: it has a connection.
    pub(super) fn can_linger(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether a graceful close has something to do, now that a request is over: its sends have ended, or one of them has failed and
    /// ended it.
    pub(super) fn linger_goes_on(&self) -> bool {
        match self.lingering.stage {
            Stage::Sending => !self.sends_are_out(),
            Stage::Over => self.lingering.linger.is_some() && self.held == Held::ByWsk,
            Stage::Disconnecting | Stage::Disconnected | Stage::Draining => false,
        }
    }

    /// Whether a request is out that a graceful close waits for.
    pub(super) fn sends_are_out(&self) -> bool {
        self.records.pending().any(|operation| is_waited_for(operation.kind()))
    }
}

/// Whether a graceful close waits for requests of that kind.
const fn is_waited_for(kind: Kind) -> bool {
    matches!(kind, Kind::Send | Kind::Shutdown)
}

impl Socket {
    /// Sets the deadline of a close that has begun to linger. The caller has set `timer_out`.
    pub(super) fn arm(&self, linger: NonNull<Linger>) {
        // SAFETY: whoever calls has the socket, so a reference to it exists.
        let context = unsafe { Ref::again(self) }.into_raw();
        // SAFETY: the socket stays while `timer_out` is set, and this with it.
        let linger = unsafe { linger.as_ref() };
        // SAFETY: nonpaged, and stays where it is.
        unsafe { ntddk::KeInitializeTimer(linger.timer.get()) };
        // SAFETY: nonpaged, and stays where it is; the routine is right for the context, which it takes over.
        unsafe { ntddk::KeInitializeDpc(linger.dpc.get(), Some(deadline), context.as_ptr().cast()) };
        // Relative, in units of 100 nanoseconds.
        let due = LARGE_INTEGER { QuadPart: i64::from(linger.milliseconds).wrapping_mul(-10_000) };
        // SAFETY: both initialised just now.
        let _was_set = unsafe { ntddk::KeSetTimer(linger.timer.get(), due, linger.dpc.get()) };
    }

    /// Takes the deadline back, if it has not come. Called when WSK has the socket back.
    pub(super) fn disarm(&self) {
        // Also when the deadline has come: a system that still uses the timer after its DPC (Wine) is waited for so.
        let timer = self.state.lock().lingering.linger.as_ref().map(|linger| linger.timer.get());
        let Some(timer) = timer else { return };
        // SAFETY: initialised by `arm`; the caller has the socket.
        let cancelled = unsafe { ntddk::KeCancelTimer(timer) } != 0;
        if cancelled && take(&mut self.state.lock().lingering.timer_out) {
            // SAFETY: the reference that `arm` gave up: the DPC has not run and won't.
            drop(unsafe { Ref::from_raw(NonNull::from(self)) });
        }
    }

    /// Ends the lingering, if there is any: a teardown does not wait for it.
    pub fn cut_linger(&self) {
        let cut = self.state.lock().lingering.cut();
        if cut {
            self.client.driver().linger_cut();
            self.queue_work();
        }
    }

    /// Disconnects gracefully. On the worker, with the gate drained.
    pub(super) fn disconnect(&self, wsk: SocketRef) {
        // SAFETY: the gate has drained, and the socket is closed after this; connected.
        self.hand_out_linger(|irp, _| unsafe { wsk.disconnect(0, irp) });
    }

    /// Waits for the peer's end of the stream. On the worker, with the gate drained.
    pub(super) fn drain(&self, wsk: SocketRef) {
        // SAFETY: the gate has drained, and the socket is closed after this; connected; a drain has no buffer.
        self.hand_out_linger(|irp, buffer| unsafe { wsk.receive(buffer, sys::FLAG_DRAIN, irp) });
    }

    fn hand_out_linger(&self, call: impl FnOnce(NonNull<sys::Irp>, NonNull<sys::Buf>) -> NTSTATUS) {
        let linger = self.state.lock().lingering.linger.as_deref().map(NonNull::from);
        let Some(linger) = linger else { return };
        // SAFETY: the socket stays while `irp_out` is set, and this with it.
        let linger = unsafe { linger.as_ref() };
        linger.claim.renew();
        // SAFETY: ours: not out until the call below (invariant).
        unsafe { linger.irp.reuse() };
        // SAFETY: whoever calls has the socket, so a reference to it exists.
        let context = unsafe { Ref::again(self) }.into_raw();
        // SAFETY: ours; the routine takes the context over.
        unsafe { linger.irp.set_completion_routine(linger_completed, context.as_ptr().cast()) };
        // SAFETY: a field of a live object is not null.
        let buffer = unsafe { NonNull::new_unchecked(linger.buffer.get()) };
        let status = call(linger.irp.as_ptr(), buffer);
        match linger.claim.returned(status == STATUS_PENDING) {
            Returned::Outstanding | Returned::Finished => {}
            Returned::NeverTaken => {
                // SAFETY: the routine won't run: the context is ours again.
                let socket = unsafe { Ref::from_raw(context) };
                socket.lingered(false);
            }
        }
    }

    /// A step of the lingering has come back.
    fn lingered(&self, success: bool) {
        let mut state = self.state.lock();
        state.lingering.irp_out = false;
        state.lingering.stage = match state.lingering.stage {
            // It fails also where a shutdown that was cancelled had ended the stream: the drain finds out.
            Stage::Disconnecting if success || state.send_side == SendSide::Unknown => Stage::Disconnected,
            _ => Stage::Over,
        };
        if state.held == Held::ByWsk {
            drop(state);
            self.queue_work();
        } else {
            self.finish_if_over(state);
        }
    }

    /// Cancels what a close that lingers does not wait for: everything but sends and shutdowns.
    pub(super) fn cancel_all_but_sends(&self) {
        self.cancel_pending(Why::Aborted, |operation| !is_waited_for(operation.kind()));
    }

    pub(super) fn lingers(&self, by: i32) {
        let lingering = &self.client.lingering;
        if by > 0 {
            lingering.fetch_add(1, Ordering::Relaxed)
        } else {
            lingering.fetch_sub(1, Ordering::Relaxed)
        };
    }
}

/// WSK has disconnected, or drained. At any IRQL up to `DISPATCH_LEVEL`, perhaps inside the call.
unsafe extern "C" fn linger_completed(_device: *mut c_void, irp: *mut sys::Irp, context: *mut c_void) -> NTSTATUS {
    let _running = Running::enter(context);
    // SAFETY: what `hand_out_linger` gave up is not null.
    let socket: NonNull<Socket> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the reference that `hand_out_linger` gave up.
    let socket = unsafe { Ref::from_raw(socket) };
    // SAFETY: WSK gives the IRP that it was given.
    let irp = unsafe { nt::non_null(irp.cast()) };
    // SAFETY: completed, and ours.
    let (status, _) = unsafe { nt::io_status(irp) };
    let claim = socket.state.lock().lingering.linger.as_deref().map(|linger| NonNull::from(&linger.claim));
    if let Some(claim) = claim {
        // SAFETY: the socket stays while `irp_out` is set, and this with it.
        let (Arrived::End | Arrived::Leave) = unsafe { claim.as_ref() }.arrived();
    }
    socket.lingered(status == STATUS_SUCCESS);
    wsk::MORE_PROCESSING_REQUIRED
}

/// The deadline of a graceful close has come. At `DISPATCH_LEVEL`.
unsafe extern "C" fn deadline(_dpc: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    let _running = Running::enter(context);
    // SAFETY: what `arm` gave up is not null.
    let socket: NonNull<Socket> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the reference that `arm` gave up.
    let socket = unsafe { Ref::from_raw(socket) };
    let mut state = socket.state.lock();
    state.lingering.timer_out = false;
    if state.lingering.cut() {
        drop(state);
        socket.client.driver().linger_cut();
        socket.queue_work();
    } else {
        socket.finish_if_over(state);
    }
}
