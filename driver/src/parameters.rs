//! The driver's parameters: the service's `Parameters` key, read once, when the driver starts (*Registry Keys for Drivers*).
//!
//! A value that is not there has its default. So has one of another type or length, or outside its range; the trace tells that.

use crate::nt;
use crate::quota::Limits;
use crate::table;
use crate::trace;
use core::ptr::null_mut;
use wdk_sys::{HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, PCUNICODE_STRING, UNICODE_STRING, ntddk};
use wsk::Passive;
use wskclient_abi::Close;

/// What the driver was told.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// Milliseconds that a graceful close may take whose caller does not say.
    pub linger_deadline: u32,
    /// What each client may hold.
    pub limits: Limits,
}

/// A parameter: its name, its default, and the least and the most that it may be.
struct Parameter {
    name: &'static str,
    default: u32,
    least: u32,
    most: u32,
}

const LINGER_DEADLINE: Parameter =
    Parameter { name: "LingerDeadline", default: Close::DEFAULT_LINGER, least: 1, most: Close::LONGEST_LINGER };

const MAX_SOCKETS: Parameter =
    Parameter { name: "MaxSockets", default: Limits::DEFAULT.sockets, least: 1, most: table::MAX_SOCKETS };
const MAX_PENDING_REQUESTS: Parameter =
    Parameter { name: "MaxPendingRequests", default: Limits::DEFAULT.requests, least: 1, most: 1 << 24 };
const MAX_LOCKED_BYTES: Parameter =
    Parameter { name: "MaxLockedBytes", default: 1 << 30, least: 1 << 12, most: u32::MAX };
const _: () = assert!(MAX_LOCKED_BYTES.default as u64 == Limits::DEFAULT.locked_bytes);

impl Parameters {
    /// Reads the key below the service's own.
    ///
    /// # Safety
    /// `registry_path` is what the I/O manager gave `DriverEntry`.
    pub unsafe fn read(registry_path: PCUNICODE_STRING, passive: Passive) -> Self {
        // SAFETY: the caller's promise.
        let service = unsafe { Key::open(null_mut(), registry_path, passive) };
        let key = service.ok().and_then(|service| {
            let mut units = Name::of("Parameters");
            let name = units.string();
            // SAFETY: the name is alive during the call, and the handle is open.
            unsafe { Key::open(service.0, &raw const name, passive) }.ok()
        });
        let value = |parameter: &Parameter| match key.as_ref().map_or(Found::Absent, |key| key.number(parameter.name)) {
            Found::Absent => parameter.default,
            Found::Number(number) if (parameter.least..=parameter.most).contains(&number) => number,
            Found::Number(number) => {
                trace::parameter_ignored(parameter.name, "out of range", number);
                parameter.default
            }
            Found::Other(kind) => {
                trace::parameter_ignored(parameter.name, "not a REG_DWORD", kind);
                parameter.default
            }
        };
        Self {
            linger_deadline: value(&LINGER_DEADLINE),
            limits: Limits {
                sockets: value(&MAX_SOCKETS),
                requests: value(&MAX_PENDING_REQUESTS),
                locked_bytes: value(&MAX_LOCKED_BYTES).into(),
            },
        }
    }
}

/// What a value holds.
enum Found {
    /// There is none.
    Absent,
    /// A `REG_DWORD`.
    Number(u32),
    /// Something else, or less or more than a number: its type.
    Other(u32),
}

/// An ASCII name in UTF-16.
struct Name {
    units: [u16; Self::LONGEST],
    bytes: u16,
}

impl Name {
    const LONGEST: usize = 24;

    fn of(text: &'static str) -> Self {
        let mut units = [0; Self::LONGEST];
        for (unit, byte) in units.iter_mut().zip(text.bytes()) {
            *unit = byte.into();
        }
        Self { units, bytes: u16::try_from(text.len().min(Self::LONGEST) * size_of::<u16>()).unwrap_or(0) }
    }

    /// The name, as long as the value stays where it is.
    const fn string(&mut self) -> UNICODE_STRING {
        UNICODE_STRING { Length: self.bytes, MaximumLength: self.bytes, Buffer: self.units.as_mut_ptr() }
    }
}

/// An open key. Dropping it closes the handle.
///
/// # Invariants
/// - The handle is open, and the driver's own. The value lives in `DriverEntry` only, at `PASSIVE_LEVEL`.
struct Key(HANDLE);

impl Key {
    /// Opens a key by its path, or below another one by its name.
    ///
    /// # Safety
    /// `parent` is null or an open key; the name is valid during the call.
    unsafe fn open(parent: HANDLE, name: PCUNICODE_STRING, _: Passive) -> Result<Self, NTSTATUS> {
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).unwrap_or(0),
            RootDirectory: parent,
            ObjectName: name.cast_mut(),
            Attributes: wdk_sys::OBJ_KERNEL_HANDLE | wdk_sys::OBJ_CASE_INSENSITIVE,
            SecurityDescriptor: null_mut(),
            SecurityQualityOfService: null_mut(),
        };
        let mut handle: HANDLE = null_mut();
        // SAFETY: PASSIVE_LEVEL by the token; everything pointed to is alive during the call.
        let status = unsafe { ntddk::ZwOpenKey(&raw mut handle, wdk_sys::KEY_QUERY_VALUE, &raw mut attributes) };
        // INVARIANT: opened just now.
        if status == 0 { Ok(Self(handle)) } else { Err(status) }
    }

    /// Reads a value that is to be a number.
    fn number(&self, name: &'static str) -> Found {
        /// `KEY_VALUE_PARTIAL_INFORMATION` with room for a number.
        #[repr(C)]
        #[derive(Default)]
        struct Value {
            title: u32,
            kind: u32,
            length: u32,
            number: u32,
        }
        const OVERFLOW: NTSTATUS = 0x8000_0005_u32.cast_signed();
        let mut units = Name::of(name);
        let mut name = units.string();
        let (mut value, mut needed) = (Value::default(), 0);
        // SAFETY: open (invariant), at PASSIVE_LEVEL; the buffer is as long as it says.
        let status = unsafe {
            ntddk::ZwQueryValueKey(
                self.0,
                &raw mut name,
                wdk_sys::_KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation,
                (&raw mut value).cast(),
                u32::try_from(size_of::<Value>()).unwrap_or(0),
                &raw mut needed,
            )
        };
        let is_number = value.kind == wdk_sys::REG_DWORD && value.length as usize == size_of::<u32>();
        match status {
            0 if is_number => Found::Number(value.number),
            0 | OVERFLOW => Found::Other(value.kind),
            _ => Found::Absent,
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: open, ours, and closed this once (invariant).
        unsafe { nt::close_handle(self.0) };
    }
}
