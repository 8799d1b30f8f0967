//! A small registry: the services' keys, and what drivers and tests put below them.
//!
//! Models "Using the Registry in a Driver".

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::Driver;
use crate::call::Stopped;
use crate::exports::{Export, routines};
use crate::machine::{self, Inner};
use crate::nt::{OBJECT_ATTRIBUTES, PVOID, UNICODE_STRING};
use crate::objects::Kind;
use crate::rtl::text;
use crate::rules;
use crate::status::NtStatus;

const REG_SZ: u32 = 1;
const REG_BINARY: u32 = 3;
const REG_DWORD: u32 = 4;

/// A value of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryValue {
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_SZ`.
    Text(String),
    /// `REG_BINARY`.
    Binary(Vec<u8>),
    /// Any type's number, and bytes that may not fit it: the registry does not look.
    Raw(u32, Vec<u8>),
}

impl From<u32> for RegistryValue {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for RegistryValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl RegistryValue {
    fn into_raw(self) -> (u32, Vec<u8>) {
        match self {
            Self::Number(number) => (REG_DWORD, number.to_le_bytes().to_vec()),
            Self::Text(text) => (REG_SZ, text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()),
            Self::Binary(bytes) => (REG_BINARY, bytes),
            Self::Raw(kind, bytes) => (kind, bytes),
        }
    }
}

/// Values of a key, by their names in lower case: type and data.
type Values = BTreeMap<String, (u32, Vec<u8>)>;

/// The keys of a machine, by their paths in lower case.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Values>>);

/// The key of a service.
pub(crate) fn service_key(name: &str) -> String {
    format!("\\Registry\\Machine\\System\\CurrentControlSet\\Services\\{name}")
}

impl Registry {
    /// Makes a key; false when it is there already.
    pub(crate) fn create(&self, path: &str) -> bool {
        let mut keys = self.0.lock();
        let path = path.to_lowercase();
        let is_new = !keys.contains_key(&path);
        keys.entry(path).or_default();
        is_new
    }

    fn set(&self, path: &str, name: &str, raw: (u32, Vec<u8>)) {
        self.0.lock().entry(path.to_lowercase()).or_default().insert(name.to_lowercase(), raw);
    }

    fn get(&self, path: &str, name: &str) -> Option<(u32, Vec<u8>)> {
        self.0.lock().get(path)?.get(&name.to_lowercase()).cloned()
    }
}

impl Driver {
    /// Sets a value of the `Parameters` key below the driver's registry path, before it starts or later.
    pub fn set_parameter(&self, name: &str, value: impl Into<RegistryValue>) {
        let path = service_key(self.name()) + "\\Parameters";
        self.machine().inner.services.registry.set(&path, name, value.into().into_raw());
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is `AtEnd`")]
fn end(machine: &Inner, object: PVOID) -> Result<bool, Stopped> {
    if let Some(header) = machine.object(object) {
        let path = header.context.swap(0, Ordering::AcqRel) as *mut String;
        // SAFETY: `open` made the box; the swap makes this its only owner.
        drop(unsafe { Box::from_raw(path) });
    }
    Ok(true)
}

/// The path of the key that a handle stands for.
fn path_of(handle: usize) -> String {
    let machine = machine::current();
    let Some(object) = machine.handles.object(handle) else {
        rules::violate(&rules::BAD_OBJECT, format!("{handle:#x} is no kernel handle"), Vec::new())
    };
    let header = machine.require_object(object, Some(Kind::Key), "a registry key was expected");
    // SAFETY: `open` stored a box there, which lives as long as the key object.
    unsafe { &*(header.context.load(Ordering::Acquire) as *const String) }.clone()
}

/// The path, in lower case, that object attributes name.
fn named(attributes: &OBJECT_ATTRIBUTES) -> String {
    let name = text(attributes.ObjectName).to_lowercase();
    match attributes.RootDirectory as usize {
        0 => name,
        root => format!("{}\\{name}", path_of(root)),
    }
}

fn open(handle: &Cell<usize>, path: String) -> i32 {
    let machine = machine::current();
    let object = machine.create_object(Kind::Key, 16, Some(end));
    if let Some(header) = machine.object(object) {
        header.context.store(Box::into_raw(Box::new(path)) as usize, Ordering::Release);
    }
    handle.set(machine.handles.open(object));
    NtStatus::SUCCESS.0
}

extern "win64" fn zw_open_key(handle: &Cell<usize>, _access: u32, attributes: &OBJECT_ATTRIBUTES) -> i32 {
    let path = named(attributes);
    if !machine::current().services.registry.0.lock().contains_key(&path) {
        return NtStatus::OBJECT_NAME_NOT_FOUND.0;
    }
    open(handle, path)
}

extern "win64" fn zw_create_key(
    handle: &Cell<usize>,
    _access: u32,
    attributes: &OBJECT_ATTRIBUTES,
    _title: u32,
    _class: *const UNICODE_STRING,
    _options: u32,
    disposition: *mut u32,
) -> i32 {
    const CREATED_NEW: u32 = 1;
    const OPENED_EXISTING: u32 = 2;
    let path = named(attributes);
    let is_new = machine::current().services.registry.create(&path);
    if !disposition.is_null() {
        // SAFETY: the driver vouches for the place.
        unsafe { disposition.write(if is_new { CREATED_NEW } else { OPENED_EXISTING }) };
    }
    open(handle, path)
}

extern "win64" fn zw_set_value_key(
    handle: usize,
    name: *const UNICODE_STRING,
    _title: u32,
    kind: u32,
    data: *const u8,
    size: u32,
) -> i32 {
    // SAFETY: the driver vouches for the data.
    let data = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size as usize) } };
    machine::current().services.registry.set(&path_of(handle), &text(name), (kind, data.to_vec()));
    NtStatus::SUCCESS.0
}

extern "win64" fn zw_query_value_key(
    handle: usize,
    name: *const UNICODE_STRING,
    class: u32,
    buffer: *mut u8,
    length: u32,
    needed: &Cell<u32>,
) -> i32 {
    let name = text(name);
    let Some((kind, data)) = machine::current().services.registry.get(&path_of(handle), &name) else {
        return NtStatus::OBJECT_NAME_NOT_FOUND.0;
    };
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut header = vec![0, kind];
    let mut rest = Vec::new();
    match class {
        0 => {
            header.push(size(&units));
            rest.extend(units);
        }
        1 => {
            let name_end = 20 + units.len();
            let data_offset = name_end.next_multiple_of(8);
            header.extend([u32::try_from(data_offset).unwrap_or(u32::MAX), size(&data), size(&units)]);
            rest.extend(units);
            rest.resize(rest.len() + data_offset - name_end, 0);
            rest.extend(data);
        }
        2 => {
            header.push(size(&data));
            rest.extend(data);
        }
        _ => return NtStatus::INVALID_PARAMETER.0,
    }
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    let fixed = bytes.len();
    bytes.extend(rest);
    needed.set(size(&bytes));
    let length = length as usize;
    if length < fixed {
        return NtStatus::BUFFER_TOO_SMALL.0;
    }
    // SAFETY: the driver vouches for `length` bytes; if they are not there, the fault is its own.
    unsafe { libc::memcpy(buffer.cast(), bytes.as_ptr().cast(), bytes.len().min(length)) };
    if bytes.len() > length { NtStatus::BUFFER_OVERFLOW.0 } else { NtStatus::SUCCESS.0 }
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        PASSIVE: ZwOpenKey => zw_open_key, ZwCreateKey => zw_create_key, ZwSetValueKey => zw_set_value_key,
            ZwQueryValueKey => zw_query_value_key;
    ]
}
