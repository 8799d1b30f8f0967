//! A socket: from its creation, through WSK, until WSK has it back.
//!
//! ```text
//!   Opening ──▶ Created ──▶ Binding ──▶ Bound ──▶ Listening            (accepts: one at a time out at WSK, the rest wait here)
//!      │                                  └─────▶ Connecting ──▶ Connected   (accepted sockets: Opening ──▶ Connected)
//!      └── at any time: closing ──▶ nobody in a call ──▶ WskCloseSocket ──▶ no request pending ──▶ gone
//! ```

use crate::client::Client;
use crate::irp::Irp;
use crate::list::{Links, List};
use crate::lock::SpinLock;
use crate::nt;
use crate::operation::Operation;
use crate::pool::{Ref, try_box};
use crate::queue::IrpQueue;
use crate::table::{NoSlot, SlotIndex};
use crate::worker::Work;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS};
use wsk::{Category, Passive, SocketRef};
use wskclient_abi::{AcceptReply, Kind, Provider, Role, STATUS_PENDING, STATUS_SUCCESS, SocketReply, WsaError};
use wskclient_lifecycle::{Claim, Closed, Returned};

/// How far a socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// WSK has not answered yet.
    Opening,
    /// It is there.
    Created,
    /// A bind is out.
    Binding,
    /// It has a local address.
    Bound,
    /// It accepts.
    Listening,
    /// A connect is out.
    Connecting,
    /// It has a peer.
    Connected,
}

/// Records that a socket has from its creation; it gets more as more of its requests are pending at once.
const OPERATIONS: usize = 4;

/// A socket. Its slot in the client's table, its requests, and the worker's queue keep it; it keeps its client.
///
/// # Invariants
/// - It is inside its instance's gate, and in one of its lists, until [`finish`](Self::finish).
/// - `links` and `ending` are used under the lock of the instance's lists.
/// - `close_irp` is out at WSK, or nobody's.
pub struct Socket {
    work: Work,
    links: UnsafeCell<Links>,
    ending: UnsafeCell<bool>,
    client: Ref<Client>,
    provider: Provider,
    role: Role,
    slot: SlotIndex,
    close_irp: NonNull<IRP>,
    close_claim: Claim,
    state: SpinLock<SocketState>,
    /// Accepts that wait for the one that is out.
    pub accepts: IrpQueue,
}

/// What changes about a socket, under its lock.
pub struct SocketState {
    /// How far it has come.
    pub phase: Phase,
    /// An accept is out at WSK.
    pub accepting: bool,
    closing: bool,
    close_issued: bool,
    gone: bool,
    finished: bool,
    wsk: Option<SocketRef>,
    pending: List,
    free: List,
    close_request: Option<Irp>,
}

// SAFETY: the cells are used under the instance's lock, the rest is synchronised.
unsafe impl Sync for Socket {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Socket {}

impl Socket {
    /// A socket that WSK does not know yet, of a provider that is up. `PASSIVE_LEVEL` by its callers.
    ///
    /// # Errors
    /// `WSANOTINITIALISED`, `WSAEMFILE`, `WSAENOBUFS`; nothing is left behind.
    pub fn try_new(client: &Ref<Client>, provider: Provider, role: Role) -> Result<Ref<Self>, NTSTATUS> {
        let instance = client.instance(provider);
        if !instance.enter() {
            return Err(WsaError::NotInitialised.status());
        }
        let socket = Self::inside(client, provider, role);
        match &socket {
            Ok(socket) => instance.add(socket.links()),
            Err(_) => instance.leave(client),
        }
        socket.map_err(WsaError::status)
    }

    /// The part of the creation that is inside the instance's gate.
    fn inside(client: &Ref<Client>, provider: Provider, role: Role) -> Result<Ref<Self>, WsaError> {
        let slot = client.table.reserve().map_err(|no| match no {
            NoSlot::Quota => WsaError::TooManySockets,
            NoSlot::OutOfPool => WsaError::NoBuffers,
        })?;
        let socket = nt::allocate_irp().and_then(|close_irp| {
            let state = SocketState::new();
            Ref::try_new(Self {
                work: Work::new(run),
                links: UnsafeCell::new(Links::new()),
                ending: UnsafeCell::new(false),
                client: client.clone(),
                provider,
                role,
                slot,
                close_irp,
                close_claim: Claim::new(),
                state: SpinLock::new(state),
                accepts: IrpQueue::new(),
            })
            // SAFETY: allocated just now.
            .inspect_err(|_| unsafe { nt::free_irp(close_irp) })
            .ok()
        });
        let complete = socket.filter(|socket| (0..OPERATIONS).all(|_| socket.add_operation()));
        complete.ok_or_else(|| {
            client.table.release(slot);
            WsaError::NoBuffers
        })
    }

    /// The socket's client.
    pub const fn client(&self) -> &Ref<Client> {
        &self.client
    }

    /// The provider that it belongs to.
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// What it is for.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// What WSK calls that.
    pub const fn category(&self) -> Category {
        match self.role {
            Role::Listen => Category::Listen,
            Role::Connection => Category::Connection,
        }
    }

    /// The slot in the client's table.
    pub const fn slot(&self) -> SlotIndex {
        self.slot
    }

    /// The place in the instance's lists.
    pub const fn links(&self) -> NonNull<Links> {
        // SAFETY: a field of a live object is not null.
        unsafe { NonNull::new_unchecked(self.links.get()) }
    }

    /// The socket whose place in the instance's lists this is.
    pub const fn from_links(links: NonNull<Links>) -> NonNull<Self> {
        // SAFETY: only sockets' places are in those lists.
        unsafe { links.byte_sub(core::mem::offset_of!(Self, links)) }.cast()
    }

    /// Whether the teardown has come to it.
    ///
    /// # Safety
    /// Under the lock of the instance's lists.
    pub const unsafe fn ending(&self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { *self.ending.get() }
    }

    /// The teardown has come to it.
    ///
    /// # Safety
    /// Under the lock of the instance's lists.
    pub const unsafe fn set_ending(&self) {
        // SAFETY: the caller's promise.
        unsafe { *self.ending.get() = true };
    }

    /// Has the worker look at the socket. `<= DISPATCH_LEVEL`, with no lock held.
    pub fn queue_work(&self) {
        self.client.driver().worker.queue(&self.work, || {
            // SAFETY: whoever calls has the socket, so a reference to it exists.
            let _given_to_the_run = unsafe { Ref::again(self) }.into_raw();
        });
    }

    /// The last call on the socket has returned after its gate was closed.
    pub fn gate_drained(&self) {
        self.queue_work();
    }

    /// Begins a request: makes sure that the socket's state allows it, changes the state as `step` says, and links a record into the
    /// pending set.
    ///
    /// # Errors
    /// What `step` says, or `WSAENOBUFS`; nothing is changed.
    pub fn begin(
        &self,
        kind: Kind,
        step: impl FnOnce(&mut SocketState) -> Result<(), WsaError>,
    ) -> Result<(NonNull<Operation>, Option<SocketRef>), NTSTATUS> {
        loop {
            let mut state = self.state.lock();
            if state.free.is_empty() {
                drop(state);
                if self.add_operation() {
                    continue;
                }
                return Err(WsaError::NoBuffers.status());
            }
            step(&mut state).map_err(WsaError::status)?;
            let Some(links) = state.free.pop() else {
                return Err(WsaError::NoBuffers.status());
            };
            let mut operation = Operation::from_links(links);
            // SAFETY: whoever calls has the socket, so a reference to it exists.
            let socket = unsafe { Ref::again(self) };
            // SAFETY: a free record is nobody's.
            unsafe { operation.as_mut() }.begin(socket, kind);
            // SAFETY: in no list now.
            unsafe { state.pending.push(links) };
            return Ok((operation, state.wsk));
        }
    }

    fn add_operation(&self) -> bool {
        let Ok(operation) = try_box(Operation::new()) else {
            return false;
        };
        let links = NonNull::from(Box::leak(operation)).cast();
        // SAFETY: new, so in no list; it is freed with the socket.
        unsafe { self.state.lock().free.push(links) };
        true
    }

    /// A record's request is over.
    ///
    /// # Safety
    /// The record is in the pending set.
    pub unsafe fn unlink(&self, operation: NonNull<Operation>) {
        let mut state = self.state.lock();
        // SAFETY: the caller's promise.
        unsafe { state.pending.remove(operation.cast()) };
        self.finish_if_over(state);
    }

    /// Takes a record back.
    ///
    /// # Safety
    /// The record is the socket's, unlinked, and has no user.
    pub unsafe fn recycle(&self, operation: NonNull<Operation>) {
        // SAFETY: the caller's promise.
        unsafe { self.state.lock().free.push(operation.cast()) };
    }

    /// Takes note of what came of a request, and returns what its caller is told.
    pub fn outcome(
        &self,
        kind: Kind,
        status: NTSTATUS,
        information: usize,
        reserved: Option<Ref<Self>>,
        irp: &mut Irp,
    ) -> (NTSTATUS, usize) {
        match kind {
            Kind::Socket => self.opened(status, information, irp),
            Kind::Bind => self.moved(status, Phase::Bound, Phase::Created),
            Kind::Connect => self.moved(status, Phase::Connected, Phase::Bound),
            Kind::Accept => self.accepted(reserved, status, information, irp),
            _ => (self.verdict(status), information),
        }
    }

    /// A request that fails while its socket is being closed was cancelled by that, whatever WSK calls it (contract: CARD-3).
    fn verdict(&self, status: NTSTATUS) -> NTSTATUS {
        if status < 0 && self.state.lock().closing {
            WsaError::OperationAborted.status()
        } else {
            status
        }
    }

    fn moved(&self, status: NTSTATUS, success: Phase, failure: Phase) -> (NTSTATUS, usize) {
        self.state.lock().phase = if status == STATUS_SUCCESS { success } else { failure };
        (self.verdict(status), 0)
    }

    fn opened(&self, status: NTSTATUS, information: usize, irp: &mut Irp) -> (NTSTATUS, usize) {
        match self.arrive(status, information, Phase::Created) {
            Ok(socket) => (STATUS_SUCCESS, irp.reply(&SocketReply { socket })),
            Err(status) => (status, 0),
        }
    }

    fn accepted(
        &self,
        reserved: Option<Ref<Self>>,
        status: NTSTATUS,
        information: usize,
        irp: &mut Irp,
    ) -> (NTSTATUS, usize) {
        self.state.lock().accepting = false;
        if !self.accepts.is_empty() {
            self.queue_work();
        }
        let Some(reserved) = reserved else {
            return (WsaError::NoBuffers.status(), 0);
        };
        match reserved.arrive(status, information, Phase::Connected) {
            Ok(socket) => (
                STATUS_SUCCESS,
                irp.amend_reply(|reply: &mut AcceptReply| reply.socket = socket),
            ),
            Err(status) => {
                reserved.discard();
                (self.verdict(status), 0)
            }
        }
    }

    /// WSK has answered for a socket that was opening: it may be used from now on, unless it is being closed already.
    fn arrive(
        &self,
        status: NTSTATUS,
        information: usize,
        phase: Phase,
    ) -> Result<wskclient_abi::SocketHandle, NTSTATUS> {
        let mut state = self.state.lock();
        let wsk = SocketRef::from_information(information).filter(|_| status == STATUS_SUCCESS);
        state.wsk = wsk;
        if wsk.is_none() {
            state.gone = true;
            let closing = state.closing;
            drop(state);
            let failed = if status < 0 {
                status
            } else {
                WsaError::NetworkDown.status()
            };
            return Err(if closing {
                WsaError::OperationAborted.status()
            } else {
                failed
            });
        }
        state.phase = phase;
        if state.closing {
            drop(state);
            self.queue_work();
            return Err(WsaError::OperationAborted.status());
        }
        // Under the lock, so that a close finds the gate open or the socket opening.
        // SAFETY: whoever calls has the socket, so a reference to it exists.
        let socket = unsafe { Ref::again(self) };
        self.client.open.fetch_add(1, Ordering::Relaxed);
        self.client
            .table
            .publish(self.slot, socket)
            .ok_or(WsaError::NoBuffers.status())
    }

    /// Lets go of a socket that WSK never made, and that no request is pending on.
    pub fn discard(&self) {
        let mut state = self.state.lock();
        if state.wsk.is_none() {
            state.gone = true;
            self.finish_if_over(state);
        }
    }

    /// Closes the socket, once: nobody comes in any more; the worker gives it back to WSK when nobody is in a call.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if !state.begin_close(&self.client) {
            return;
        }
        let opening = state.phase == Phase::Opening;
        drop(state);
        if !opening {
            self.close_gate();
        }
    }

    /// As [`close`](Self::close), for a request that completes when WSK has the socket back. The caller is inside the gate.
    ///
    /// # Errors
    /// `WSAENOTSOCK` if it is being closed already; then the IRP is the caller's.
    pub fn close_for(&self, irp: Irp) -> Result<(), Irp> {
        let mut state = self.state.lock();
        if !state.begin_close(&self.client) {
            drop(state);
            return Err(irp);
        }
        irp.mark_pending();
        state.close_request = Some(irp);
        drop(state);
        self.client.take(Kind::Close);
        self.close_gate();
        Ok(())
    }

    fn close_gate(&self) {
        match self.client.table.close(self.slot) {
            Closed::Empty | Closed::Already => self.queue_work(),
            // The last to leave will.
            Closed::Draining => {}
        }
    }

    /// Gives the socket back to WSK. On the worker.
    fn give_back(&self, wsk: SocketRef) {
        while let Some(parked) = self.accepts.pop() {
            parked.complete(WsaError::OperationAborted.status(), 0);
        }
        // SAFETY: whoever calls has the socket, so a reference to it exists.
        let context = unsafe { Ref::again(self) }.into_raw();
        // SAFETY: nobody's until this call (invariant); the routine takes the context over.
        unsafe { nt::set_completion_routine(self.close_irp, close_completed, context.as_ptr().cast()) };
        // SAFETY: the gate has drained, and this is the one close.
        let status = unsafe { wsk.close(nt::as_wsk(self.close_irp)) };
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
        state.gone = true;
        self.finish_if_over(state);
    }

    fn finish_if_over(&self, mut state: crate::lock::Guard<'_, SocketState>) {
        if state.gone && state.pending.is_empty() && !state.finished {
            state.finished = true;
            let (closing, request) = (state.closing, state.close_request.take());
            drop(state);
            self.finish(closing, request);
        }
    }

    /// The end: the socket leaves its instance and its slot, the close that asked for it completes.
    fn finish(&self, closing: bool, request: Option<Irp>) {
        // SAFETY: whoever calls has the socket, so a reference to it exists; the slot's may be the last but this.
        let socket = unsafe { Ref::again(self) };
        let instance = self.client.instance(self.provider);
        instance.remove(&socket);
        if closing {
            self.client.closing.fetch_sub(1, Ordering::Relaxed);
        }
        self.client.table.release(self.slot);
        if let Some(irp) = request {
            self.client.complete(irp, Kind::Close, STATUS_SUCCESS, 0);
        }
        instance.leave(&self.client);
    }

    /// The socket of WSK's to give back, if it is time to.
    fn due_for_close(&self) -> Option<SocketRef> {
        let mut state = self.state.lock();
        let due = state.closing
            && !state.close_issued
            && state.phase != Phase::Opening
            && self.client.table.is_drained(self.slot);
        state.close_issued |= due;
        state.wsk.filter(|_| due)
    }

    /// The state, for one look or step.
    pub fn with_state<R>(&self, look: impl FnOnce(&mut SocketState) -> R) -> R {
        look(&mut self.state.lock())
    }
}

impl SocketState {
    const fn new() -> Self {
        Self {
            phase: Phase::Opening,
            accepting: false,
            closing: false,
            close_issued: false,
            gone: false,
            finished: false,
            wsk: None,
            pending: List::new(),
            free: List::new(),
            close_request: None,
        }
    }

    fn begin_close(&mut self, client: &Client) -> bool {
        let first = !self.closing && !self.gone;
        if first {
            self.closing = true;
            client.closing.fetch_add(1, Ordering::Relaxed);
            if self.phase != Phase::Opening {
                client.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
        first
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: nobody has the socket, so nobody has its IRP.
        unsafe { nt::free_irp(self.close_irp) };
        let mut state = self.state.lock();
        while let Some(links) = state.free.pop() {
            // SAFETY: from `add_operation`, in no list now; a socket with a pending request has a reference.
            drop(unsafe { Box::from_raw(Operation::from_links(links).as_ptr()) });
        }
    }
}

/// The worker's run for a socket.
unsafe fn run(work: NonNull<Work>, passive: Passive) {
    // SAFETY: the place is built into a socket.
    let socket: NonNull<Socket> = unsafe { work.byte_sub(core::mem::offset_of!(Socket, work)) }.cast();
    // SAFETY: the reference that `queue_work` gave up.
    let socket = unsafe { Ref::from_raw(socket) };
    if let Some(wsk) = socket.due_for_close() {
        socket.give_back(wsk);
    } else if !socket.accepts.is_empty() {
        crate::accept::issue_waiting(&socket, passive);
    }
}

/// WSK has closed the socket. At any IRQL up to `DISPATCH_LEVEL`, perhaps inside the call.
unsafe extern "C" fn close_completed(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the reference that `give_back` gave up.
    let socket: Ref<Socket> = unsafe { Ref::from_raw(NonNull::new_unchecked(context.cast())) };
    let _whoever_is_second_has_nothing_to_do = socket.close_claim.completed();
    socket.given_back();
    nt::MORE_PROCESSING_REQUIRED
}
