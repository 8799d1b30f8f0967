//! A client's sockets by handle: a lookup takes no lock.
//!
//! A slot never moves and lives as long as its client; its [`Gate`] says whether the socket in it may be used, and by handles of
//! which generation. So a stale handle is refused, and never names the slot's next socket.

use crate::lock::SpinLock;
use crate::socket::Socket;
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ops::Deref;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use wsk::{OutOfPool, Ref};
use wskclient_abi::SocketHandle;
use wskclient_lifecycle::{Closed, Gate, Left};

/// A place for a socket.
///
/// # Invariants
/// - `socket` is null, or a pointer that a `Ref<Socket>` gave up: the latter from [`fill`](SocketTable::fill) to
///   [`release`](SocketTable::release), so while the gate is open, or somebody is inside. It becomes null under the table's lock.
struct Slot {
    gate: Gate,
    socket: AtomicPtr<Socket>,
    /// The next free slot, while this one is free. Under the table's lock.
    next_free: AtomicU32,
}

/// Slots in the first chunk; each further chunk has twice as many.
const FIRST_CHUNK: u32 = 16;
/// As many chunks as make [`MAX_SOCKETS`] slots.
const CHUNKS: usize = 11;
/// How many sockets a client can have at most.
pub const MAX_SOCKETS: u32 = 16_384;
const _: () = assert!(FIRST_CHUNK * ((1 << CHUNKS) - 1) >= MAX_SOCKETS);
/// No slot.
const NONE: u32 = u32::MAX;

/// The slots of one client.
///
/// # Invariants
/// - A chunk pointer is written once, and points to that chunk's number of slots until the table is dropped.
pub struct SocketTable {
    chunks: [AtomicPtr<Slot>; CHUNKS],
    free: SpinLock<FreeSlots>,
    /// Slots in use. Changes under the lock.
    used: AtomicU32,
}

struct FreeSlots {
    first: u32,
    chunks: usize,
}

/// A slot that is being used for a socket: from the reservation until it is given back.
#[derive(Clone, Copy, Debug)]
pub struct SlotIndex(u32);

/// Why there is no slot.
pub enum NoSlot {
    /// The client has as many sockets as it may have.
    Quota,
    /// Pool ran out.
    OutOfPool,
}

/// A call on a socket that is under way: while it exists, the socket is not given back to WSK.
///
/// # Invariants
/// - It is inside the slot's gate.
pub struct Entry<'a> {
    slot: &'a Slot,
    socket: &'a Socket,
}

impl Deref for Entry<'_> {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        self.socket
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // SAFETY: the socket lives until the slot lets go of it, which happens only after the gate has drained: a reference of
        // our own makes it outlive the leaving.
        let socket = unsafe { Ref::again(self.socket) };
        if self.slot.gate.leave() == Left::Last {
            socket.gate_drained();
        }
    }
}

impl Entry<'_> {
    /// The same entry, without the borrow.
    pub fn into_owned(self) -> OwnedEntry {
        // SAFETY: the entry keeps the socket.
        let socket = unsafe { Ref::again(self.socket) };
        // INVARIANT: inside, since this entry does not leave.
        core::mem::forget(self);
        OwnedEntry(socket)
    }
}

/// As [`Entry`], for what outlives the call that made it.
///
/// # Invariants
/// - It is inside the gate of the socket's slot.
pub struct OwnedEntry(Ref<Socket>);

impl OwnedEntry {
    /// Gives the entry up without leaving.
    pub fn into_raw(self) -> NonNull<Socket> {
        // SAFETY: read once, and `self` is forgotten.
        let socket = unsafe { core::ptr::read(&raw const self.0) };
        core::mem::forget(self);
        socket.into_raw()
    }

    /// Takes back what [`into_raw`](Self::into_raw) gave up.
    ///
    /// # Safety
    /// `socket` came from `into_raw` and is taken back this once.
    pub unsafe fn from_raw(socket: NonNull<Socket>) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Ref::from_raw(socket) })
    }
}

impl Deref for OwnedEntry {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.0
    }
}

impl Drop for OwnedEntry {
    fn drop(&mut self) {
        if self.0.client().table.leave(self.0.slot()) == Left::Last {
            self.0.gate_drained();
        }
    }
}

const fn chunk_length(chunk: usize) -> u32 {
    FIRST_CHUNK << chunk
}

/// The chunk of a slot, and its place there.
fn locate(index: u32) -> (usize, usize) {
    let chunk = (index / FIRST_CHUNK).wrapping_add(1).ilog2();
    let before = FIRST_CHUNK.wrapping_mul((1_u32 << chunk).wrapping_sub(1));
    (chunk as usize, index.wrapping_sub(before) as usize)
}

fn chunk_layout(chunk: usize) -> Option<Layout> {
    Layout::array::<Slot>(chunk_length(chunk) as usize).ok()
}

impl SocketTable {
    /// No slots.
    pub const fn new() -> Self {
        Self {
            chunks: [const { AtomicPtr::new(null_mut()) }; CHUNKS],
            free: SpinLock::new(FreeSlots { first: NONE, chunks: 0 }),
            used: AtomicU32::new(0),
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        if index >= MAX_SOCKETS {
            return None;
        }
        let (chunk, place) = locate(index);
        let slots = NonNull::new(self.chunks.get(chunk)?.load(Ordering::Acquire))?;
        // SAFETY: `place` is within the chunk's length.
        let slot = unsafe { slots.add(place) };
        // SAFETY: written before the chunk was published, and there until the table is dropped (invariant).
        Some(unsafe { slot.as_ref() })
    }

    /// Goes in to the open socket that a handle names.
    pub fn enter(&self, handle: SocketHandle) -> Option<Entry<'_>> {
        let index = u32::try_from(handle.0 & u64::from(u32::MAX)).ok()?;
        let generation = u32::try_from(handle.0 >> 32).ok()?;
        let slot = self.slot(index)?;
        slot.gate.enter(generation).then(|| slot.entry())
    }

    /// Comes out of a slot's gate.
    fn leave(&self, index: SlotIndex) -> Left {
        self.slot(index.0).map_or(Left::Others, |slot| slot.gate.leave())
    }

    /// Goes in to every open socket, one after the other.
    pub fn for_each(&self, visit: impl Fn(&Entry<'_>)) {
        for slot in (0..MAX_SOCKETS).map_while(|index| self.slot(index)) {
            if slot.gate.enter_any() {
                let entry = slot.entry();
                visit(&entry);
            }
        }
    }

    /// Every socket that has a slot, in whatever state, one after the other; each is kept while it is visited.
    pub fn for_each_kept(&self, mut visit: impl FnMut(&Ref<Socket>)) {
        for slot in (0..MAX_SOCKETS).map_while(|index| self.slot(index)) {
            if slot.socket.load(Ordering::Relaxed).is_null() {
                continue;
            }
            let free = self.free.lock();
            // SAFETY: null, or given up by `fill`; not taken back while the lock is held (invariant).
            let socket = unsafe { slot.socket.load(Ordering::Acquire).as_ref() };
            // SAFETY: the reference that was given up is there while the lock is held.
            let socket = socket.map(|socket| unsafe { Ref::again(socket) });
            drop(free);
            if let Some(socket) = socket {
                visit(&socket);
            }
        }
    }

    /// Reserves a slot, unless so many are in use, or [`MAX_SOCKETS`]. `PASSIVE_LEVEL` by its callers: the table may grow.
    pub fn reserve(&self, most: u32) -> Result<SlotIndex, NoSlot> {
        loop {
            let missing = {
                let mut free = self.free.lock();
                if self.used() >= most.min(MAX_SOCKETS) {
                    return Err(NoSlot::Quota);
                }
                if let Some(slot) = self.slot(free.first) {
                    let index = free.first;
                    free.first = slot.next_free.load(Ordering::Relaxed);
                    self.used.fetch_add(1, Ordering::Relaxed);
                    return Ok(SlotIndex(index));
                }
                free.chunks
            };
            self.grow(missing).map_err(|OutOfPool| NoSlot::OutOfPool)?;
        }
    }

    /// Adds a chunk, unless somebody else has meanwhile.
    fn grow(&self, chunk: usize) -> Result<(), OutOfPool> {
        let (Some(layout), Some(place)) = (chunk_layout(chunk), self.chunks.get(chunk)) else {
            return Err(OutOfPool);
        };
        // SAFETY: the layout's size is not zero.
        let slots: *mut Slot = unsafe { alloc(layout) }.cast();
        if slots.is_null() {
            return Err(OutOfPool);
        }
        let length = chunk_length(chunk);
        let first = FIRST_CHUNK.wrapping_mul((1_u32 << chunk).wrapping_sub(1));
        for number in 0..length {
            let index = first.wrapping_add(number).wrapping_add(1);
            let last = number.wrapping_add(1) == length || index >= MAX_SOCKETS;
            let next_free = AtomicU32::new(if last { NONE } else { index });
            let slot = Slot { gate: Gate::closed(), socket: AtomicPtr::new(null_mut()), next_free };
            // SAFETY: within the chunk just allocated.
            let place = unsafe { slots.add(number as usize) };
            // SAFETY: fresh memory of the type's size and alignment.
            unsafe { place.write(slot) };
        }
        let mut free = self.free.lock();
        if free.chunks == chunk {
            // INVARIANT: the chunk's slots are all written.
            place.store(slots, Ordering::Release);
            // Slots may have been given back since the list was found empty: they come after the new ones.
            let last = first.wrapping_add(length).min(MAX_SOCKETS).wrapping_sub(1);
            if let Some(last) = self.slot(last) {
                last.next_free.store(free.first, Ordering::Relaxed);
            }
            free.chunks = chunk.wrapping_add(1);
            free.first = first;
            return Ok(());
        }
        drop(free);
        // SAFETY: allocated above with this layout, and nobody else has it.
        unsafe { dealloc(slots.cast(), layout) };
        Ok(())
    }

    /// Puts a new socket into the slot that was reserved for it.
    pub fn fill(&self, index: SlotIndex, socket: Ref<Socket>) {
        if let Some(slot) = self.slot(index.0) {
            // INVARIANT: before the gate opens.
            slot.socket.store(socket.into_raw().as_ptr(), Ordering::Release);
        }
    }

    /// Opens the slot of a socket, and returns the handle that names it.
    pub fn publish(&self, index: SlotIndex) -> Option<SocketHandle> {
        let generation = self.slot(index.0)?.gate.open()?;
        Some(SocketHandle(u64::from(generation) << 32 | u64::from(index.0)))
    }

    /// Lets nobody in to the slot's socket any more.
    pub fn close(&self, index: SlotIndex) -> Closed {
        self.slot(index.0).map_or(Closed::Already, |slot| slot.gate.close())
    }

    /// Whether nobody is inside, nor will be.
    pub fn is_drained(&self, index: SlotIndex) -> bool {
        self.slot(index.0).is_none_or(|slot| slot.gate.is_drained())
    }

    /// Gives a slot back whose gate has drained, or was never opened. One that has no new handle to give is not used again: it would
    /// give those that it has given before (contract: X-5).
    pub fn release(&self, index: SlotIndex) {
        let Some(slot) = self.slot(index.0) else { return };
        let mut free = self.free.lock();
        let socket = slot.socket.swap(null_mut(), Ordering::AcqRel);
        if !slot.gate.is_worn_out() {
            slot.next_free.store(free.first, Ordering::Relaxed);
            free.first = index.0;
        }
        self.used.fetch_sub(1, Ordering::Relaxed);
        drop(free);
        if let Some(socket) = NonNull::new(socket) {
            // SAFETY: given up by `fill`, taken back by this swap only; the gate has drained, so nobody is inside.
            drop(unsafe { Ref::from_raw(socket) });
        }
    }

    /// Slots in use.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Slot {
    /// Inside the gate already.
    fn entry(&self) -> Entry<'_> {
        // SAFETY: inside an open gate, so the pointer is there (invariant), and stays until the entry leaves.
        let socket = unsafe { &*self.socket.load(Ordering::Acquire) };
        // INVARIANT: inside.
        Entry { slot: self, socket }
    }
}

impl Drop for SocketTable {
    fn drop(&mut self) {
        for (chunk, place) in self.chunks.iter_mut().enumerate() {
            let slots = *place.get_mut();
            if let Some(layout) = chunk_layout(chunk).filter(|_| !slots.is_null()) {
                // SAFETY: allocated in `grow` with this layout; every socket keeps its client, so every slot is free.
                unsafe { dealloc(slots.cast(), layout) };
            }
        }
    }
}
