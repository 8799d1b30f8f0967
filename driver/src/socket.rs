//! A socket: from its creation, through WSK, until WSK has it back.
//!
//! ```text
//!   Opening ──▶ Created ──▶ Binding ──▶ Bound ──▶ Listening            (accepts: one at a time out at WSK, the rest wait here)
//!      │                                  └─────▶ Connecting ──▶ Connected   (accepted sockets: Opening ──▶ Connected)
//!      └── at any time: closing ──▶ nobody in a call ──▶ WskCloseSocket ──▶ no request pending ──▶ gone
//! ```

mod closing;
mod linger;
mod outstanding;

pub use self::closing::Ending;
use self::closing::Step;
use self::linger::{Lingering, Stage};
use crate::cancel::{Why, blocks};
use crate::client::{Client, Opener};
use crate::clock;
use crate::datagram::Peer;
use crate::events::{CALLBACKS, Happened};
use crate::irp::Irp;
use crate::list::{Links, List};
use crate::lock::SpinLock;
use crate::nt;
use crate::operation::Operation;
use crate::queue::IrpQueue;
use crate::table::{NoSlot, SlotIndex};
use crate::target::Target;
use crate::worker::Work;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use wdk_sys::{IRP, NTSTATUS};
use wsk::{Callbacks, Category, Claim, Ended, Passive, Ref, SocketRef, sys::AddressFamily, try_box};
use wskclient_abi::{
    AcceptReply, AddressReply, Kind, Linger, Role, STATUS_SUCCESS, SocketHandle, SocketReply, WsaError, is_error,
};
use zerocopy::FromZeros;

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

/// Who has a socket, on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// WSK, or nobody yet.
    ByWsk,
    /// `WskCloseSocket` is out.
    Closing,
    /// WSK no longer, or never: it goes when no request is pending.
    Gone,
    /// Nobody: it has left its instance and its slot.
    Finished,
}

/// What a socket is to be.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// What it belongs to.
    pub target: Target,
    /// Its address family.
    pub family: AddressFamily,
    /// What it is for.
    pub role: Role,
}

/// Records that a socket has from its creation, for one request in each direction; it gets more as more of its requests are pending at once.
const OPERATIONS: usize = 2;

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
    spec: Spec,
    slot: SlotIndex,
    close_irp: NonNull<IRP>,
    close_claim: Claim,
    state: SpinLock<SocketState>,
    /// Accepts that wait for the one that is out.
    pub accepts: IrpQueue,
    /// That its close lasts has been noted.
    pub long_close: AtomicBool,
    /// A request that waits for events.
    pub events: IrpQueue,
    /// The addresses of a connection that nobody has accepted yet. WSK's while it is opening, and then the listener's.
    arrival: UnsafeCell<AcceptReply>,
    /// Closes that wait until the lingering is over.
    closes: IrpQueue,
}

/// What changes about a socket, under its lock.
pub struct SocketState {
    /// How far it has come.
    pub phase: Phase,
    /// An accept is out at WSK.
    pub accepting: bool,
    /// It is to be closed: nobody comes in any more.
    pub closing: bool,
    /// Its send direction is shut down, or being so.
    pub shut_down: bool,
    /// A datagram socket's peer.
    pub peer: Peer,
    /// Who has it.
    pub held: Held,
    /// Its name, once it has one.
    handle: SocketHandle,
    /// When it began to be closed.
    closing_since: u64,
    /// What has happened to it.
    pub happened: Happened,
    /// A listening socket's connection that nobody has accepted yet.
    pub ready: Option<Ref<Socket>>,
    /// WSK's socket.
    pub wsk: Option<SocketRef>,
    pending: List,
    /// Requests that have left the pending set and whose IRPs are not complete.
    completing: u32,
    free: List,
    close_request: Option<Irp>,
    lingering: Lingering,
    /// What a close without flags does.
    pub linger_option: Linger,
}

/// Bytes that the pool adds to an allocation.
const POOL_HEADER: usize = 16;
/// An IRP with one stack location, bytes.
const IRP_SIZE: usize = size_of::<IRP>() + size_of::<wdk_sys::IO_STACK_LOCATION>();

/// What a socket costs in all: itself with the count of its pointers, the IRP that closes it, its records, and their pool headers.
const _: () = {
    let own = size_of::<Socket>() + size_of::<usize>() + IRP_SIZE + OPERATIONS * size_of::<Operation>();
    assert!(own + (2 + OPERATIONS) * POOL_HEADER <= 1024);
};

// SAFETY: the cells are used under the instance's lock, the rest is synchronised.
unsafe impl Sync for Socket {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Socket {}

impl Socket {
    /// A socket that WSK does not know yet, of a provider that is up. `PASSIVE_LEVEL` by its callers.
    ///
    /// # Errors
    /// `WSANOTINITIALISED`, `WSAEMFILE`, `WSAENOBUFS`; nothing is left behind.
    pub fn try_new(client: &Ref<Client>, spec: Spec) -> Result<Ref<Self>, NTSTATUS> {
        let instance = client.instance(spec.target);
        if !instance.enter() {
            return Err(WsaError::NotInitialised.status());
        }
        let socket = Self::inside(client, spec);
        match &socket {
            Ok(socket) => instance.add(socket.links(), client),
            Err(_) => instance.leave(client),
        }
        socket.map_err(WsaError::status)
    }

    /// The part of the creation that is inside the instance's gate.
    fn inside(client: &Ref<Client>, spec: Spec) -> Result<Ref<Self>, WsaError> {
        let slot = client.table.reserve(client.driver().limits.sockets).map_err(|no| match no {
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
                spec,
                slot,
                close_irp,
                close_claim: Claim::new(),
                state: SpinLock::new(state),
                accepts: IrpQueue::new(),
                long_close: AtomicBool::new(false),
                events: IrpQueue::new(),
                arrival: UnsafeCell::new(AcceptReply::new_zeroed()),
                closes: IrpQueue::new(),
            })
            // A socket that finds no pool is dropped, and its IRP with it.
            .ok()
        });
        let complete = socket.filter(|socket| (0..OPERATIONS).all(|_| socket.add_operation()));
        let Some(socket) = complete else {
            client.table.release(slot);
            return Err(WsaError::NoBuffers);
        };
        client.table.fill(slot, socket.clone());
        Ok(socket)
    }

    /// The socket's client.
    pub const fn client(&self) -> &Ref<Client> {
        &self.client
    }

    /// What it is.
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it is for.
    pub const fn role(&self) -> Role {
        self.spec.role
    }

    /// What WSK calls that.
    pub const fn category(&self) -> Category {
        match self.spec.role {
            Role::Listen => Category::Listen,
            Role::Connection => Category::Connection,
            Role::Datagram => Category::Datagram,
        }
    }

    /// What WSK tells of it, and with which context.
    pub const fn callbacks(&self) -> (*mut c_void, &'static Callbacks) {
        (core::ptr::from_ref(self).cast_mut().cast(), &CALLBACKS)
    }

    /// Where WSK writes the addresses of a connection that nobody asked for yet.
    pub const fn arrival(&self) -> *mut AcceptReply {
        self.arrival.get()
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
            if state.free.is_empty() {
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
            let Some(links) = state.free.pop() else {
                return Err(WsaError::NoBuffers.status());
            };
            let mut operation = Operation::from_links(links);
            // SAFETY: whoever calls has the socket, so a reference to it exists.
            let socket = unsafe { Ref::again(self) };
            // SAFETY: a free record is nobody's.
            unsafe { operation.as_mut() }.begin(socket, kind, irp, since);
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

    /// A record's request is over, but for the completion of its IRP: until [`completed`](Self::completed) the socket stays. The
    /// record is free if the call has returned.
    ///
    /// # Safety
    /// The record is in the pending set, and the claim, which is the record's, has told the caller to end the request.
    pub unsafe fn take_back(&self, operation: NonNull<Operation>, claim: &Claim) {
        let mut state = self.state.lock();
        // SAFETY: the caller's promise.
        unsafe { state.pending.remove(operation.cast()) };
        state.completing = state.completing.wrapping_add(1);
        if claim.ended() == Ended::Second {
            // SAFETY: in no list now, and nobody uses it any more.
            unsafe { state.free.push(operation.cast()) };
        }
    }

    /// The IRP of a request that was taken back is complete.
    pub fn completed(&self) {
        let mut state = self.state.lock();
        state.completing = state.completing.wrapping_sub(1);
        if state.linger_goes_on() {
            drop(state);
            self.queue_work();
        } else {
            self.finish_if_over(state);
        }
    }

    /// Cancels the requests that came through a handle: those that wait here, and those that are out at WSK.
    pub fn cancel_requests_of(&self, opener: Opener) {
        for queue in [&self.accepts, &self.events] {
            while let Some(parked) = queue.pop_of(opener) {
                parked.complete(WsaError::OperationAborted.status(), 0);
            }
        }
        while let Some(operation) = self.hold_for_cancel(Why::Aborted, |operation| operation.came_through(opener)) {
            // SAFETY: held just now.
            unsafe { crate::operation::cancel_held(operation) };
        }
    }

    /// Whether a call is out, or waits, that blocks a client which knows no overlapped I/O.
    pub fn has_blocking_calls(&self) -> bool {
        let any = self.any_pending(|operation| blocks(operation.kind()));
        any || !self.accepts.is_empty()
    }

    fn any_pending(&self, wanted: impl Fn(&Operation) -> bool) -> bool {
        let state = self.state.lock();
        let mut next = state.pending.first();
        while let Some(links) = next {
            // SAFETY: pending, so the record is there while the lock is held.
            if wanted(unsafe { Operation::from_links(links).as_ref() }) {
                return true;
            }
            // SAFETY: in the list whose lock is held.
            next = unsafe { Links::after(links) };
        }
        false
    }

    /// Cancels the blocking calls of a client that knows no overlapped I/O; how many.
    pub fn cancel_blocking_calls(&self) -> u32 {
        let mut count = 0_u32;
        while let Some(parked) = self.accepts.pop() {
            parked.complete(WsaError::Interrupted.status(), 0);
            count = count.wrapping_add(1);
        }
        while let Some(operation) = self.hold_for_cancel(Why::Interrupted, |operation| blocks(operation.kind())) {
            // SAFETY: held just now.
            unsafe { crate::operation::cancel_held(operation) };
            count = count.wrapping_add(1);
        }
        count
    }

    fn hold_for_cancel(&self, why: Why, wanted: impl Fn(&Operation) -> bool) -> Option<NonNull<Operation>> {
        let state = self.state.lock();
        let mut next = state.pending.first();
        while let Some(links) = next {
            let operation = Operation::from_links(links);
            // SAFETY: pending, so the record is there while the lock is held.
            let record = unsafe { operation.as_ref() };
            if wanted(record) && record.hold_for_cancel(why) {
                return Some(operation);
            }
            // SAFETY: in the list whose lock is held.
            next = unsafe { Links::after(links) };
        }
        None
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
            Kind::Connect if self.role() == Role::Datagram => self.peer_fixed(status, irp),
            Kind::ReceiveFrom => self.received_from(status, information),
            Kind::Connect => {
                let answer = self.moved(status, Phase::Connected, Phase::Bound);
                self.connect_ended(answer.0);
                answer
            }
            Kind::Events => self.arrived(reserved, status, information, irp),
            Kind::Accept => self.accepted(reserved, status, information, irp),
            Kind::Address => self.address(status, irp),
            Kind::Shutdown => self.shut_down(status),
            Kind::GetOption => self.option_read(status, information, irp),
            Kind::IoControl => self.controlled(status, irp),
            Kind::SetOption => (self.verdict(status), 0),
            Kind::Send => self.sent(status, information),
            _ => (self.verdict(status), information),
        }
    }

    /// A request that fails while its socket is being closed was cancelled by that, whatever WSK calls it (contract: CARD-3).
    pub fn verdict(&self, status: NTSTATUS) -> NTSTATUS {
        if is_error(status) && self.state.lock().closing { WsaError::OperationAborted.status() } else { status }
    }

    fn sent(&self, status: NTSTATUS, information: usize) -> (NTSTATUS, usize) {
        if status < 0 {
            // A stream that lacks what was to be sent does not end as if it were whole.
            self.state.lock().lingering.stage = Stage::Over;
        }
        (self.verdict(status), information)
    }

    fn moved(&self, status: NTSTATUS, success: Phase, failure: Phase) -> (NTSTATUS, usize) {
        self.state.lock().phase = if status == STATUS_SUCCESS { success } else { failure };
        (self.verdict(status), 0)
    }

    fn address(&self, status: NTSTATUS, irp: &mut Irp) -> (NTSTATUS, usize) {
        // WSK has written the address where the reply is.
        let length = if status == STATUS_SUCCESS { irp.amend_reply(|_: &mut AddressReply| ()) } else { 0 };
        (self.verdict(status), length)
    }

    fn shut_down(&self, status: NTSTATUS) -> (NTSTATUS, usize) {
        if status < 0 {
            // Nothing was shut down: it may be tried again.
            self.state.lock().shut_down = false;
        }
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
        self.accept_is_back();
        let Some(reserved) = reserved else {
            return (WsaError::NoBuffers.status(), 0);
        };
        match reserved.arrive(status, information, Phase::Connected) {
            Ok(socket) => (STATUS_SUCCESS, irp.amend_reply(|reply: &mut AcceptReply| reply.socket = socket)),
            Err(status) => {
                reserved.discard();
                (self.verdict(status), 0)
            }
        }
    }

    /// As [`accepted`](Self::accepted), for who waits for a connection: it is kept for the next accept.
    fn arrived(
        &self,
        reserved: Option<Ref<Self>>,
        status: NTSTATUS,
        information: usize,
        irp: &mut Irp,
    ) -> (NTSTATUS, usize) {
        let arrival = match &reserved {
            Some(reserved) => reserved.arrive(status, information, Phase::Connected),
            None => Err(WsaError::NoBuffers.status()),
        };
        let answer = match (arrival, reserved) {
            (Ok(socket), Some(reserved)) => self.keep_ready(socket, reserved, irp),
            (Err(status), Some(reserved)) => {
                reserved.discard();
                (self.verdict(status), 0)
            }
            (_, None) => (WsaError::NoBuffers.status(), 0),
        };
        self.state.lock().happened.end();
        self.accept_is_back();
        answer
    }

    fn keep_ready(
        &self,
        handle: wskclient_abi::SocketHandle,
        connection: Ref<Self>,
        irp: &mut Irp,
    ) -> (NTSTATUS, usize) {
        // SAFETY: WSK has written the addresses, and nobody else has the connection.
        unsafe { (*connection.arrival()).socket = handle };
        let mut state = self.state.lock();
        if state.closing {
            drop(state);
            connection.close();
            return (WsaError::OperationAborted.status(), 0);
        }
        state.ready = Some(connection);
        drop(state);
        (STATUS_SUCCESS, irp.reply(&crate::events::ACCEPTABLE))
    }

    /// The accept that was out at WSK is back: another may go.
    fn accept_is_back(&self) {
        self.state.lock().accepting = false;
        if !self.accepts.is_empty() {
            self.queue_work();
        }
    }

    /// WSK has answered for a socket that was opening: it may be used from now on, unless it is being closed already.
    fn arrive(&self, status: NTSTATUS, information: usize, phase: Phase) -> Result<SocketHandle, NTSTATUS> {
        let mut state = self.state.lock();
        let wsk = SocketRef::from_information(information).filter(|_| status == STATUS_SUCCESS);
        state.wsk = wsk;
        if wsk.is_none() {
            state.held = Held::Gone;
            let closing = state.closing;
            drop(state);
            let failed = if status < 0 { status } else { WsaError::NetworkDown.status() };
            return Err(if closing { WsaError::OperationAborted.status() } else { failed });
        }
        state.phase = phase;
        if state.closing {
            drop(state);
            self.queue_work();
            return Err(WsaError::OperationAborted.status());
        }
        // Under the lock, so that a close finds the gate open or the socket opening.
        self.client.open.fetch_add(1, Ordering::Relaxed);
        let published = self.client.table.publish(self.slot);
        state.handle = published.unwrap_or_default();
        drop(state);
        if self.client.is_dead() {
            // The last handle's cleanup may have come by too early to see the socket.
            self.close();
        }
        published.ok_or(WsaError::NoBuffers.status())
    }

    /// Lets go of a socket that WSK never made, and that no request is pending on.
    pub fn discard(&self) {
        let mut state = self.state.lock();
        if state.wsk.is_none() {
            state.held = Held::Gone;
            self.finish_if_over(state);
        }
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
            shut_down: false,
            peer: Peer::none(),
            held: Held::ByWsk,
            handle: SocketHandle(0),
            closing_since: 0,
            happened: Happened::nothing(),
            ready: None,
            wsk: None,
            pending: List::new(),
            completing: 0,
            free: List::new(),
            close_request: None,
            lingering: Lingering::none(),
            linger_option: crate::options::NEW_LINGER,
        }
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
    match socket.next_step() {
        Some((Step::Disconnect, wsk)) => return socket.disconnect(wsk),
        Some((Step::Drain, wsk)) => return socket.drain(wsk),
        Some((Step::GiveBack, wsk)) => return socket.give_back(wsk),
        None => {}
    }
    if !socket.accepts.is_empty() {
        crate::accept::issue_waiting(&socket, passive);
    }
}
