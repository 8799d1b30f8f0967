//! Look-ups: names to addresses, and addresses to names (contract: NSP-1, NSP-4).
//!
//! One idea: a look-up goes out with the request's own IRP, and comes back to the worker. There, at `PASSIVE_LEVEL`, what WSK found
//! is copied into the caller's buffer and WSK gets its list back, before the IRP completes and the look-up leaves its provider.

mod request;
mod results;

use crate::cancel::{Cancelled, Why};
use crate::client::{Client, Opener};
use crate::clock;
use crate::irp::Irp;
use crate::list::Links;
use crate::nt;
use crate::target::Target;
use crate::worker::Work;
use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;
use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS};
use wsk::{Arrived, Claim, NOT_IMPLEMENTED, NameQuestion, OutOfPool, Passive, Ref, Returned, Running, sys};
use wskclient_abi::{AF_INET, Address, AddressToNameReply, Kind, Namespace, STATUS_PENDING, STATUS_SUCCESS, WsaError};

/// A valid question.
pub struct LookUpRequest {
    /// Who is asked.
    pub namespace: Namespace,
    question: Question,
}

/// What WSK is asked, and where it answers. Its texts lie in the IRP's system buffer, which stays until the IRP completes.
enum Question {
    /// The addresses of a name.
    Addresses(NameQuestion),
    /// The names of an address.
    Names {
        /// The address.
        address: Address,
        /// Where the names of host and service are written.
        names: [sys::UnicodeString; 2],
        /// `NI_*`.
        flags: u32,
    },
}

impl Question {
    const fn kind(&self) -> Kind {
        match self {
            Self::Addresses(_) => Kind::NameToAddresses,
            Self::Names { .. } => Kind::AddressToName,
        }
    }
}

/// A look-up that is out at WSK, or has just come back.
///
/// # Invariants
/// - It is inside its provider's gate, and in its list, until it has been finished.
/// - `question` is WSK's from the call until the IRP has come back, and then the worker's.
/// - `next_held` is used by the one party that holds it ([`Claim::hold`]).
pub struct LookUp {
    work: Work,
    links: UnsafeCell<Links>,
    client: Ref<Client>,
    namespace: Namespace,
    irp: NonNull<IRP>,
    opener: Opener,
    /// When the request was taken.
    since: u64,
    claim: Claim,
    cancelled: Cancelled,
    next_held: Cell<Option<NonNull<Self>>>,
    question: UnsafeCell<Question>,
}

// SAFETY: the links are used under the provider's lock, the question and the chain by one party at a time (invariant).
unsafe impl Sync for LookUp {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for LookUp {}

/// Asks WSK.
pub fn look_up(client: &Ref<Client>, mut irp: Irp, request: LookUpRequest, passive: Passive) -> NTSTATUS {
    let LookUpRequest { namespace, question } = request;
    let instance = client.instance(Target::Namespace(namespace));
    if !instance.enter() {
        return irp.complete(WsaError::NotInitialised.status(), 0);
    }
    let look_up = match LookUp::begin(client, namespace, &mut irp, question) {
        Ok(look_up) => look_up,
        Err(error) => {
            instance.leave(client);
            return irp.complete(error.status(), 0);
        }
    };
    irp.mark_pending();
    let context = look_up.clone().into_raw();
    // SAFETY: the routine takes the context over.
    unsafe { irp.set_completion_routine(completed, context.as_ptr().cast()) };
    let irp = irp.into_raw();
    instance.add_look_up(look_up.links(), client);
    let status = look_up.ask(passive);
    match look_up.claim.returned(status == STATUS_PENDING) {
        Returned::Outstanding | Returned::Finished => {}
        Returned::NeverTaken => {
            // SAFETY: the IRP never left.
            unsafe { nt::set_io_status(irp, if status < 0 { status } else { NOT_IMPLEMENTED }, 0) };
            // SAFETY: the routine won't run: the context is ours again.
            let look_up = unsafe { Ref::from_raw(context) };
            if look_up.claim.arrived() == Arrived::End {
                look_up.end();
            }
        }
    }
    STATUS_PENDING
}

impl LookUp {
    /// Takes a request.
    ///
    /// # Errors
    /// `WSAENOBUFS`, `WSA_NOT_ENOUGH_MEMORY`; nothing is left behind.
    fn begin(
        client: &Ref<Client>,
        namespace: Namespace,
        irp: &mut Irp,
        question: Question,
    ) -> Result<Ref<Self>, WsaError> {
        let charge = client.charge(irp, question.kind())?;
        if matches!(question, Question::Names { .. }) {
            irp.zero_reply::<AddressToNameReply>().map_err(|_| WsaError::Fault)?;
        }
        let look_up = Self::try_new(client, namespace, irp, question).map_err(|OutOfPool| WsaError::NotEnoughMemory)?;
        charge.take();
        Ok(look_up)
    }

    fn try_new(
        client: &Ref<Client>,
        namespace: Namespace,
        irp: &Irp,
        question: Question,
    ) -> Result<Ref<Self>, OutOfPool> {
        Ref::try_new(Self {
            work: Work::new(run),
            links: UnsafeCell::new(Links::new()),
            client: client.clone(),
            namespace,
            irp: irp.as_raw(),
            opener: Opener::of(irp),
            since: clock::now(),
            claim: Claim::new(),
            cancelled: Cancelled::no(),
            next_held: Cell::new(None),
            question: UnsafeCell::new(question),
        })
    }

    /// Whose it is.
    pub const fn client(&self) -> &Ref<Client> {
        &self.client
    }

    /// When it was taken.
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// What it is counted as.
    pub fn kind(&self) -> Kind {
        // SAFETY: which variant it is never changes.
        unsafe { &*self.question.get() }.kind()
    }

    /// The place in the provider's list.
    pub const fn links(&self) -> NonNull<Links> {
        // SAFETY: a field of a live object is not null.
        unsafe { NonNull::new_unchecked(self.links.get()) }
    }

    /// The look-up whose place in a provider's list this is.
    pub const fn from_links(links: NonNull<Links>) -> NonNull<Self> {
        // SAFETY: only look-ups' places are in those lists.
        unsafe { links.byte_sub(offset_of!(Self, links)) }.cast()
    }

    /// Whether the request came through a handle.
    pub fn came_through(&self, opener: Opener) -> bool {
        self.opener == opener
    }

    /// Makes the call. The caller is inside the provider's gate.
    fn ask(&self, passive: Passive) -> NTSTATUS {
        let Some(wsk) = self.client.driver().subsystem.provider() else {
            return WsaError::NetworkDown.status();
        };
        let irp = nt::as_wsk(self.irp);
        // SAFETY: the caller's up to the call (invariant).
        match unsafe { &mut *self.question.get() } {
            // SAFETY: the look-up stays until the IRP has come back; inside the gate, so the capture is kept.
            Question::Addresses(question) => unsafe { wsk.name_to_addresses(question.into(), irp, passive) },
            Question::Names { address, names, flags } => {
                let length =
                    if address.family == AF_INET { size_of::<sys::SockAddrIn>() } else { size_of::<Address>() };
                let address = (NonNull::from(address).cast(), u32::try_from(length).unwrap_or(0));
                // SAFETY: the look-up stays until the IRP has come back; inside the gate; a valid address of its family; the names lie in
                // the reply's place.
                unsafe { wsk.address_to_name(address, names.into(), *flags, irp, passive) }
            }
        }
    }

    /// Holds it, to cancel it, if it was not cancelled before and has not come back.
    fn hold_for_cancel(&self, why: Why) -> bool {
        self.cancelled.set(why) && self.claim.hold()
    }

    /// Cancels a look-up that is held, and lets go of it.
    fn cancel_held(&self) {
        // SAFETY: a held IRP does not complete.
        unsafe { nt::cancel(self.irp) };
        if self.claim.let_go() == Arrived::End {
            self.end();
        }
    }

    /// The IRP has come back: the worker does the rest, since WSK's list is given back at `PASSIVE_LEVEL`.
    fn end(&self) {
        self.client.driver().worker.queue(&self.work, || {
            // SAFETY: whoever calls has the look-up, so a reference to it exists.
            let _given_to_the_run = unsafe { Ref::again(self) }.into_raw();
        });
    }

    /// What a failure is called: a look-up that fails after it was cancelled was cancelled by that; memory has a name of its own among
    /// namespace providers (contract: NSP-1, NSP-2).
    fn verdict(&self, status: NTSTATUS) -> NTSTATUS {
        if self.cancelled.is_set() {
            self.cancelled.name(WsaError::OperationAborted.status())
        } else if status == WsaError::NoBuffers.status() {
            WsaError::NotEnoughMemory.status()
        } else {
            status
        }
    }

    /// Writes the reply; its length, bytes.
    fn answer(&self, irp: &mut Irp, passive: Passive) -> Result<usize, NTSTATUS> {
        // SAFETY: the IRP has come back: the worker's (invariant).
        match unsafe { &mut *self.question.get() } {
            Question::Addresses(question) => {
                let list = NonNull::new(question.result).ok_or(WsaError::NoData.status())?;
                // SAFETY: a successful look-up's list, which is WSK's until it is given back.
                let length = unsafe { results::write(list, irp) };
                if let Some(wsk) = self.client.driver().subsystem.provider() {
                    // SAFETY: inside the gate, so the capture is kept; the list is given back this once.
                    unsafe { wsk.free_addresses(list, passive) };
                }
                length
            }
            Question::Names { names: [node, service], .. } => {
                let lengths = [node.length, service.length];
                Ok(irp.amend_reply(|reply: &mut AddressToNameReply| {
                    let [node, service] = lengths;
                    reply.node_length = trim(&mut reply.node, node);
                    reply.service_length = trim(&mut reply.service, service);
                }))
            }
        }
    }
}

/// Look-ups that are held ([`LookUp::hold_for_cancel`]), to be cancelled in that order.
///
/// # Invariants
/// - Every look-up from `first` to `last` is held, by this value, which has given up a reference to each.
#[must_use = "a look-up that is held does not complete"]
pub struct HeldLookUps {
    first: Option<NonNull<LookUp>>,
    last: Option<NonNull<LookUp>>,
}

impl HeldLookUps {
    /// None.
    pub const fn none() -> Self {
        Self { first: None, last: None }
    }

    /// Holds a look-up, if it was not cancelled before and has not come back.
    ///
    /// # Safety
    /// The look-up is in its provider's list, whose lock is held.
    pub unsafe fn hold(&mut self, look_up: &LookUp, why: Why) {
        // Before it is held: when its IRP comes back then, nobody else may have a reference.
        // SAFETY: in the list, so it has not been finished: its IRP is out, or the worker is to come by, or somebody else holds it, and
        // each has a reference.
        let kept = unsafe { Ref::again(look_up) };
        if !look_up.hold_for_cancel(why) {
            return;
        }
        look_up.next_held.set(None);
        let added = Some(kept.into_raw());
        match self.last {
            // SAFETY: there by the reference that was given up (invariant).
            Some(last) => unsafe { last.as_ref() }.next_held.set(added),
            None => self.first = added,
        }
        self.last = added;
    }

    /// Cancels each and lets go of it; how many there were. `<= DISPATCH_LEVEL`, with no lock held.
    pub fn cancel(self) -> u32 {
        let (mut next, mut count) = (self.first, 0_u32);
        while let Some(look_up) = next {
            // SAFETY: the reference that `add` gave up, taken back this once.
            let look_up = unsafe { Ref::from_raw(look_up) };
            next = look_up.next_held.get();
            look_up.cancel_held();
            count = count.wrapping_add(1);
        }
        count
    }
}

/// Zeroes what lies after a text of `bytes` bytes, or after its terminator; its length, units.
fn trim(units: &mut [u16], bytes: u16) -> u16 {
    let limit = units.len().min(usize::from(bytes) / size_of::<u16>());
    let length = units.iter().take(limit).position(|&unit| unit == 0).unwrap_or(limit);
    units.iter_mut().skip(length).for_each(|unit| *unit = 0);
    u16::try_from(length).unwrap_or(0)
}

/// WSK has answered. At any IRQL up to `DISPATCH_LEVEL`, perhaps inside the call.
unsafe extern "C" fn completed(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    let _running = Running::enter(context);
    // SAFETY: what `look_up` gave up is not null.
    let look_up: NonNull<LookUp> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the reference that `look_up` gave up.
    let look_up = unsafe { Ref::from_raw(look_up) };
    if look_up.claim.arrived() == Arrived::End {
        look_up.end();
    }
    wsk::MORE_PROCESSING_REQUIRED
}

/// The worker's run for a look-up.
unsafe fn run(work: NonNull<Work>, passive: Passive) {
    // SAFETY: the place is built into a look-up.
    let look_up: NonNull<LookUp> = unsafe { work.byte_sub(offset_of!(LookUp, work)) }.cast();
    // SAFETY: the reference that `end` gave up.
    finish(unsafe { Ref::from_raw(look_up) }, passive);
}

/// Copies what was found, gives WSK's memory and the record back, and then completes the IRP.
fn finish(look_up: Ref<LookUp>, passive: Passive) {
    let client = look_up.client.clone();
    let instance = client.instance(Target::Namespace(look_up.namespace));
    // SAFETY: the IRP has come back.
    let (status, _) = unsafe { nt::io_status(look_up.irp) };
    // SAFETY: the IRP has come back, so it is this driver's, and nobody else finishes the look-up.
    let mut irp = unsafe { Irp::from_raw(look_up.irp) };
    let answered = if status < 0 { Err(look_up.verdict(status)) } else { look_up.answer(&mut irp, passive) };
    let (status, length) = answered.map_or_else(|status| (status, 0), |length| (STATUS_SUCCESS, length));
    let kind = look_up.kind();
    // SAFETY: in the list until now.
    unsafe { instance.remove_look_up(look_up.links()) };
    drop(look_up);
    client.complete(irp, kind, status, length);
    instance.leave(&client);
}
