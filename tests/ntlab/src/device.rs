//! Device objects, symbolic links, and the names that lead to them.
//!
//! Models "Introduction to Device Objects", "Named Device Objects" and "Introduction to MS-DOS Device Names".

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::machine::{self, Inner, Machine};
use crate::nt::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DO_EXCLUSIVE, DRIVER_OBJECT, IO_TYPE_DEVICE, PVOID, UNICODE_STRING,
};
use crate::objects::Kind;
use crate::rtl::text;
use crate::rules;
use crate::security::Acl;
use crate::status::NtStatus;

/// What a name stands for.
#[derive(Debug, Clone)]
enum Named {
    Device(usize),
    Link { name: String, target: String },
}

/// The object namespace of a machine, case-insensitive.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<String, Named>>);

impl Names {
    /// The device that `name` leads to, whatever path follows the device's own name.
    pub(crate) fn device(&self, name: &str) -> Option<*mut DEVICE_OBJECT> {
        let names = self.0.lock();
        let mut name = name.to_lowercase();
        for _ in 0..8 {
            let mut end = name.len();
            let found = loop {
                if let Some(found) = names.get(&name[..end]) {
                    break found.clone();
                }
                end = name[..end].rfind('\\')?;
            };
            match found {
                Named::Device(device) => return Some(device as *mut DEVICE_OBJECT),
                Named::Link { target, .. } => name = target.to_lowercase() + &name[end..],
            }
        }
        None
    }

    fn add(&self, name: &str, named: Named) -> NtStatus {
        if !name.starts_with('\\') {
            return NtStatus::OBJECT_NAME_INVALID;
        }
        match self.0.lock().entry(name.to_lowercase()) {
            std::collections::hash_map::Entry::Occupied(_) => NtStatus::OBJECT_NAME_COLLISION,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(named);
                NtStatus::SUCCESS
            }
        }
    }

    /// Symbolic links, one line each.
    pub(crate) fn links(&self) -> Vec<String> {
        let names = self.0.lock();
        names
            .values()
            .filter_map(|named| match named {
                Named::Link { name, target } => Some(format!("symbolic link {name} to {target}")),
                Named::Device(_) => None,
            })
            .collect()
    }
}

/// What the lab keeps for a device.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    name: String,
    acl: Mutex<Option<Acl>>,
    pub(crate) files: AtomicUsize,
    pub(crate) deleted: AtomicBool,
}

impl Machine {
    /// The names under which processes can open devices, sorted: each symbolic link as `\\\\.\\Name`, and each named device
    /// that no link leads to as `\\Device\\Name`.
    #[must_use]
    pub fn device_names(&self) -> Vec<String> {
        let names = self.inner.names.0.lock();
        let is_linked = |device: usize| {
            let leads_here = |target: &str| matches!(names.get(&target.to_lowercase()), Some(Named::Device(found)) if *found == device);
            names.values().any(|named| matches!(named, Named::Link { target, .. } if leads_here(target)))
        };
        let mut all: Vec<String> = names
            .iter()
            .filter_map(|(key, named)| match named {
                Named::Link { name, .. } => Some(name.replacen(r"\??\", r"\\.\", 1)),
                Named::Device(device) => (!is_linked(*device)).then(|| key.clone()),
            })
            .collect();
        all.sort_unstable();
        all
    }
}

impl Inner {
    /// The lab's part of a device.
    pub(crate) fn device(&self, device: *mut DEVICE_OBJECT) -> &Extra {
        let header = self.require_object(device.cast(), Some(Kind::Device), "a device was expected");
        // SAFETY: `create` stored a box there, which lives as long as the device.
        unsafe { &*(header.context.load(Ordering::Acquire) as *const Extra) }
    }

    /// Devices of a driver that are not deleted, one line each.
    pub(crate) fn live_devices(&self, driver: &DRIVER_OBJECT) -> Vec<String> {
        let mut lines = Vec::new();
        let mut next = driver.DeviceObject.get();
        while !next.is_null() {
            lines.push(format!("device {next:p} {}", self.device(next).name));
            // SAFETY: devices on the driver's list exist: they leave it before they are deleted.
            next = unsafe { &*next }.NextDevice.get();
        }
        lines
    }
}

/// Sets the DACL of a device; none admits everybody.
pub(crate) fn set_acl(object: PVOID, acl: Option<Acl>) {
    *machine::current().device(object.cast()).acl.lock() = acl;
}

impl Extra {
    /// Whether `token` may open the device with `access`.
    pub(crate) fn admits(&self, token: crate::Token, access: u32) -> bool {
        self.acl.lock().as_ref().is_none_or(|acl| acl.allows(token, access))
    }
}

/// Takes the lab's part of a device down with it.
#[expect(clippy::unnecessary_wraps, reason = "the signature is `AtEnd`")]
fn end(machine: &Inner, object: PVOID) -> Result<bool, Stopped> {
    if let Some(header) = machine.object(object) {
        let extra = header.context.swap(0, Ordering::AcqRel) as *mut Extra;
        // SAFETY: `create` made the box; the swap makes this its only owner.
        drop(unsafe { Box::from_raw(extra) });
    }
    Ok(true)
}

#[expect(clippy::too_many_arguments, reason = "it is IoCreateDevice")]
fn create(
    driver: *mut DRIVER_OBJECT,
    extension: u32,
    name: *const UNICODE_STRING,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    acl: Option<Acl>,
    result: *mut *mut DEVICE_OBJECT,
) -> NtStatus {
    let machine = machine::current();
    if machine.fails_allocation() {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    machine.require_object(driver.cast(), Some(Kind::Driver), "IoCreateDevice");
    let name = if name.is_null() { String::new() } else { text(name) };
    let size = size_of::<DEVICE_OBJECT>() + extension as usize;
    let object = machine.create_object(Kind::Device, size, Some(end));
    let extra = Box::new(Extra { name: name.clone(), acl: Mutex::new(acl), ..Extra::default() });
    if let Some(header) = machine.object(object) {
        header.context.store(Box::into_raw(extra) as usize, Ordering::Release);
    }
    if !name.is_empty() {
        let status = machine.names.add(&name, Named::Device(object as usize));
        if status != NtStatus::SUCCESS {
            or_escape(machine.dereference(object));
            return status;
        }
    }
    let pointer: *mut DEVICE_OBJECT = object.cast();
    // SAFETY: the object is new, large enough, and valid when zero.
    let device = unsafe { &*pointer };
    device.Type.set(IO_TYPE_DEVICE);
    device.Size.set(u16::try_from(size).unwrap_or(u16::MAX));
    device.DriverObject.set(driver);
    device.Flags.set(DO_DEVICE_INITIALIZING | if exclusive != 0 { DO_EXCLUSIVE } else { 0 });
    device.Characteristics.set(characteristics);
    device.DeviceType.set(device_type);
    device.StackSize.set(1);
    if extension != 0 {
        device.DeviceExtension.set(pointer.wrapping_add(1).cast());
    }
    // SAFETY: `require_object` has found the driver.
    let driver = unsafe { &*driver };
    device.NextDevice.set(driver.DeviceObject.replace(pointer));
    // SAFETY: the driver vouches for the place of the result.
    unsafe { result.write(pointer) };
    NtStatus::SUCCESS
}

extern "win64" fn io_create_device(
    driver: *mut DRIVER_OBJECT,
    extension: u32,
    name: *const UNICODE_STRING,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    result: *mut *mut DEVICE_OBJECT,
) -> i32 {
    create(driver, extension, name, device_type, characteristics, exclusive, None, result).0
}

extern "win64" fn io_create_device_secure(
    driver: *mut DRIVER_OBJECT,
    extension: u32,
    name: *const UNICODE_STRING,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    sddl: *const UNICODE_STRING,
    _class: PVOID,
    result: *mut *mut DEVICE_OBJECT,
) -> i32 {
    let Some(acl) = Acl::parse_sddl(&text(sddl)) else { return NtStatus::INVALID_PARAMETER.0 };
    create(driver, extension, name, device_type, characteristics, exclusive, Some(acl), result).0
}

extern "win64" fn io_delete_device(pointer: *mut DEVICE_OBJECT) {
    let machine = machine::current();
    let extra = machine.device(pointer);
    if extra.deleted.swap(true, Ordering::AcqRel) {
        rules::violate(&rules::BAD_OBJECT, "IoDeleteDevice on a device that is deleted already", Vec::new());
    }
    if !extra.name.is_empty() {
        machine.names.0.lock().remove(&extra.name.to_lowercase());
    }
    // SAFETY: `device` has found the object.
    let device = unsafe { &*pointer };
    // SAFETY: the driver of a device that is not deleted exists.
    let driver = unsafe { &*device.DriverObject.get() };
    let mut link = &driver.DeviceObject;
    while !link.get().is_null() {
        if link.get() == pointer {
            link.set(device.NextDevice.get());
            break;
        }
        // SAFETY: devices on the driver's list exist.
        link = &unsafe { &*link.get() }.NextDevice;
    }
    or_escape(machine.dereference(pointer.cast()));
}

extern "win64" fn io_create_symbolic_link(link: *const UNICODE_STRING, target: *const UNICODE_STRING) -> i32 {
    let (name, target) = (canonical(&text(link)), text(target));
    machine::current().names.add(&name.clone(), Named::Link { name, target }).0
}

extern "win64" fn io_delete_symbolic_link(link: *const UNICODE_STRING) -> i32 {
    let link = canonical(&text(link)).to_lowercase();
    match machine::current().names.0.lock().remove(&link) {
        Some(_) => NtStatus::SUCCESS.0,
        None => NtStatus::OBJECT_NAME_NOT_FOUND.0,
    }
}

/// `\DosDevices` and `\GLOBAL??` are other names of `\??`.
pub(crate) fn canonical(name: &str) -> String {
    for prefix in ["\\DosDevices\\Global\\", "\\DosDevices\\", "\\GLOBAL??\\", "\\??\\Global\\"] {
        if name.len() >= prefix.len() && name.is_char_boundary(prefix.len()) {
            let (start, rest) = name.split_at(prefix.len());
            if start.eq_ignore_ascii_case(prefix) {
                return format!("\\??\\{rest}");
            }
        }
    }
    name.to_owned()
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        APC: IoCreateDevice => io_create_device, IoDeleteDevice => io_delete_device;
        PASSIVE: IoCreateDeviceSecure => io_create_device_secure,
            WdmlibIoCreateDeviceSecure => io_create_device_secure,
            IoCreateSymbolicLink => io_create_symbolic_link, IoDeleteSymbolicLink => io_delete_symbolic_link;
    ]
}
