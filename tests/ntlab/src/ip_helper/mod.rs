//! IP Helper: what netio.sys tells a driver about interfaces, addresses and routes.
//!
//! One idea: there is one interface, the loopback one, and it is what every table and entry is about. A table is given back
//! with `FreeMibTable`; a notification is cancelled, and not called any more when that has returned.
//!
//! Source: *IP Helper*: the page of each function.

mod changes;
mod rows;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use parking_lot::{Condvar, Mutex};
use wsk::sys::{AF_INET, AF_INET6, AddressFamily};

pub use changes::Change;
use changes::Notification;
use rows::{Address, ForwardRow, INDEX, IfRow, InterfaceRow, LUID, UnicastRow};

use crate::exports::{Export, routines};
use crate::machine;
use crate::memory::{Access, Region};
use crate::rules;
use crate::status::NtStatus;

/// Where the rows of a table begin, behind its count.
const ROWS: usize = 8;
/// `AF_UNSPEC`.
const ANY: AddressFamily = 0;

/// What a machine's drivers have of it.
#[derive(Default)]
pub(crate) struct State {
    /// Tables that are not freed, by their address. A freed one is not accessible.
    tables: Mutex<BTreeMap<usize, Region>>,
    notifications: Mutex<BTreeMap<usize, Notification>>,
    /// Signalled when a callback has returned.
    returned: Condvar,
    last: AtomicUsize,
}

impl State {
    /// What drivers have not given back, one line each.
    pub(crate) fn live(&self) -> Vec<String> {
        let tables = self.tables.lock();
        let mut live: Vec<_> = tables.keys().map(|address| format!("IP Helper table {address:#x}")).collect();
        live.extend(self.notifications.lock().values().map(ToString::to_string));
        live
    }
}

/// Gives the driver a table of rows.
fn give<T: Copy>(place: *mut usize, rows: &[T]) -> NtStatus {
    let machine = machine::current();
    if rows.is_empty() {
        return NtStatus::NOT_FOUND;
    }
    let Some(region) =
        Region::map(ROWS + size_of_val(rows), Access::ReadWrite).ok().filter(|_| !machine.fails_allocation())
    else {
        return NtStatus::NO_MEMORY;
    };
    let base = region.base();
    // SAFETY: the region is new, writable and large enough, and aligned to a page.
    unsafe { (base as *mut u32).write(u32::try_from(rows.len()).unwrap_or(0)) };
    // SAFETY: the region is new, writable and large enough for the rows behind their count.
    unsafe { std::ptr::copy_nonoverlapping(rows.as_ptr(), (base + ROWS) as *mut T, rows.len()) };
    machine.ip_helper.tables.lock().insert(base, region);
    // SAFETY: the driver passes a place for the pointer.
    unsafe { place.write(base) };
    NtStatus::SUCCESS
}

/// The families that a driver asks for.
fn families(family: AddressFamily) -> Option<&'static [AddressFamily]> {
    match family {
        ANY => Some(&[AF_INET, AF_INET6]),
        AF_INET => Some(&[AF_INET]),
        AF_INET6 => Some(&[AF_INET6]),
        _ => None,
    }
}

/// A table with a row for each family.
fn table<T: Copy>(family: AddressFamily, place: *mut usize, row: fn(AddressFamily) -> T) -> i32 {
    match families(family) {
        Some(families) if !place.is_null() => {
            give(place, &families.iter().map(|&family| row(family)).collect::<Vec<_>>()).0
        }
        _ => NtStatus::INVALID_PARAMETER.0,
    }
}

extern "win64" fn get_unicast_table(family: AddressFamily, place: *mut usize) -> i32 {
    table(family, place, UnicastRow::of)
}

extern "win64" fn get_forward_table(family: AddressFamily, place: *mut usize) -> i32 {
    table(family, place, ForwardRow::of)
}

extern "win64" fn get_interface_table(family: AddressFamily, place: *mut usize) -> i32 {
    table(family, place, InterfaceRow::of)
}

extern "win64" fn get_if_table(place: *mut usize) -> i32 {
    if place.is_null() { NtStatus::INVALID_PARAMETER.0 } else { give(place, &[IfRow::new()]).0 }
}

extern "win64" fn free_table(table: usize) {
    let freed = machine::current().ip_helper.tables.lock().remove(&table).is_some();
    if !freed {
        let message = format!("FreeMibTable got {table:#x}, which is no table of IP Helper");
        rules::violate(&rules::BAD_FREE, message, Vec::new());
    }
}

/// Whether an interface named by its LUID, or else by its index, is the one that there is.
const fn is_here(luid: u64, index: u32) -> bool {
    if luid == 0 { index == INDEX } else { luid == LUID }
}

extern "win64" fn get_if_entry(row: &mut IfRow) -> i32 {
    if row.luid == 0 && row.index == 0 {
        return NtStatus::INVALID_PARAMETER.0;
    }
    if !is_here(row.luid, row.index) {
        return NtStatus::NOT_FOUND.0;
    }
    *row = IfRow::new();
    NtStatus::SUCCESS.0
}

extern "win64" fn get_interface_entry(row: &mut InterfaceRow) -> i32 {
    if ![AF_INET, AF_INET6].contains(&row.family) || (row.luid == 0 && row.index == 0) {
        return NtStatus::INVALID_PARAMETER.0;
    }
    if !is_here(row.luid, row.index) {
        return NtStatus::NOT_FOUND.0;
    }
    *row = InterfaceRow::of(row.family);
    NtStatus::SUCCESS.0
}

extern "win64" fn get_unicast_entry(row: &mut UnicastRow) -> i32 {
    let Some(ip) = row.address.ip().filter(|_| row.luid != 0 || row.index != 0) else {
        return NtStatus::INVALID_PARAMETER.0;
    };
    if !is_here(row.luid, row.index) || ip != rows::loopback(row.address.family) {
        return NtStatus::NOT_FOUND.0;
    }
    *row = UnicastRow::of(row.address.family);
    NtStatus::SUCCESS.0
}

extern "win64" fn get_best_route(
    luid: *const u64,
    index: u32,
    _source: *const Address,
    destination: *const Address,
    _options: u32,
    route: *mut ForwardRow,
    best_source: *mut Address,
) -> i32 {
    if destination.is_null() || route.is_null() || best_source.is_null() {
        return NtStatus::INVALID_PARAMETER.0;
    }
    // SAFETY: the driver passes an address.
    let destination = unsafe { destination.read() };
    // SAFETY: the driver passes NULL or a LUID.
    let luid = unsafe { luid.as_ref() }.copied().unwrap_or(0);
    let Some(ip) = destination.ip() else {
        return NtStatus::INVALID_PARAMETER.0;
    };
    if (luid != 0 || index != 0) && !is_here(luid, index) {
        return NtStatus::NOT_FOUND.0;
    }
    if !ip.is_loopback() {
        return NtStatus::NETWORK_UNREACHABLE.0;
    }
    // SAFETY: the driver passes a place for the route.
    unsafe { route.write(ForwardRow::of(destination.family)) };
    // SAFETY: the driver passes a place for the source.
    unsafe { best_source.write(Address::of(rows::loopback(destination.family))) };
    NtStatus::SUCCESS.0
}

extern "win64" fn luid_to_index(luid: &u64, index: &mut u32) -> i32 {
    *index = if *luid == LUID { INDEX } else { 0 };
    if *luid == LUID { NtStatus::SUCCESS.0 } else { NtStatus::INVALID_PARAMETER.0 }
}

extern "win64" fn index_to_luid(index: u32, luid: &mut u64) -> i32 {
    *luid = if index == INDEX { LUID } else { 0 };
    if index == INDEX { NtStatus::SUCCESS.0 } else { NtStatus::NOT_FOUND.0 }
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["netio.sys";
        PASSIVE: GetUnicastIpAddressTable => get_unicast_table, GetUnicastIpAddressEntry => get_unicast_entry,
            GetIpForwardTable2 => get_forward_table, GetBestRoute2 => get_best_route,
            GetIpInterfaceTable => get_interface_table, GetIpInterfaceEntry => get_interface_entry,
            GetIfTable2 => get_if_table, GetIfEntry2 => get_if_entry, FreeMibTable => free_table,
            NotifyIpInterfaceChange => changes::notify_interface, NotifyRouteChange2 => changes::notify_route,
            NotifyUnicastIpAddressChange => changes::notify_address, CancelMibChangeNotify2 => changes::cancel,
            ConvertInterfaceLuidToIndex => luid_to_index, ConvertInterfaceIndexToLuid => index_to_luid;
    ]
}

#[cfg(test)]
mod tests;
