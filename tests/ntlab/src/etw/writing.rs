//! What a provider writes.
//!
//! One idea: everything is copied before any lock is taken, for the driver's pointers may be wrong and end the call.

use std::cell::Cell;
use std::time::Duration;

use super::event::{Event, Field, Guid, Value};
use super::metadata;
use crate::call::or_escape;
use crate::machine;
use crate::status::NtStatus;
use crate::thread::this;

/// `EVENT_DATA_DESCRIPTOR_TYPE_EVENT_METADATA`.
const EVENT_METADATA: u8 = 1;
/// `EVENT_DATA_DESCRIPTOR_TYPE_PROVIDER_METADATA`.
const PROVIDER_METADATA: u8 = 2;
/// `MAX_EVENT_DATA_DESCRIPTORS`.
const MOST_DESCRIPTORS: u32 = 128;
/// Bytes of an event: 64 KiB with its header.
const MOST_BYTES: usize = 64 * 1024 - 80;

/// `EVENT_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Descriptor {
    pub id: u16,
    pub version: u8,
    pub channel: u8,
    pub level: u8,
    pub opcode: u8,
    pub task: u16,
    pub keyword: u64,
}
const _: () = assert!(size_of::<Descriptor>() == 16);

/// `EVENT_DATA_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Data {
    pub pointer: usize,
    pub size: u32,
    pub kind: u8,
    pub reserved: [u8; 3],
}
const _: () = assert!(size_of::<Data>() == 16);

/// An event as it was written.
pub struct Written {
    at: Duration,
    provider_id: Guid,
    provider: String,
    descriptor: Descriptor,
    activity: Option<Guid>,
    related: Option<Guid>,
    irql: u8,
    provider_metadata: Vec<u8>,
    metadata: Vec<u8>,
    data: Vec<u8>,
}

impl Written {
    /// The event, with names and values.
    pub fn read(&self) -> Event {
        let (name, fields) = if self.metadata.is_empty() {
            let fields = if self.data.is_empty() {
                Vec::new()
            } else {
                vec![Field { name: "data".into(), value: Value::Bytes(self.data.clone()) }]
            };
            (self.descriptor.id.to_string(), fields)
        } else {
            metadata::read(&self.metadata, &self.data)
        };
        Event {
            at: self.at,
            provider: metadata::provider_name(&self.provider_metadata).unwrap_or_else(|| self.provider.clone()),
            provider_id: self.provider_id,
            name,
            level: self.descriptor.level,
            opcode: self.descriptor.opcode,
            keyword: self.descriptor.keyword,
            activity: self.activity,
            related: self.related,
            irql: self.irql,
            fields,
        }
    }
}

/// One call of a writing routine.
struct Call {
    routine: &'static str,
    handle: u64,
    activity: *const Guid,
    related: *const Guid,
}

impl Call {
    /// # Safety
    /// The pointers are null or lead to what the routine's documentation says, `count` descriptors of data among it.
    unsafe fn write(&self, descriptor: Descriptor, count: u32, data: *const Data) -> NtStatus {
        if count > MOST_DESCRIPTORS || (count != 0 && data.is_null()) {
            return NtStatus::INVALID_PARAMETER;
        }
        let machine = machine::current();
        let outcome = machine.etw.with(self.routine, self.handle, |found| (found.id, found.name()));
        let Some((provider_id, provider)) = or_escape(outcome) else {
            return NtStatus::INVALID_HANDLE;
        };
        let session = machine.etw.session();
        if !session.is_some_and(|session| session.sees(descriptor.level, descriptor.keyword)) {
            return NtStatus::SUCCESS;
        }
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for index in 0..count as usize {
            // SAFETY: the caller vouches for `count` descriptors.
            let each = unsafe { data.wrapping_add(index).read_unaligned() };
            let part = &mut parts[match each.kind {
                EVENT_METADATA => 1,
                PROVIDER_METADATA => 2,
                _ => 0,
            }];
            if each.size != 0 {
                // SAFETY: the caller vouches for what each descriptor leads to.
                part.extend_from_slice(unsafe {
                    std::slice::from_raw_parts(each.pointer as *const u8, each.size as usize)
                });
            }
        }
        let [data, metadata, provider_metadata] = parts;
        if data.len() + metadata.len() + provider_metadata.len() > MOST_BYTES {
            return NtStatus::INTEGER_OVERFLOW;
        }
        machine.etw.keep(Written {
            at: machine.age(),
            provider_id,
            provider,
            descriptor,
            // SAFETY: the caller vouches for the pointer.
            activity: unsafe { self.activity.as_ref() }.copied(),
            // SAFETY: the caller vouches for the pointer.
            related: unsafe { self.related.as_ref() }.copied(),
            irql: this().irql.get(),
            provider_metadata,
            metadata,
            data,
        });
        NtStatus::SUCCESS
    }
}

pub extern "win64" fn write(
    handle: u64,
    descriptor: *const Descriptor,
    activity: *const Guid,
    count: u32,
    data: *const Data,
) -> i32 {
    let call = Call { routine: "EtwWrite", handle, activity, related: std::ptr::null() };
    // SAFETY: the driver passes a descriptor.
    let descriptor = unsafe { descriptor.read_unaligned() };
    // SAFETY: the driver passes what the documentation says.
    unsafe { call.write(descriptor, count, data) }.0
}

pub extern "win64" fn write_transfer(
    handle: u64,
    descriptor: *const Descriptor,
    activity: *const Guid,
    related: *const Guid,
    count: u32,
    data: *const Data,
) -> i32 {
    let call = Call { routine: "EtwWriteTransfer", handle, activity, related };
    // SAFETY: the driver passes a descriptor.
    let descriptor = unsafe { descriptor.read_unaligned() };
    // SAFETY: the driver passes what the documentation says.
    unsafe { call.write(descriptor, count, data) }.0
}

pub extern "win64" fn write_ex(
    handle: u64,
    descriptor: *const Descriptor,
    _filter: u64,
    _flags: u32,
    activity: *const Guid,
    related: *const Guid,
    count: u32,
    data: *const Data,
) -> i32 {
    let call = Call { routine: "EtwWriteEx", handle, activity, related };
    // SAFETY: the driver passes a descriptor.
    let descriptor = unsafe { descriptor.read_unaligned() };
    // SAFETY: the driver passes what the documentation says.
    unsafe { call.write(descriptor, count, data) }.0
}

pub extern "win64" fn write_string(
    handle: u64,
    level: u8,
    keyword: u64,
    activity: *const Guid,
    text: *const u16,
) -> i32 {
    let mut length = 0;
    // SAFETY: the driver passes a string that ends with a zero.
    while unsafe { text.wrapping_add(length).read() } != 0 {
        length += 1;
    }
    let size = u32::try_from((length + 1) * 2).unwrap_or(u32::MAX);
    let data = Data { pointer: text as usize, size, kind: 0, reserved: [0; 3] };
    let call = Call { routine: "EtwWriteString", handle, activity, related: std::ptr::null() };
    // SAFETY: the descriptor leads to the string, and there is one of it.
    unsafe { call.write(Descriptor { level, keyword, ..Descriptor::default() }, 1, &raw const data) }.0
}

thread_local! {
    /// The thread's activity.
    static ACTIVITY: Cell<Guid> = const { Cell::new(Guid([0; 16])) };
}

pub extern "win64" fn activity_id_control(code: u32, place: *mut Guid) -> i32 {
    const GET: u32 = 1;
    const SET: u32 = 2;
    const CREATE: u32 = 3;
    const GET_SET: u32 = 4;
    const CREATE_SET: u32 = 5;
    if place.is_null() || !(GET..=CREATE_SET).contains(&code) {
        return NtStatus::INVALID_PARAMETER.0;
    }
    // SAFETY: the driver passes a GUID.
    let given = unsafe { place.read_unaligned() };
    let before = ACTIVITY.get();
    if code == SET || code == GET_SET {
        ACTIVITY.set(given);
    }
    let answer = match code {
        GET | GET_SET => before,
        CREATE => new_activity(),
        CREATE_SET => {
            ACTIVITY.set(new_activity());
            before
        }
        _ => given,
    };
    // SAFETY: the driver passes a place for a GUID, which was read above.
    unsafe { place.write_unaligned(answer) };
    NtStatus::SUCCESS.0
}

fn new_activity() -> Guid {
    let machine = machine::current();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&machine.random().to_le_bytes());
    bytes[8..].copy_from_slice(&machine.random().to_le_bytes());
    Guid(bytes)
}
