//! IRPs: the lab's header before each, where they come from, and who owns them when.
//!
//! An IRP from the lab has a hidden header in front of it that outlives its body: when the IRP is completed for good or
//! freed, its body is filled with a pattern at once (a later read gives nonsense pointers that fault, a later write is
//! found), while the header still tells what happened to it.

mod cancel;
mod complete;
mod exports;
mod slab;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::call::Stopped;
use crate::machine::{self, Inner};
use crate::nt::{IO_STACK_LOCATION, IO_TYPE_IRP, IRP, LIST_ENTRY};
use crate::thread::this;
use crate::ticks;

pub(crate) use cancel::cancel;
pub(crate) use cancel::set_cancel_routine;
pub(crate) use complete::{call_driver, complete, name_of};
pub(crate) use exports::exports;
pub(crate) use slab::Slab;

/// Bytes that the header takes in front of an IRP.
pub(crate) const HEADER_SIZE: usize = 512;
/// What the body of a completed or freed IRP is filled with: as a pointer it is not canonical, so using it faults.
pub(crate) const POISON: u8 = 0xdd;
const EVENTS: usize = 9;

/// Who disposes of an IRP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The I/O manager: freed at the end of its completion.
    Manager,
    /// A driver, with `IoAllocateIrp`: freed by it.
    Driver,
}

/// What the I/O manager does at the end of a completion, with the value given to [`allocate`].
pub(crate) type Finish = fn(irp: &IRP, context: usize) -> Result<(), Stopped>;

/// Where an IRP is in its life. The rest of the word counts how often a completion routine got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    /// Some driver has it.
    Live,
    /// `IoCompleteRequest` has it.
    Completing,
    /// Completed for good.
    Done,
}

#[derive(Clone, Copy)]
struct Event {
    text: &'static str,
    value: usize,
    at: u64,
    thread: u32,
    irql: u8,
}

struct Log {
    events: [Event; EVENTS],
    count: usize,
}

/// The lab's record of an IRP.
pub(crate) struct Header {
    /// Users of the slot; it is free for another IRP when none is left.
    slots: AtomicU32,
    /// Users of the body; it is filled with the pattern when none is left.
    bodies: AtomicU32,
    state: AtomicU64,
    /// How often the IRP was initialized: calls that return late must not judge the next use.
    incarnation: AtomicU32,
    /// Four bits for each stack location, see `complete`.
    marks: AtomicU64,
    /// Whether it was completed since it was initialized.
    used: AtomicBool,
    /// Locations whose drivers got the IRP later than its sender was told: a bit for each.
    forced: AtomicU32,
    final_status: AtomicI32,
    owner: Cell<Owner>,
    finish: Cell<Option<(Finish, usize)>>,
    stack_size: Cell<i8>,
    /// Where the IRP is.
    body: Cell<usize>,
    /// The stack that allocated it, for a driver's own.
    allocated_by: Cell<u32>,
    log: Mutex<Log>,
}
const _: () = assert!(size_of::<Header>() <= HEADER_SIZE);

impl Header {
    const fn new() -> Self {
        const NONE: Event = Event { text: "", value: 0, at: 0, thread: 0, irql: 0 };
        Self {
            slots: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            state: AtomicU64::new(0),
            incarnation: AtomicU32::new(0),
            marks: AtomicU64::new(0),
            used: AtomicBool::new(false),
            forced: AtomicU32::new(0),
            final_status: AtomicI32::new(0),
            owner: Cell::new(Owner::Manager),
            finish: Cell::new(None),
            stack_size: Cell::new(0),
            body: Cell::new(0),
            allocated_by: Cell::new(0),
            log: Mutex::new(Log { events: [NONE; EVENTS], count: 0 }),
        }
    }

    fn state(&self) -> (State, u64) {
        let word = self.state.load(Ordering::Acquire);
        (decode(word), word)
    }

    /// Moves from the state of `word` to `to`; fails when it has changed since.
    fn change(&self, word: u64, to: State) -> bool {
        let next = (word >> 2 << 2) + 4 + to as u64;
        self.state.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The IRP is initialized, for the first time or anew: what was noted of its use before is forgotten.
    fn begin_use(&self) {
        self.marks.store(0, Ordering::Relaxed);
        self.forced.store(0, Ordering::Relaxed);
        self.used.store(false, Ordering::Relaxed);
        self.incarnation.fetch_add(1, Ordering::Release);
    }

    fn set_state(&self, to: State) -> u64 {
        let word = self.state.load(Ordering::Relaxed);
        let next = (word >> 2 << 2) + 4 + to as u64;
        self.state.store(next, Ordering::Release);
        next
    }

    /// The sender to `location` was told that the IRP pends.
    fn force(&self, location: i8) {
        self.forced.fetch_or(1_u32.wrapping_shl(location.unsigned_abs().into()), Ordering::AcqRel);
    }

    /// Whether that is so for any location that the completion has not passed.
    fn is_forced(&self) -> bool {
        self.forced.load(Ordering::Acquire) != 0
    }

    /// Whether that is so for `location`, which the completion passes now.
    fn was_forced(&self, location: i8) -> bool {
        let bit = 1_u32.wrapping_shl(location.unsigned_abs().into());
        self.forced.load(Ordering::Acquire) & bit != 0 && self.forced.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Keeps the slot (not the body) for the caller, who gives it back with [`Inner::release_slot`].
    fn hold_slot(&self) {
        self.slots.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, text: &'static str, value: usize) {
        let thread = this();
        let event = Event {
            text,
            value,
            at: ticks::now(),
            thread: thread.shared().tid.load(Ordering::Relaxed).cast_unsigned(),
            irql: thread.irql.get(),
        };
        let mut log = self.log.lock();
        let index = log.count % EVENTS;
        log.events[index] = event;
        log.count += 1;
    }

    fn history(&self) -> Vec<String> {
        let machine = machine::current();
        let log = self.log.lock();
        let first = log.count.saturating_sub(EVENTS);
        let mut lines = Vec::new();
        if first > 0 {
            lines.push(format!("({first} earlier events)"));
        }
        for index in first..log.count {
            let Event { text, value, at, thread, irql } = log.events[index % EVENTS];
            let age = machine.age_at(at);
            let value =
                if text.ends_with(" by") { machine.describe_caller(value) } else { machine.describe_code(value) };
            lines.push(format!("{:>12.6}s thread {thread} IRQL {irql}: {text} {value}", age.as_secs_f64()));
        }
        lines
    }
}

const fn decode(word: u64) -> State {
    match word & 3 {
        0 => State::Free,
        1 => State::Live,
        2 => State::Completing,
        _ => State::Done,
    }
}

/// `IoSizeOfIrp`.
pub(crate) fn size_of_irp(stack_size: i8) -> usize {
    size_of::<IRP>() + usize::from(stack_size.cast_unsigned()) * size_of::<IO_STACK_LOCATION>()
}

/// `IoInitializeIrp`, without checks.
///
/// # Safety
/// `irp` points to `packet_size` writable bytes, at least [`size_of_irp`].
pub(crate) unsafe fn initialize(irp: *mut IRP, packet_size: usize, stack_size: i8) {
    // SAFETY: the caller vouches for the size.
    unsafe { irp.cast::<u8>().write_bytes(0, packet_size) };
    // SAFETY: all fields are valid when zero.
    let body = unsafe { &*irp };
    body.Type.set(IO_TYPE_IRP);
    body.Size.set(u16::try_from(packet_size).unwrap_or(u16::MAX));
    body.StackCount.set(stack_size);
    body.CurrentLocation.set(stack_size + 1);
    let locations = irp.wrapping_add(1).cast::<IO_STACK_LOCATION>();
    body.CurrentStackLocation.set(locations.wrapping_add(usize::from(stack_size.cast_unsigned())));
    let list = body.ThreadListEntry.as_ptr();
    body.ThreadListEntry.set(LIST_ENTRY { Flink: list, Blink: list });
}

/// A new IRP, or null when there is no memory for one.
pub(crate) fn allocate(stack_size: i8, owner: Owner, finish: Option<(Finish, usize)>) -> *mut IRP {
    let machine = machine::current();
    let Some(irp) = machine.irps.take(size_of_irp(stack_size)) else { return std::ptr::null_mut() };
    // SAFETY: the slot is ours alone and has room for the size asked for.
    unsafe { initialize(irp, size_of_irp(stack_size), stack_size) };
    if let Some(header) = header(irp) {
        header.slots.store(1, Ordering::Relaxed);
        header.bodies.store(1, Ordering::Relaxed);
        header.begin_use();
        header.owner.set(owner);
        header.finish.set(finish);
        header.stack_size.set(stack_size);
        let is_own = owner == Owner::Driver;
        if is_own {
            header.allocated_by.set(machine.note_stack());
        }
        header.set_state(State::Live);
        header.note("allocated by", if is_own { this().caller.get() } else { 0 });
    }
    machine.irps.count();
    irp
}

/// The lab's record of `irp`; none if the IRP is not from the lab.
pub(crate) fn header<'a>(irp: *const IRP) -> Option<&'a Header> {
    let address = machine::current().irps.slot_of(irp as usize)?;
    // SAFETY: the slab writes a header at the start of each slot that it gives out, and never takes it away.
    Some(unsafe { &*(address as *const Header) })
}

/// Whether a driver's own IRP was completed and not reused since.
pub(crate) fn is_used(irp: *const IRP) -> bool {
    header(irp).is_some_and(|header| header.owner.get() == Owner::Driver && header.used.load(Ordering::Relaxed))
}

/// Adds an event to an IRP's history.
pub(crate) fn history(irp: *const IRP, text: &'static str, value: usize) {
    if let Some(header) = header(irp) {
        header.note(text, value);
    }
}

/// What has happened to an IRP.
pub(crate) fn events(irp: *const IRP) -> Vec<String> {
    header(irp).map_or_else(Vec::new, Header::history)
}

/// IRPs that drivers allocated and have not freed: a line, and one more for each further frame that allocated it.
pub(crate) fn live_of_driver() -> Vec<String> {
    let (machine, mut live) = (machine::current(), Vec::new());
    machine.irps.each(|irp, header| {
        if header.owner.get() == Owner::Driver && header.state().0 != State::Free {
            live.extend(machine.describe_calls(&format!("IRP {irp:p} allocated by"), header.allocated_by.get()));
        }
    });
    live
}

impl Inner {
    /// Keeps the body of a live IRP readable although it may be completed meanwhile.
    pub(crate) fn hold_body(irp: *const IRP) {
        if let Some(header) = header(irp) {
            header.hold_slot();
            header.bodies.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives up what [`Inner::hold_body`] took.
    pub(crate) fn release_body(&self, irp: *mut IRP) {
        let Some(header) = header(irp) else { return };
        if header.bodies.fetch_sub(1, Ordering::AcqRel) == 1 {
            header.set_state(State::Free);
            // SAFETY: the body has the size that it was allocated with, and no user any more.
            unsafe { irp.cast::<u8>().write_bytes(POISON, size_of_irp(header.stack_size.get())) };
        }
        self.release_slot(header);
    }

    fn release_slot(&self, header: &Header) {
        if header.slots.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.irps.give_back(std::ptr::from_ref(header) as usize);
        }
    }
}
