//! IRPs that wait in the driver, each cancellable at any moment.
//!
//! The cancel routine's exchange is the claim: whoever takes the routine out of the IRP, the canceller or the driver, ends it.
//! (The kernel's own cancel-safe queues, `IoCsq*`, do the same; stock Wine has none.)

use crate::client::{Client, Handle, Opener};
use crate::clock;
use crate::irp::Irp;
use crate::list::{Links, List};
use crate::lock::SpinLock;
use crate::nt;
use crate::socket::Socket;
use crate::table::OwnedEntry;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use wdk_sys::{DEVICE_OBJECT, IRP};
use wsk::{Ref, Running};
use wskclient_abi::{Kind, WsaError};

/// Waiting IRPs, oldest first.
///
/// # Invariants
/// - Each IRP in the list is owned by this driver; its `DriverContext` holds the queue, the owner, the kind and the time.
/// - The owner in it keeps the queue alive.
pub struct IrpQueue {
    irps: SpinLock<List>,
}

/// What a parked IRP keeps alive: the handle that it came through, or the socket that it waits for. Both keep their client.
pub enum Owner {
    /// Startups and cleanups.
    Handle(Ref<Handle>),
    /// Accepts: inside the socket's gate, so that the socket is not given back to WSK while they wait.
    Socket(OwnedEntry),
    /// Closes that wait for the end of the socket, and do not hold it up: inside the instance's gate, so that the teardown is not over
    /// before the last of them is complete, however it ends.
    Closing(Ref<Socket>),
}

/// An IRP that has been taken out of a queue.
pub struct Parked {
    /// The IRP.
    pub irp: Irp,
    /// What it kept alive.
    pub owner: Owner,
    /// What it is counted as.
    pub kind: Kind,
    /// When it was taken.
    pub since: u64,
}

const HANDLE: usize = 1;
const SOCKET: usize = 2;
const CLOSING: usize = 3;
/// The owner's tag is below this bit in the word that it shares with the kind.
const KIND_SHIFT: u32 = 8;

impl Owner {
    fn into_raw(self) -> (*mut core::ffi::c_void, usize) {
        match self {
            Self::Handle(handle) => (handle.into_raw().as_ptr().cast(), HANDLE),
            Self::Socket(socket) => (socket.into_raw().as_ptr().cast(), SOCKET),
            Self::Closing(socket) => (socket.into_raw().as_ptr().cast(), CLOSING),
        }
    }

    /// # Safety
    /// The pair came from `into_raw` and is taken back this once.
    unsafe fn from_raw(pointer: *mut core::ffi::c_void, tag: usize) -> Self {
        // SAFETY: what `into_raw` gives is not null.
        let pointer = unsafe { NonNull::new_unchecked(pointer) };
        if tag == HANDLE {
            // SAFETY: the caller's promise.
            Self::Handle(unsafe { Ref::from_raw(pointer.cast()) })
        } else if tag == CLOSING {
            // SAFETY: the caller's promise.
            Self::Closing(unsafe { Ref::from_raw(pointer.cast()) })
        } else {
            // SAFETY: the caller's promise.
            Self::Socket(unsafe { OwnedEntry::from_raw(pointer.cast()) })
        }
    }
}

impl Parked {
    /// An IRP that is taken now.
    pub fn new(irp: Irp, owner: Owner, kind: Kind) -> Self {
        Self { irp, owner, kind, since: clock::now() }
    }

    /// Completes the IRP, counted, and lets go of what it kept alive.
    pub fn complete(self, status: wdk_sys::NTSTATUS, information: usize) {
        match &self.owner {
            Owner::Handle(handle) => {
                handle.client().complete(self.irp, self.kind, status, information);
            }
            Owner::Socket(socket) => {
                if self.kind == Kind::Events {
                    socket.with_state(|state| state.happened.end());
                }
                socket.client().complete(self.irp, self.kind, status, information);
            }
            Owner::Closing(socket) => {
                let client = socket.client();
                client.complete(self.irp, self.kind, status, information);
                client.instance(socket.spec().target).leave(client);
            }
        }
    }
}

impl IrpQueue {
    /// Empty.
    pub const fn new() -> Self {
        Self { irps: SpinLock::new(List::new()) }
    }

    /// Whether nothing waits. What is being cancelled at this moment may still be seen.
    pub fn is_empty(&self) -> bool {
        self.irps.lock().is_empty()
    }

    /// Whether nothing waits that is wanted and `look`, under the queue's lock, finds nothing either. What is being cancelled at this
    /// moment may still be seen.
    pub fn has_none_and(&self, wanted: impl Fn(&Irp) -> bool, look: impl FnOnce() -> bool) -> bool {
        let list = self.irps.lock();
        let mut next = list.first();
        while let Some(links) = next {
            // SAFETY: in the list, so alive and at our location; the value is only looked at, and forgotten.
            if wanted(&ManuallyDrop::new(unsafe { Irp::from_raw(irp_of(links)) })) {
                return false;
            }
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
        look()
    }

    /// How many wait. Linear.
    pub fn count(&self) -> usize {
        let list = self.irps.lock();
        let mut next = list.first();
        let mut count = 0_usize;
        while let Some(links) = next {
            count = count.wrapping_add(1);
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
        count
    }

    /// Lets an IRP wait, which is marked pending and counted as taken. One that is cancelled already is completed.
    pub fn park(&self, parked: Parked) {
        let Parked { irp, owner, kind, since } = parked;
        let irp = irp.into_raw();
        let (pointer, tag) = owner.into_raw();
        let context = [
            core::ptr::from_ref(self).cast_mut().cast(),
            pointer,
            core::ptr::without_provenance_mut(tag | (kind as usize) << KIND_SHIFT),
            core::ptr::without_provenance_mut(usize::try_from(since).unwrap_or(usize::MAX)),
        ];
        // SAFETY: ours.
        unsafe { nt::set_context(irp, context) };
        let mut list = self.irps.lock();
        // SAFETY: the context is set for the routine, which takes the list's lock before it touches the list.
        unsafe { nt::exchange_cancel_routine(irp, Some(cancelled)) };
        // SAFETY: ours until the lock is released or the routine is called, which waits for the lock.
        let already = unsafe { nt::is_cancelled(irp) };
        // SAFETY: alive for the same reason.
        if already && unsafe { nt::exchange_cancel_routine(irp, None) } {
            drop(list);
            // SAFETY: the routine is out again and was not called: the IRP is ours alone.
            unsafe { Parked::from_context(irp) }.complete(WsaError::OperationAborted.status(), 0);
            return;
        }
        // SAFETY: the owner of an IRP may use its list entry.
        let entry = unsafe { nt::list_entry(irp) };
        // SAFETY: in no list; it stays there until the IRP is taken out.
        unsafe { list.push(entry) };
    }

    /// Looks at what waits: whose it is, its kind, and when it was taken. What is being cancelled at this moment may still be seen. `visit` is called
    /// under the queue's lock.
    pub fn for_each(&self, mut visit: impl FnMut(&Client, Kind, u64)) {
        let list = self.irps.lock();
        let mut next = list.first();
        while let Some(links) = next {
            // SAFETY: in the list, so parked while the lock is held; the value is only looked at, and forgotten.
            let look = ManuallyDrop::new(unsafe { Parked::from_context(irp_of(links)) });
            let client = match &look.owner {
                Owner::Handle(handle) => handle.client(),
                Owner::Socket(socket) => socket.client(),
                Owner::Closing(socket) => socket.client(),
            };
            visit(client, look.kind, look.since);
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
    }

    /// Takes the oldest IRP out that nobody is cancelling.
    pub fn pop(&self) -> Option<Parked> {
        self.take_where(|_| true, |_| ())
    }

    /// As [`pop`](Self::pop); `note` is told of its kind under the queue's lock, so that who looks in both places finds it in one.
    pub fn pop_noting(&self, note: impl FnOnce(Kind)) -> Option<Parked> {
        self.take_where(|_| true, note)
    }

    /// Takes the oldest IRP out that is wanted and nobody is cancelling.
    pub fn pop_where(&self, wanted: impl Fn(&Irp) -> bool) -> Option<Parked> {
        self.take_where(wanted, |_| ())
    }

    /// Takes every IRP out that came through a handle and nobody is cancelling, and then ends each, with no lock held. Linear.
    pub fn drain_of(&self, opener: Opener, mut end: impl FnMut(Parked)) {
        let mut taken = List::new();
        let mut list = self.irps.lock();
        let mut next = list.first();
        while let Some(links) = next {
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
            if Self::claims(links, |irp| Opener::of(irp) == opener) {
                // SAFETY: in this list.
                unsafe { list.remove(links) };
                // SAFETY: in no list now; the IRP, and the entry with it, is this driver's alone until it is popped below.
                unsafe { taken.push(links) };
            }
        }
        drop(list);
        while let Some(links) = taken.pop() {
            // SAFETY: the routine is out and will not be called: the IRP is ours alone.
            end(unsafe { Parked::from_context(irp_of(links)) });
        }
    }

    fn take_where(&self, wanted: impl Fn(&Irp) -> bool, note: impl FnOnce(Kind)) -> Option<Parked> {
        let mut list = self.irps.lock();
        let mut next = list.first();
        while let Some(links) = next {
            if Self::claims(links, &wanted) {
                // SAFETY: in this list.
                unsafe { list.remove(links) };
                // SAFETY: the routine is out and will not be called: the IRP is ours alone.
                let parked = unsafe { Parked::from_context(irp_of(links)) };
                note(parked.kind);
                return Some(parked);
            }
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
        None
    }

    /// Claims an IRP of a list whose lock is held, if it is wanted: false if somebody is cancelling it.
    fn claims(links: NonNull<Links>, wanted: impl Fn(&Irp) -> bool) -> bool {
        let irp = irp_of(links);
        // SAFETY: in the list, so alive and at our location; the value is only looked at, and forgotten.
        let look = ManuallyDrop::new(unsafe { Irp::from_raw(irp) });
        // SAFETY: in the list, so alive.
        wanted(&look) && unsafe { nt::exchange_cancel_routine(irp, None) }
    }
}

impl Parked {
    /// # Safety
    /// The IRP was parked, is in no list, and no cancel routine will be called for it; or the value is forgotten before the list's lock
    /// is released.
    unsafe fn from_context(irp: NonNull<IRP>) -> Self {
        // SAFETY: what `park` wrote.
        let [_, pointer, word, since] = unsafe { nt::context(irp) };
        let kind = Kind::ALL.get(word.addr() >> KIND_SHIFT).copied().unwrap_or(Kind::Startup);
        let since = since.addr() as u64;
        // SAFETY: what `park` wrote, taken back once: the IRP is in no list any more.
        let owner = unsafe { Owner::from_raw(pointer, word.addr() & ((1 << KIND_SHIFT) - 1)) };
        // SAFETY: the caller's promise.
        let irp = unsafe { Irp::from_raw(irp) };
        Self { irp, owner, kind, since }
    }
}

fn irp_of(links: NonNull<Links>) -> NonNull<IRP> {
    // SAFETY: only list entries of IRPs are in these lists.
    unsafe { links.byte_sub(nt::LIST_ENTRY_OFFSET) }.cast()
}

/// The cancel routine: called with the cancel spin lock held, at `DISPATCH_LEVEL`.
unsafe extern "C" fn cancelled(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    let _running = Running::enter(irp);
    // SAFETY: the I/O manager gives no null IRP.
    let irp = unsafe { nt::non_null(irp) };
    // SAFETY: this is the IRP's cancel routine.
    unsafe { nt::release_cancel_lock(irp) };
    // SAFETY: whoever calls the routine has taken it out: the IRP is ours, and its owner keeps the queue alive.
    let [queue, ..] = unsafe { nt::context(irp) };
    // SAFETY: the owner in the IRP keeps the queue, which `park` wrote there.
    let queue = unsafe { &*queue.cast::<IrpQueue>() };
    let mut list = queue.irps.lock();
    // SAFETY: the IRP is ours.
    let entry = unsafe { nt::list_entry(irp) };
    // SAFETY: `park` linked it before it released the lock, and nobody who lost the exchange unlinks it.
    unsafe { list.remove(entry) };
    drop(list);
    // SAFETY: out of the list; the routine has been called.
    unsafe { Parked::from_context(irp) }.complete(WsaError::OperationAborted.status(), 0);
}
