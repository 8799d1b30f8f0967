//! A socket: from its creation, through WSK, until WSK has it back.
//!
//! ```text
//!   Opening ──▶ Created ──▶ Binding ──▶ Bound ──▶ Listening            (accepts: one at a time out at WSK, the rest wait here)
//!      │                                  └─────▶ Connecting ──▶ Connected   (accepted sockets: Opening ──▶ Connected)
//!      └── at any time: closing ──▶ nobody in a call ──▶ WskCloseSocket ──▶ no request pending ──▶ gone
//! ```

mod closing;
mod linger;
mod outcome;
mod outstanding;
mod pending;

pub use self::closing::Ending;
use self::closing::Step;
use self::linger::Lingering;
use self::pending::Records;
use crate::accept::InHand;
use crate::client::Client;
use crate::datagram::Peer;
use crate::events::{CALLBACKS, Happened};
use crate::irp::Irp;
use crate::list::Links;
use crate::lock::SpinLock;
use crate::operation::Operation;
use crate::queue::IrpQueue;
use crate::table::{NoSlot, SlotIndex};
use crate::target::Target;
use crate::worker::Work;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use wdk_sys::NTSTATUS;
use wsk::{Callbacks, Category, Claim, OwnIrp, Passive, Ref, SocketRef, sys::AddressFamily};
use wskclient_abi::{AcceptReply, Linger, Role, SocketHandle, WsaError};
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

/// How far the end of a socket's sending has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendSide {
    /// It sends.
    Open,
    /// It is being shut down.
    Ending,
    /// A shutdown failed, perhaps cancelled: whether the end of the stream has gone out is WSK's to say.
    Unknown,
    /// It is shut down.
    Ended,
}

impl SendSide {
    /// Whether nothing more may be sent.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ending | Self::Ended)
    }

    /// A shutdown has come to its end. One that follows another changes nothing about that one.
    fn shutdown_ended(&mut self, status: NTSTATUS) {
        *self = match *self {
            _ if status >= 0 => Self::Ended,
            Self::Ending if WsaError::from_status(status) == Some(WsaError::NotSupported) => Self::Open,
            Self::Ending => Self::Unknown,
            other => other,
        };
    }
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
    close_irp: OwnIrp,
    close_claim: Claim,
    state: SpinLock<SocketState>,
    /// Accepts that wait for the one that is out.
    pub accepts: IrpQueue,
    /// The one that the worker is handing out.
    pub in_hand: InHand,
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
    /// An accept is out at WSK, or about to be.
    pub accepting: bool,
    /// It is the worker that is to hand the next one out: who comes now waits behind those that waited before.
    pub handing_on: bool,
    /// It is to be closed: nobody comes in any more.
    pub closing: bool,
    /// Its send direction.
    pub send_side: SendSide,
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
    records: Records,
    close_request: Option<Irp>,
    lingering: Lingering,
    /// What a close without flags does.
    pub linger_option: Linger,
}

/// Bytes that the pool adds to an allocation.
const POOL_HEADER: usize = 16;
/// An IRP with one stack location, bytes.
const IRP_SIZE: usize = size_of::<wdk_sys::IRP>() + size_of::<wdk_sys::IO_STACK_LOCATION>();

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
        let socket = OwnIrp::try_new().ok().and_then(|close_irp| {
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
                in_hand: InHand::nothing(),
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
            handing_on: false,
            closing: false,
            send_side: SendSide::Open,
            peer: Peer::none(),
            held: Held::ByWsk,
            handle: SocketHandle(0),
            closing_since: 0,
            happened: Happened::nothing(),
            ready: None,
            wsk: None,
            records: Records::none(),
            close_request: None,
            lingering: Lingering::none(),
            linger_option: crate::options::NEW_LINGER,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A request that is out keeps the socket: every record is free.
        self.state.lock().records.free();
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
    if socket.role() == Role::Listen {
        crate::accept::issue_waiting(&socket, passive);
    }
}
