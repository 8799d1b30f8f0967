//! A request that is out at WSK, with its own IRP and buffer: the record of who ends it.

use crate::irp::Irp;
use crate::list::Links;
use crate::nt;
use crate::pool::Ref;
use crate::socket::Socket;
use core::ffi::c_void;
use core::mem::take;
use core::ptr::{NonNull, null_mut};
use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS};
use wsk::sys;
use wskclient_abi::{Kind, STATUS_PENDING};
use wskclient_lifecycle::{Claim, Completed, Returned};

/// A record of a socket's, linked into the socket's pending set while the request is out. It comes from the socket and goes back
/// there: no pool is touched.
///
/// # Invariants
/// - `links` is in one of the socket's two lists, or in none between the completion and the return of the call.
/// - From [`begin`](Self::begin) until both the completion routine and the caller have come by ([`Claim`]), nobody else uses it.
#[repr(C)]
pub struct Operation {
    links: Links,
    socket: Option<Ref<Socket>>,
    reserved: Option<Ref<Socket>>,
    buffer: sys::Buf,
    kind: Kind,
    claim: Claim,
}

/// What a pending request may cost (`cargo lab bench` measures it).
const _: () = assert!(size_of::<Operation>() <= 112);

impl Operation {
    /// A record in no list.
    pub const fn new() -> Self {
        Self {
            links: Links::new(),
            socket: None,
            reserved: None,
            buffer: sys::Buf { mdl: null_mut(), offset: 0, length: 0 },
            kind: Kind::Send,
            claim: Claim::new(),
        }
    }

    /// Makes the record that of a new request.
    pub fn begin(&mut self, socket: Ref<Socket>, kind: Kind) {
        self.socket = Some(socket);
        self.kind = kind;
        self.claim.renew();
    }

    /// The record whose place in a list this is.
    pub const fn from_links(links: NonNull<Links>) -> NonNull<Self> {
        const { assert!(core::mem::offset_of!(Operation, links) == 0) };
        links.cast()
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
    pub fn buffer(&mut self, mdl: NonNull<wdk_sys::MDL>, length: usize) -> NonNull<sys::Buf> {
        // SAFETY: nobody else uses the record (its invariant).
        let operation = unsafe { self.operation.as_mut() };
        operation.buffer = sys::Buf { mdl: mdl.as_ptr().cast(), offset: 0, length };
        NonNull::from(&mut operation.buffer)
    }

    /// Keeps the socket that an accept will fill.
    pub fn reserve(&mut self, socket: Ref<Socket>) {
        // SAFETY: nobody else uses the record (its invariant).
        unsafe { self.operation.as_mut() }.reserved = Some(socket);
    }

    /// The call has returned `status`. Returns what the dispatch routine returns.
    pub fn called(self, socket: &Socket, status: NTSTATUS) -> NTSTATUS {
        // SAFETY: the record stays until this party has come by.
        let claim = unsafe { &(*self.operation.as_ptr()).claim };
        match claim.returned(status == STATUS_PENDING) {
            Returned::Outstanding => {}
            // SAFETY: both parties have come by.
            Returned::Finished => unsafe { socket.recycle(self.operation) },
            Returned::NeverTaken => {
                // SAFETY: the IRP never left.
                let irp = unsafe { Irp::from_raw(self.irp) };
                // SAFETY: the routine won't run, so this is the record's only user.
                unsafe { conclude(self.operation, irp, status.min(-1), 0) };
                // SAFETY: as above.
                unsafe { socket.recycle(self.operation) };
            }
        }
        STATUS_PENDING
    }
}

/// WSK's completion of a request. At any IRQL up to `DISPATCH_LEVEL`, on any thread, perhaps inside the call.
///
/// It completes the IRP itself and keeps it from the system's walk: so the socket's pending set, and with it the teardown, can't run
/// dry before the IRP is really complete (contract: WSP-7).
unsafe extern "C" fn completed(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the record, by `Outgoing::new`.
    let operation: NonNull<Operation> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the I/O manager gives no null IRP.
    let irp = unsafe { nt::non_null(irp) };
    // SAFETY: completed by the lower driver, so ours again.
    let (status, information) = unsafe { nt::io_status(irp) };
    // SAFETY: the record stays until this party has come by.
    let socket = unsafe { operation.as_ref() }.socket.clone();
    // SAFETY: ours: the routine keeps the IRP.
    let irp = unsafe { Irp::from_raw(irp) };
    // SAFETY: the routine runs once, and the caller leaves the record alone until it has.
    unsafe { conclude(operation, irp, status, information) };
    // SAFETY: the record stays until this party has come by.
    let claim = unsafe { &(*operation.as_ptr()).claim };
    if let (Completed::Second, Some(socket)) = (claim.completed(), socket) {
        // SAFETY: both parties have come by.
        unsafe { socket.recycle(operation) };
    }
    nt::MORE_PROCESSING_REQUIRED
}

/// Ends a request: the socket takes note of the outcome, the IRP completes, the record leaves the pending set.
///
/// # Safety
/// The record is begun and pending, and the caller is its only user.
unsafe fn conclude(operation: NonNull<Operation>, mut irp: Irp, status: NTSTATUS, information: usize) {
    // SAFETY: the only user.
    let record = unsafe { &mut *operation.as_ptr() };
    let (socket, reserved, kind) = (take(&mut record.socket), take(&mut record.reserved), record.kind);
    let Some(socket) = socket else { return };
    let (status, information) = socket.outcome(kind, status, information, reserved, &mut irp);
    socket.client().complete(irp, kind, status, information);
    // SAFETY: pending until now.
    unsafe { socket.unlink(operation) };
}
