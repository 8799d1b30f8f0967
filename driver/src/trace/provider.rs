//! The driver as an ETW provider: registered while it is loaded, where the system has ETW.
//!
//! The events are in `TraceLogging`'s format: each carries its own name and the names and types of its fields, so that no manifest is
//! needed. Source: `TraceLoggingProvider.h`; `EtwRegister`, `EtwWriteTransfer`, `EtwSetInformation`.
//!
//! The `tracelogging` crate with its `kernel_mode` writes the same bytes (the contract's tests compare the provider's GUID with what it
//! makes of the name). It does not do here, in version 1.2.4:
//! - it imports ETW's routines by name, and a system without them (stock Wine) does not load such a driver, or raises at the first call;
//! - `register` panics when it meets another one, which links a bug check into an image that is to have none (contract: X-9);
//! - the callback writes level and keywords as plain fields while other processors read them: a data race.

use super::event::{Event, Field};
use crate::system::routine;
use core::ffi::c_void;
use core::mem::transmute;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering};
use wdk_sys::NTSTATUS;
use wsk::{Passive, Running};

/// {3f5fd28a-20f9-5528-b597-e912993917af}: what `TraceLogging` makes of the name `WskClient`, as it lies in memory.
#[repr(C, align(4))]
struct Guid([u8; 16]);

static ID: Guid =
    Guid([0x8A, 0xD2, 0x5F, 0x3F, 0xF9, 0x20, 0x28, 0x55, 0xB5, 0x97, 0xE9, 0x12, 0x99, 0x39, 0x17, 0xAF]);
/// The provider's traits: their size, and its name.
static TRAITS: [u8; 12] = *b"\x0C\0WskClient\0";

/// `PETWENABLECALLBACK`.
type EnableCallback = unsafe extern "system" fn(*const c_void, u32, u8, u64, u64, *const c_void, *mut c_void);
type Register = unsafe extern "system" fn(*const Guid, EnableCallback, *mut c_void, *mut u64) -> NTSTATUS;
type Unregister = unsafe extern "system" fn(u64) -> NTSTATUS;
type SetInformation = unsafe extern "system" fn(u64, u32, *const c_void, u32) -> NTSTATUS;
type WriteTransfer =
    unsafe extern "system" fn(u64, *const Descriptor, *const Guid, *const Guid, u32, *const Data) -> NTSTATUS;

/// `EVENT_DESCRIPTOR`.
#[repr(C)]
struct Descriptor {
    id: u16,
    version: u8,
    channel: u8,
    level: u8,
    opcode: u8,
    task: u16,
    keyword: u64,
}
const _: () = assert!(size_of::<Descriptor>() == 16);

/// `EVENT_DATA_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    address: u64,
    size: u32,
    /// What it is: data, or metadata of the event or the provider.
    kind: u32,
}
const _: () = assert!(size_of::<Data>() == 16);

/// `TraceLogging`'s channel.
const CHANNEL: u8 = 11;
const EVENT_METADATA: u32 = 1;
const PROVIDER_METADATA: u32 = 2;
/// `EventProviderSetTraits`.
const SET_TRAITS: u32 = 2;

/// `EtwWriteTransfer`; null where there is none, and while the provider is not registered.
static WRITE: AtomicPtr<()> = AtomicPtr::new(null_mut());
/// The registration.
static HANDLE: AtomicU64 = AtomicU64::new(0);
/// One more than the highest level that somebody wants to see; 0 while nobody looks.
static LEVELS: AtomicU16 = AtomicU16::new(0);
/// The keywords that somebody wants to see.
static KEYWORDS: AtomicU64 = AtomicU64::new(0);

/// The registration, if the system has ETW. Dropping it ends it.
///
/// # Invariants
/// - `HANDLE` is registered, and `unregister` is `EtwUnregister`, if there is one.
pub struct Provider {
    unregister: Option<Unregister>,
    _passive: Passive,
}

// SAFETY: the token is the ladder's, which goes up and down at PASSIVE_LEVEL.
unsafe impl Send for Provider {}

impl Provider {
    /// Registers the provider, if the system has ETW and lets it: a driver without trace works as well.
    pub fn register(passive: Passive) -> Self {
        // INVARIANT: none, or registered just now.
        Self { unregister: Self::registered(passive), _passive: passive }
    }

    /// Registers, and returns what ends the registration.
    fn registered(passive: Passive) -> Option<Unregister> {
        let found = |name| routine(name, passive).map(core::ptr::NonNull::as_ptr);
        let (register, unregister) = (found("EtwRegister")?, found("EtwUnregister")?);
        let write = found("EtwWriteTransfer")?;
        // SAFETY: the system's routine of that name.
        let register = unsafe { transmute::<*mut (), Register>(register) };
        // SAFETY: the system's routine of that name.
        let unregister = unsafe { transmute::<*mut (), Unregister>(unregister) };
        let mut handle = 0;
        // SAFETY: PASSIVE_LEVEL by the token; the callback is there until the registration ends.
        if unsafe { register(&raw const ID, enabled, null_mut(), &raw mut handle) } != 0 {
            return None;
        }
        HANDLE.store(handle, Ordering::Release);
        WRITE.store(write, Ordering::Release);
        if let Some(set) = found("EtwSetInformation") {
            // SAFETY: the system's routine of that name.
            let set = unsafe { transmute::<*mut (), SetInformation>(set) };
            // SAFETY: registered; the traits are there for good. What tools show without them is the GUID.
            let _name_or_guid = unsafe { set(handle, SET_TRAITS, TRAITS.as_ptr().cast(), u32::from(TRAITS[0])) };
        }
        Some(unregister)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        super::unloaded();
        LEVELS.store(0, Ordering::Release);
        WRITE.store(null_mut(), Ordering::Release);
        if let Some(unregister) = self.unregister {
            // SAFETY: registered (invariant), and ended this once; it waits for a callback that runs.
            let _ended = unsafe { unregister(HANDLE.swap(0, Ordering::AcqRel)) };
        }
    }
}

/// A session begins, changes or ends.
unsafe extern "system" fn enabled(
    _source: *const c_void,
    control: u32,
    level: u8,
    any: u64,
    _all: u64,
    _filter: *const c_void,
    _context: *mut c_void,
) {
    const DISABLE: u32 = 0;
    const ENABLE: u32 = 1;
    let _running = Running::enter(&raw const ID);
    match control {
        DISABLE => LEVELS.store(0, Ordering::Release),
        ENABLE => {
            KEYWORDS.store(any, Ordering::Relaxed);
            // Level 0 stands for every level.
            LEVELS.store(if level == 0 { u16::MAX } else { u16::from(level) + 1 }, Ordering::Release);
        }
        _ => {}
    }
}

/// Whether somebody wants to see the event: one load, while nobody looks.
pub fn is_enabled(event: &Event) -> bool {
    u16::from(event.level) < LEVELS.load(Ordering::Relaxed) && event.keyword & KEYWORDS.load(Ordering::Relaxed) != 0
}

/// The most fields that an event has.
const MOST_FIELDS: usize = 8;

/// Writes an event, whatever [`is_enabled`] says. Any IRQL, with or without a spin lock; nothing is allocated. Fields beyond
/// [`MOST_FIELDS`] are left out.
pub fn write(event: &Event, fields: &[Field]) {
    let write = WRITE.load(Ordering::Acquire);
    if write.is_null() {
        return;
    }
    let (id, version, opcode, task) = (0, 0, 0, 0);
    let descriptor =
        Descriptor { id, version, channel: CHANNEL, level: event.level, opcode, task, keyword: event.keyword };
    // A text takes two: its length, and its bytes.
    let mut data = [Data { address: 0, size: 0, kind: 0 }; 2 + 2 * MOST_FIELDS];
    let mut lengths = [0_u16; MOST_FIELDS];
    let mut count = 0_u32;
    let mut add = |address: *const u8, size: usize, kind| {
        if let Some(place) = data.get_mut(count as usize) {
            *place = Data { address: address.expose_provenance() as u64, size: u32::try_from(size).unwrap_or(0), kind };
            count += 1;
        }
    };
    add(TRAITS.as_ptr(), TRAITS.len(), PROVIDER_METADATA);
    add(event.metadata.as_ptr(), event.metadata.len(), EVENT_METADATA);
    for (field, length) in fields.iter().zip(&mut lengths) {
        match field {
            Field::Number(value) | Field::Status(value) => add((&raw const *value).cast(), size_of_val(value), 0),
            Field::Wide(value) => add((&raw const *value).cast(), size_of_val(value), 0),
            Field::Text(text) => {
                *length = u16::try_from(text.len()).unwrap_or(0);
                add((&raw const *length).cast(), size_of_val(length), 0);
                add(text.as_ptr(), usize::from(*length), 0);
            }
        }
    }
    // SAFETY: the system's routine of that name.
    let write = unsafe { transmute::<*mut (), WriteTransfer>(write) };
    // SAFETY: registered; everything that is pointed to is there during the call. An event that is lost is no error.
    let _written =
        unsafe { write(HANDLE.load(Ordering::Relaxed), &raw const descriptor, null(), null(), count, data.as_ptr()) };
}
