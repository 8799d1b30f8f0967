//! Objects that the kernel makes (drivers, devices, files, threads, processes), their references, and kernel handles.
//!
//! Each has a hidden header in front of it, in a pool block of the kernel's own, so a pointer that a driver passes can be
//! checked before it is believed, and touching an object after its end is a use after free.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::machine::{self, Inner};
use crate::nt::PVOID;
use crate::pool::Kind as PoolKind;
use crate::rules;
use crate::security;
use crate::status::NtStatus;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Driver = 1,
    Device,
    File,
    Thread,
    Process,
    Key,
}

/// What is done at the last reference. False: the memory is still needed, and [`Inner::free_object`] will be called.
pub(crate) type AtEnd = fn(&Inner, PVOID) -> Result<bool, Stopped>;

/// In front of each object.
#[repr(C, align(16))]
pub(crate) struct Header {
    kind: Cell<Kind>,
    references: AtomicI64,
    at_end: Cell<Option<AtEnd>>,
    /// What the lab keeps for it.
    pub(crate) context: AtomicUsize,
}
const HEADER_SIZE: usize = 64;
const _: () = assert!(size_of::<Header>() <= HEADER_SIZE);

/// Opaque types whose addresses are what `IoFileObjectType`, `PsThreadType` and their like hold.
#[repr(transparent)]
pub(crate) struct TypeObject(usize);
static TYPES: [TypeObject; 8] = [const { TypeObject(0) }; 8];

#[repr(transparent)]
struct TypePointer(*const TypeObject);
// SAFETY: the pointers are to immutable statics, and are never written.
unsafe impl Sync for TypePointer {}

static IO_FILE_OBJECT_TYPE: TypePointer = TypePointer(&raw const TYPES[Kind::File as usize]);
static IO_DEVICE_OBJECT_TYPE: TypePointer = TypePointer(&raw const TYPES[Kind::Device as usize]);
static IO_DRIVER_OBJECT_TYPE: TypePointer = TypePointer(&raw const TYPES[Kind::Driver as usize]);
static PS_THREAD_TYPE: TypePointer = TypePointer(&raw const TYPES[Kind::Thread as usize]);
static PS_PROCESS_TYPE: TypePointer = TypePointer(&raw const TYPES[Kind::Process as usize]);
static EX_EVENT_OBJECT_TYPE: TypePointer = TypePointer(&raw const TYPES[0]);

/// Kernel handles of one machine, and the references that drivers hold.
#[derive(Default)]
pub(crate) struct Handles {
    open: Mutex<HashMap<usize, usize>>,
    /// References that drivers took and have not given back, by object.
    taken: Mutex<HashMap<usize, usize>>,
    next: AtomicUsize,
}

impl Handles {
    /// Opens a handle; the caller has taken the reference that it holds.
    pub(crate) fn open(&self, object: PVOID) -> usize {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let handle = 0xffff_ffff_8000_0000 | ((number + 1) * 4);
        self.open.lock().insert(handle, object as usize);
        handle
    }

    /// The object of a kernel handle.
    pub(crate) fn object(&self, handle: usize) -> Option<PVOID> {
        self.open.lock().get(&handle).map(|&object| object as PVOID)
    }

    /// Handles that are open and references that are held, one line each.
    pub(crate) fn live(&self) -> Vec<String> {
        let mut live: Vec<String> = Vec::new();
        live.extend(self.open.lock().iter().map(|(handle, object)| format!("handle {handle:#x} of {object:#x}")));
        live.extend(self.taken.lock().iter().map(|(object, count)| format!("{count} references to {object:#x}")));
        live
    }

    /// Notes that a driver gives a reference back; false when it holds none.
    fn give_back(&self, object: PVOID) -> bool {
        let mut taken = self.taken.lock();
        let Some(count) = taken.get_mut(&(object as usize)) else { return false };
        *count -= 1;
        if *count == 0 {
            taken.remove(&(object as usize));
        }
        true
    }
}

impl Inner {
    /// A new object of `size` bytes, all zero, with one reference.
    pub(crate) fn create_object(&self, kind: Kind, size: usize, at_end: Option<AtEnd>) -> PVOID {
        let tag = u32::from_le_bytes(*b"Obj ");
        let pool = PoolKind { zeroed: true, internal: true, ..PoolKind::default() };
        let block = self.pool.allocate(HEADER_SIZE + size, tag, pool);
        assert!(!block.is_null(), "memory for an object");
        let header = Header {
            kind: Cell::new(kind),
            references: AtomicI64::new(1),
            at_end: Cell::new(at_end),
            context: AtomicUsize::new(0),
        };
        // SAFETY: the block is new, long enough, and aligned to 16.
        unsafe { block.cast::<Header>().write(header) };
        block.wrapping_byte_add(HEADER_SIZE)
    }

    /// The header of an object, if `object` is a live one.
    pub(crate) fn object(&self, object: PVOID) -> Option<&Header> {
        let start = (object as usize).checked_sub(HEADER_SIZE)?;
        let found = self.pool.look_up(start)?;
        if !(found.live && found.kind.internal && found.address == start) {
            return None;
        }
        // SAFETY: live blocks of the kernel's own that are passed as objects begin with a header.
        Some(unsafe { &*(start as *const Header) })
    }

    /// The header of an object of `kind`, or a violation.
    pub(crate) fn require_object(&self, object: PVOID, kind: Option<Kind>, what: &str) -> &Header {
        match self.object(object) {
            Some(header) if kind.is_none_or(|kind| kind == header.kind.get()) => header,
            Some(header) => rules::violate(
                &rules::BAD_OBJECT,
                format!("{what}: {object:p} is a {:?}", header.kind.get()),
                Vec::new(),
            ),
            None => {
                let history = self.pool.describe_fault(object as usize).map_or_else(Vec::new, |found| found.2);
                rules::violate(&rules::BAD_OBJECT, format!("{what}: {object:p} is no object"), history)
            }
        }
    }

    /// Takes a reference on behalf of the kernel.
    pub(crate) fn reference(&self, object: PVOID) {
        if let Some(header) = self.object(object) {
            header.references.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives a reference back; the last one ends the object.
    pub(crate) fn dereference(&self, object: PVOID) -> Result<(), Stopped> {
        let Some(header) = self.object(object) else {
            let message = format!("dereference of {object:p}, which is no object");
            return Err(rules::record(&rules::BAD_OBJECT, message, Vec::new()));
        };
        if header.references.fetch_sub(1, Ordering::AcqRel) == 1 {
            let over = header.at_end.get().map_or(Ok(true), |at_end| at_end(self, object))?;
            if over {
                self.free_object(object)?;
            }
        }
        Ok(())
    }

    /// Gives the memory of an object back.
    pub(crate) fn free_object(&self, object: PVOID) -> Result<(), Stopped> {
        self.pool.free_internal(object as usize - HEADER_SIZE)
    }

    /// Closes a kernel handle.
    pub(crate) fn close_handle(&self, handle: usize) -> Result<(), Stopped> {
        let object = self.handles.open.lock().remove(&handle);
        match object {
            Some(object) => self.dereference(object as PVOID),
            None => Err(rules::record(&rules::BAD_OBJECT, format!("ZwClose of {handle:#x}, no handle"), Vec::new())),
        }
    }
}

pub(crate) fn take(object: PVOID, kind: Option<Kind>, what: &str) {
    let machine = machine::current();
    let header = machine.require_object(object, kind, what);
    *machine.handles.taken.lock().entry(object as usize).or_default() += 1;
    header.references.fetch_add(1, Ordering::Relaxed);
}

extern "win64" fn reference_object(object: PVOID) -> i64 {
    take(object, None, "ObReferenceObject");
    machine::current().object(object).map_or(0, |header| header.references.load(Ordering::Relaxed))
}

extern "win64" fn dereference_object(object: PVOID) -> i64 {
    let machine = machine::current();
    let header = machine.require_object(object, None, "ObDereferenceObject");
    if !machine.handles.give_back(object) {
        let message = format!("ObDereferenceObject of {object:p} without a reference of the driver's");
        rules::violate(&rules::BAD_OBJECT, message, Vec::new());
    }
    let left = header.references.load(Ordering::Relaxed) - 1;
    or_escape(machine.dereference(object));
    left
}

extern "win64" fn reference_object_by_handle(
    handle: usize,
    _access: u32,
    kind: *const TypeObject,
    _mode: i8,
    object: &Cell<PVOID>,
    _information: PVOID,
) -> i32 {
    object.set(std::ptr::null_mut());
    let machine = machine::current();
    let Some(found) = machine.handles.object(handle) else {
        rules::violate(&rules::BAD_OBJECT, format!("{handle:#x} is no kernel handle"), Vec::new())
    };
    let header = machine.require_object(found, None, "ObReferenceObjectByHandle");
    if !kind.is_null() && kind != &raw const TYPES[header.kind.get() as usize] {
        return NtStatus::OBJECT_TYPE_MISMATCH.0;
    }
    take(found, None, "ObReferenceObjectByHandle");
    object.set(found);
    NtStatus::SUCCESS.0
}

extern "win64" fn open_object_by_pointer(
    object: PVOID,
    _attributes: u32,
    _access_state: PVOID,
    _access: u32,
    kind: *const TypeObject,
    _mode: i8,
    handle: &Cell<usize>,
) -> i32 {
    let machine = machine::current();
    let header = machine.require_object(object, None, "ObOpenObjectByPointer");
    if !kind.is_null() && kind != &raw const TYPES[header.kind.get() as usize] {
        return NtStatus::OBJECT_TYPE_MISMATCH.0;
    }
    machine.reference(object);
    handle.set(machine.handles.open(object));
    NtStatus::SUCCESS.0
}

extern "win64" fn zw_close(handle: usize) -> i32 {
    or_escape(machine::current().close_handle(handle));
    NtStatus::SUCCESS.0
}

extern "win64" fn zw_set_security_object(handle: usize, information: u32, descriptor: PVOID) -> i32 {
    let machine = machine::current();
    let Some(object) = machine.handles.object(handle) else {
        rules::violate(&rules::BAD_OBJECT, format!("{handle:#x} is no kernel handle"), Vec::new())
    };
    security::set(object, information, descriptor).0
}

pub(crate) fn exports() -> Vec<Export> {
    let mut exports = routines!["ntoskrnl.exe";
        DISPATCH: ObfReferenceObject => reference_object, ObfDereferenceObject => dereference_object;
        APC: ObOpenObjectByPointer => open_object_by_pointer;
        PASSIVE: ObReferenceObjectByHandle => reference_object_by_handle, ZwClose => zw_close,
            ZwSetSecurityObject => zw_set_security_object;
    ];
    let data: [(&str, &'static TypePointer); 6] = [
        ("IoFileObjectType", &IO_FILE_OBJECT_TYPE),
        ("IoDeviceObjectType", &IO_DEVICE_OBJECT_TYPE),
        ("IoDriverObjectType", &IO_DRIVER_OBJECT_TYPE),
        ("PsThreadType", &PS_THREAD_TYPE),
        ("PsProcessType", &PS_PROCESS_TYPE),
        ("ExEventObjectType", &EX_EVENT_OBJECT_TYPE),
    ];
    exports
        .extend(data.map(|(name, pointer)| Export::direct("ntoskrnl.exe", name, std::ptr::from_ref(pointer).cast())));
    debug_assert!(!IO_FILE_OBJECT_TYPE.0.is_null());
    exports
}
