//! A request that is out at WSK, with its own IRP and buffer: the record of who ends it.

use crate::cancel::{Cancelled, Why};
use crate::client::Opener;
use crate::irp::Irp;
use crate::list::Links;
use crate::nt;
use crate::request::Data;
use crate::socket::Socket;
use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::mem::take;
use core::ptr::{NonNull, null_mut};
use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS};
use wsk::{Arrived, Claim, Ended, Ref, Returned, Running, sys};
use wskclient_abi::{Kind, STATUS_PENDING};

/// A record of a socket's, linked into the socket's pending set while the request is out. It comes from the socket and goes back
/// there: no pool is touched.
///
/// # Invariants
/// - `links` is in one of the socket's two lists, or in none between the end of the request and the return of the call.
/// - From [`begin`](Self::begin) until the request has been ended and the call has returned ([`Claim`]), nobody else uses it.
///   Of that time `buffer` and `kept` are the caller's up to the WSK call, and then `kept` is the ending party's.
/// - `next_held` is used by the one party that holds the record ([`Claim::hold`]).
#[repr(C)]
pub struct Operation {
    links: UnsafeCell<Links>,
    kept: UnsafeCell<Kept>,
    buffer: UnsafeCell<sys::Buf>,
    next_held: Cell<Option<NonNull<Self>>>,
    irp: Option<NonNull<IRP>>,
    opener: Opener,
    /// When the request was taken: [`crate::clock::now`].
    since: u64,
    kind: Kind,
    claim: Claim,
    cancelled: Cancelled,
}

/// What a pending request keeps alive.
#[derive(Default)]
struct Kept {
    socket: Option<Ref<Socket>>,
    /// The socket that an accept will fill.
    reserved: Option<Ref<Socket>>,
}

/// What a pending request may cost in all, with its pool header (`cargo lab bench` is to measure it).
const _: () = assert!(size_of::<Operation>() + 16 <= 128);

/// `STATUS_UNSUCCESSFUL`: a call took no IRP and did not say why.
const UNSUCCESSFUL: NTSTATUS = 0xC000_0001_u32.cast_signed();

impl Operation {
    /// A record in no list.
    pub const fn new() -> Self {
        Self {
            links: UnsafeCell::new(Links::new()),
            kept: UnsafeCell::new(Kept { socket: None, reserved: None }),
            buffer: UnsafeCell::new(sys::Buf { mdl: null_mut(), offset: 0, length: 0 }),
            next_held: Cell::new(None),
            irp: None,
            opener: Opener::NONE,
            since: 0,
            kind: Kind::Send,
            claim: Claim::new(),
            cancelled: Cancelled::no(),
        }
    }

    /// Makes the record that of a request, which came with `irp` and was taken at `since`.
    pub fn begin(&mut self, socket: Ref<Socket>, kind: Kind, irp: &Irp, since: u64) {
        self.kept.get_mut().socket = Some(socket);
        self.irp = Some(irp.as_raw());
        self.opener = Opener::of(irp);
        self.since = since;
        self.kind = kind;
        self.cancelled.renew();
        self.claim.renew();
    }

    /// The record whose place in a list this is.
    pub const fn from_links(links: NonNull<Links>) -> NonNull<Self> {
        const { assert!(core::mem::offset_of!(Operation, links) == 0) };
        links.cast()
    }

    /// What the request is counted as.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// When the request was taken.
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// Whether the request came through a handle.
    pub fn came_through(&self, opener: Opener) -> bool {
        self.opener == opener
    }

    /// Holds the record, to cancel its request, if it was not cancelled before and has not come back.
    pub fn hold_for_cancel(&self, why: Why) -> bool {
        self.cancelled.set(why) && self.claim.hold()
    }

    /// The party that was told to end the request has ended it. Whether the record is free: its call has returned.
    pub fn ended(&self) -> bool {
        self.claim.ended() == Ended::Second
    }
}

/// Requests that are held ([`Operation::hold_for_cancel`]), to be cancelled in that order.
///
/// # Invariants
/// - Every record from `first` to `last` is held, by this value, and so stays.
#[must_use = "a request that is held does not complete"]
pub struct HeldRequests {
    first: Option<NonNull<Operation>>,
    last: Option<NonNull<Operation>>,
}

impl HeldRequests {
    /// None.
    pub const fn none() -> Self {
        Self { first: None, last: None }
    }

    /// Adds a record that is held for this value.
    pub fn add(&mut self, operation: &Operation) {
        operation.next_held.set(None);
        let added = Some(NonNull::from(operation));
        match self.last {
            // SAFETY: held (invariant), so it is there.
            Some(last) => unsafe { last.as_ref() }.next_held.set(added),
            None => self.first = added,
        }
        self.last = added;
    }

    /// Cancels each request and lets go of its record; how many there were. `<= DISPATCH_LEVEL`, with no lock held.
    pub fn cancel(self) -> u32 {
        let (mut next, mut count) = (self.first, 0_u32);
        while let Some(operation) = next {
            // SAFETY: held (invariant), so it is there, and its place in the chain is this party's.
            next = unsafe { operation.as_ref() }.next_held.get();
            // SAFETY: held by this value, which comes by once.
            unsafe { cancel_held(operation) };
            count = count.wrapping_add(1);
        }
        count
    }
}

/// A request that is about to be handed to WSK.
///
/// # Invariants
/// - The record is begun and pending; the IRP is marked pending, has the record's completion routine, and is counted as taken.
pub struct Outgoing {
    operation: NonNull<Operation>,
    irp: NonNull<IRP>,
}

impl Outgoing {
    /// Prepares an IRP for WSK. The socket stays until the call has returned: the caller is inside its gate, or has it.
    pub fn new(operation: NonNull<Operation>, irp: Irp) -> Self {
        irp.mark_pending();
        // SAFETY: the routine is this record's.
        unsafe { irp.set_completion_routine(completed, operation.as_ptr().cast()) };
        // INVARIANT: marked and set just now; begun by the caller.
        Self { operation, irp: irp.into_raw() }
    }

    /// The IRP, for the call.
    pub const fn irp(&self) -> NonNull<sys::Irp> {
        nt::as_wsk(self.irp)
    }

    /// Describes the data of the request, for the call.
    pub fn buffer(&mut self, data: &Data) -> NonNull<sys::Buf> {
        // SAFETY: the record stays (invariant).
        let operation = unsafe { self.operation.as_ref() };
        // SAFETY: the caller's before the call.
        let buffer = unsafe { &mut *operation.buffer.get() };
        *buffer = sys::Buf { mdl: data.mdl.cast(), offset: data.offset, length: data.length };
        NonNull::from(buffer)
    }

    /// Keeps the socket that an accept will fill.
    pub fn reserve(&mut self, socket: Ref<Socket>) {
        // SAFETY: the record stays (invariant).
        let operation = unsafe { self.operation.as_ref() };
        // SAFETY: the caller's before the call.
        let kept = unsafe { &mut *operation.kept.get() };
        kept.reserved = Some(socket);
    }

    /// The call has returned `status`. Returns what the dispatch routine returns.
    pub fn called(self, socket: &Socket, status: NTSTATUS) -> NTSTATUS {
        // SAFETY: the record stays until this party has come by.
        let claim = &unsafe { self.operation.as_ref() }.claim;
        match claim.returned(status == STATUS_PENDING) {
            Returned::Outstanding => {}
            // SAFETY: the request has been ended, and the call has returned.
            Returned::Finished => unsafe { socket.recycle(self.operation) },
            Returned::NeverTaken => {
                let failure = if status < 0 { status } else { UNSUCCESSFUL };
                // SAFETY: the IRP never left.
                unsafe { nt::set_io_status(self.irp, failure, 0) };
                if claim.arrived() == Arrived::End {
                    // SAFETY: told to.
                    unsafe { end(self.operation) };
                }
            }
        }
        STATUS_PENDING
    }
}

/// WSK's completion of a request. At any IRQL up to `DISPATCH_LEVEL`, on any thread, perhaps inside the call.
///
/// It keeps the IRP from the system's walk and completes it itself: so the socket's pending set, and with it the teardown, can't run
/// dry before the IRP is really complete (contract: WSP-7), and a canceller's IRP can't complete under it.
unsafe extern "C" fn completed(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    let _running = Running::enter(context);
    // SAFETY: the record, by `Outgoing::new`.
    let operation: NonNull<Operation> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the record stays until the request has been ended.
    let claim = &unsafe { operation.as_ref() }.claim;
    if claim.arrived() == Arrived::End {
        // SAFETY: told to.
        unsafe { end(operation) };
    }
    wsk::MORE_PROCESSING_REQUIRED
}

/// Cancels a request that is held ([`Operation::hold_for_cancel`]).
///
/// # Safety
/// The caller holds the record and lets go of it with this.
unsafe fn cancel_held(operation: NonNull<Operation>) {
    // SAFETY: a held record's request has not been ended.
    let record = unsafe { operation.as_ref() };
    if let Some(irp) = record.irp {
        // SAFETY: a held IRP does not complete.
        unsafe { nt::cancel(irp) };
    }
    if record.claim.let_go() == Arrived::End {
        // SAFETY: told to.
        unsafe { end(operation) };
    }
}

/// Ends a request whose IRP is the driver's again: the socket takes note of the outcome, the record leaves the pending set, and goes
/// back to the socket if the call has returned; then the IRP completes. What the request used is given back first (contract: SAN-4).
///
/// # Safety
/// The claim has told the caller to.
unsafe fn end(operation: NonNull<Operation>) {
    // SAFETY: the record stays until this party has come by.
    let record = unsafe { operation.as_ref() };
    // SAFETY: the ending party's.
    let Kept { socket, reserved } = take(unsafe { &mut *record.kept.get() });
    let (Some(socket), Some(irp), kind) = (socket, record.irp, record.kind) else { return };
    // SAFETY: the IRP has come back.
    let (status, information) = unsafe { nt::io_status(irp) };
    // SAFETY: the IRP has come back, so it is this driver's, and the claim gives it to this party.
    let mut irp = unsafe { Irp::from_raw(irp) };
    let (status, information) = socket.outcome(kind, status, information, reserved, &mut irp);
    let status = record.cancelled.name(status);
    // SAFETY: pending until now; this party gives it back once.
    unsafe { socket.take_back(operation) };
    socket.client().complete(irp, kind, status, information);
    socket.completed();
}
