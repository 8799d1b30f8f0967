//! An operation that is under way at WSK, and everything that it lent to WSK.
//!
//! One idea: there is one record for each operation, in pool, with two references to it: the owner's [`Operation`], and WSK's, from
//! before the call until the IRP has come back. The IRP, the MDL, the `WSK_BUF` and every address and length that WSK was told of are
//! part of the record or owned by it. So an owner who drops the operation gives nothing back that WSK has: whoever is last frees it.
//!
//! ```text
//!                        ┌── completion routine ──┐
//! start ── WSK call ─────┤                        ├──▶ ended, once ──▶ the outcome: waited for, given to a closure, or dropped
//!             │          └── canceller, if it ────┘
//!             │               held the IRP
//!             └── the call failed and the routine has not run: the IRP was never taken, and the caller ends it
//! ```

use crate::client::Hold;
use crate::kernel::{Event, EventKind, MORE_PROCESSING_REQUIRED, OwnIrp};
use crate::rendezvous::Rendezvous;
use crate::socket::{Handle, SocketState};
use crate::{
    Arrived, Buffer, Claim, Error, OutOfPool, Passive, Ref, Returned, Running, address::Storage, sys, try_box,
};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::time::Duration;
use sys::NtStatus;

/// `STATUS_PENDING`.
pub(crate) const PENDING: NtStatus = 0x103;
/// `STATUS_UNSUCCESSFUL`: a call took no IRP and did not say why.
pub(crate) const UNSUCCESSFUL: NtStatus = 0xC000_0001_u32.cast_signed();

/// What a call hands to WSK, and what it keeps alive meanwhile.
pub struct Arguments {
    pub(crate) buf: sys::Buf,
    pub(crate) buffer: Option<Buffer>,
    /// The local one, or the only one; and the peer's.
    pub(crate) addresses: [Storage; 2],
    /// An option's value, or a datagram's flags.
    pub(crate) value: u32,
    /// The socket that WSK is to make.
    pub(crate) made: Option<Handle>,
    /// The socket that the call is made on.
    pub(crate) on: Option<Ref<SocketState>>,
    /// What is done when the operation ends, before anybody is told. `<= DISPATCH_LEVEL`.
    pub(crate) ended: fn(&mut Self, NtStatus, usize),
}

impl Arguments {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self {
            buf: sys::Buf { mdl: core::ptr::null_mut(), offset: 0, length: 0 },
            buffer: None,
            addresses: [Storage::empty(); 2],
            value: 0,
            made: None,
            on: None,
            ended: |_, _, _| (),
        }
    }
}

/// A call that was not made, and the buffer that it was to use.
pub(crate) struct NotMade {
    pub error: Error,
    pub buffer: Option<Buffer>,
}

impl Arguments {
    /// The buffer of a send or a receive.
    pub(crate) fn into_buffer(self) -> Buffer {
        // SAFETY: it is asked of the arguments of sends and receives only, which begin with a buffer; nobody takes it out.
        unsafe { self.buffer.unwrap_unchecked() }
    }

    /// That no call is made with them.
    pub(crate) fn not_made(self, error: Error) -> NotMade {
        NotMade { error, buffer: self.buffer }
    }
}

impl From<NotMade> for Error {
    fn from(not_made: NotMade) -> Self {
        not_made.error
    }
}

/// What comes of an operation. Its values are made by this crate only.
pub trait Outcome: Sized {
    #[doc(hidden)]
    fn of(arguments: Arguments, status: NtStatus, information: usize) -> Self;
}

/// A closure that is given the outcome.
type Then = Box<dyn FnOnce(Arguments, NtStatus, usize) + Send>;

/// # Invariants
/// - From the call until [`end`], `arguments` is WSK's; then the owner's, or the closure's. `irp` likewise.
/// - WSK's reference to the record exists from before the call until `end`, which the claim has one party do.
/// - `then` is written before `told` is arrived at by the owner, and read by the second who arrives there.
struct Record {
    claim: Claim,
    /// The end, and the owner with a closure.
    told: Rendezvous,
    /// Signalled at the end.
    over: Event,
    irp: OwnIrp,
    arguments: UnsafeCell<Option<Arguments>>,
    then: UnsafeCell<Option<Then>>,
    _hold: Hold,
}

// SAFETY: by the type's invariants one party at a time touches the cells, in an order that the claim and the meeting make.
unsafe impl Send for Record {}
// SAFETY: by the type's invariants one party at a time touches the cells, in an order that the claim and the meeting make.
unsafe impl Sync for Record {}

impl Record {
    fn try_new(hold: Hold) -> Result<Ref<Self>, OutOfPool> {
        let record = Ref::try_new(Self {
            claim: Claim::new(),
            told: Rendezvous::new(),
            over: Event::new(),
            irp: OwnIrp::try_new()?,
            arguments: UnsafeCell::new(None),
            then: UnsafeCell::new(None),
            _hold: hold,
        })?;
        // SAFETY: in pool, where it stays; nobody else has it.
        unsafe { record.over.initialize(EventKind::Stays) };
        Ok(record)
    }

    /// What WSK had, with what came of it.
    ///
    /// # Safety
    /// The operation has ended, and the caller is who the outcome belongs to.
    unsafe fn take(&self) -> Option<(Arguments, NtStatus, usize)> {
        // SAFETY: ended (caller), so WSK is done with it.
        let arguments = unsafe { &mut *self.arguments.get() }.take()?;
        // SAFETY: ended (caller).
        let (status, information) = unsafe { self.irp.status() };
        Some((arguments, status, information))
    }

    /// Gives the outcome to the closure.
    ///
    /// # Safety
    /// The operation has ended, and the owner has left a closure.
    unsafe fn tell(&self) {
        // SAFETY: written before the owner arrived (invariant), which was before this.
        let then = unsafe { &mut *self.then.get() }.take();
        // SAFETY: the caller's promise; the owner has left.
        if let (Some(then), Some((arguments, status, information))) = (then, unsafe { self.take() }) {
            then(arguments, status, information);
        }
    }
}

/// Ends an operation: WSK has nothing of it any more.
///
/// # Safety
/// The claim has told the caller to, who gives WSK's reference up with this.
unsafe fn end(record: NonNull<Record>) {
    // SAFETY: WSK's reference (caller), given up by `start`.
    let record = unsafe { Ref::from_raw(record) };
    // SAFETY: the IRP has come back, or was never taken and its status set.
    let (status, information) = unsafe { record.irp.status() };
    // SAFETY: WSK's no more, and nobody else's before the meeting below.
    if let Some(arguments) = unsafe { &mut *record.arguments.get() } {
        (arguments.ended)(arguments, status, information);
    }
    if record.told.arrive() {
        // SAFETY: ended; the owner came first, with a closure.
        unsafe { record.tell() };
    } else {
        record.over.set();
    }
}

/// WSK's completion routine. At any IRQL up to `DISPATCH_LEVEL`, on any thread, perhaps inside the call.
unsafe extern "C" fn completed(_: *mut c_void, _: *mut sys::Irp, context: *mut c_void) -> NtStatus {
    let _running = Running::enter(context);
    // SAFETY: the record, by `start`: not null.
    let record: NonNull<Record> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: WSK's reference keeps it until the end.
    if unsafe { record.as_ref() }.claim.arrived() == Arrived::End {
        // SAFETY: told to.
        unsafe { end(record) };
    }
    MORE_PROCESSING_REQUIRED
}

/// Makes a call. `call` is given the arguments, where they stay until the end, and the IRP.
///
/// # Errors
/// No memory: no call was made.
///
/// # Safety
/// `call` makes one WSK call with the IRP, on terms that hold as long as the arguments do, and answers what it answered; or makes none
/// and answers an error.
pub(crate) unsafe fn start<T: Outcome>(
    hold: Hold,
    arguments: Arguments,
    call: impl FnOnce(NonNull<Arguments>, NonNull<sys::Irp>) -> NtStatus,
) -> Result<Operation<T>, NotMade> {
    let Ok(record) = Record::try_new(hold) else { return Err(arguments.not_made(Error::OutOfMemory)) };
    // SAFETY: nobody else has the record.
    let arguments = NonNull::from(unsafe { &mut *record.arguments.get() }.insert(arguments));
    let outstanding = record.clone().into_raw();
    // SAFETY: a new IRP; the routine takes over the reference that is the context.
    unsafe { record.irp.set_completion_routine(completed, outstanding.as_ptr().cast()) };
    let status = call(arguments, record.irp.as_ptr());
    match record.claim.returned(status == PENDING) {
        Returned::Outstanding | Returned::Finished => {}
        Returned::NeverTaken => {
            // SAFETY: the IRP never left.
            unsafe { record.irp.set_status(if status < 0 { status } else { UNSUCCESSFUL }) };
            if record.claim.arrived() == Arrived::End {
                // SAFETY: told to; the routine won't run, so the reference is ours.
                unsafe { end(outstanding) };
            }
        }
    }
    Ok(Operation { record: Some(record), outcome: PhantomData })
}

/// An operation that is under way at WSK, or over. Its outcome is a `T`.
///
/// It owns what it lent to WSK. Dropping it cancels it, and waits for nothing: its memory is freed when WSK has given it back, and an
/// outcome that comes all the same is dropped (a buffer is freed, a socket closed). `<= DISPATCH_LEVEL` unless a function says otherwise,
/// with no lock held that a completion takes. Source: *Using IRPs with Winsock Kernel Functions*, *`IoCancelIrp`*.
///
/// Where a provider can't cancel (stock Wine's), an operation that was dropped keeps its memory until its socket is closed.
///
/// # Invariants
/// - `record` is there until a function takes the value apart.
#[must_use = "an operation that is dropped is cancelled"]
pub struct Operation<T> {
    record: Option<Ref<Record>>,
    outcome: PhantomData<fn() -> T>,
}

impl<T: Outcome> Operation<T> {
    /// Waits for the outcome. `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The operation itself, which is still under way after `limit`: to be waited for again, cancelled or dropped.
    pub fn wait(mut self, limit: Duration, passive: Passive) -> Result<T, Self> {
        if let Some(record) = &self.record
            && !self.is_over()
            && record.over.wait(limit, passive).is_err()
        {
            return Err(self);
        }
        // SAFETY: over, and the outcome is the owner's.
        match self.record.as_ref().and_then(|record| unsafe { record.take() }) {
            Some((arguments, status, information)) => {
                self.record = None;
                Ok(T::of(arguments, status, information))
            }
            None => Err(self),
        }
    }

    /// Has `then` called with the outcome: by the completion, at `DISPATCH_LEVEL` or below on any thread, or at once if the operation is
    /// over. The operation is nobody's then: closing its socket is what ends it early.
    ///
    /// The closure may not wait, and has no way to call WSK: see [`MayCall`](crate::MayCall).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], with the operation; the closure is dropped.
    pub fn then(mut self, then: impl FnOnce(T) + Send + 'static) -> Result<(), (Error, Self)> {
        let then = move |arguments, status, information| then(T::of(arguments, status, information));
        let Ok(then) = try_box(then) else { return Err((Error::OutOfMemory, self)) };
        if let Some(record) = self.record.take() {
            // SAFETY: the owner's until it arrives.
            unsafe { *record.then.get() = Some(then) };
            if record.told.arrive() {
                // SAFETY: over, with a closure.
                unsafe { record.tell() };
            }
        }
        Ok(())
    }
}

impl<T> Operation<Result<T, Error>>
where
    Result<T, Error>: Outcome,
{
    /// Waits for the end, and cancels what is not over by then. `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; the operation's own.
    pub fn finish(self, limit: Duration, passive: Passive) -> Result<T, Error> {
        self.wait(limit, passive).map_err(|_cancelled| Error::TimedOut)?
    }
}

impl<T> Operation<T> {
    /// Whether the outcome is there.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.told.has_begun())
    }

    /// Asks WSK to end the operation early. It may still succeed: the outcome says.
    pub fn cancel(&self) {
        let Some(record) = &self.record else { return };
        if record.claim.hold() {
            record.irp.cancel();
            if record.claim.let_go() == Arrived::End {
                // The completion came meanwhile and left the rest to us: WSK's reference with it.
                // SAFETY: told to.
                unsafe { end(NonNull::from(&**record)) };
            }
        }
    }
}

impl<T> Drop for Operation<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}
