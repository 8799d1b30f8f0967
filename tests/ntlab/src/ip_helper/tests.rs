//! Tables, entries, routes and notifications of the loopback interface.

use std::sync::Mutex;

use wsk::sys::{AF_INET, AF_INET6, AddressFamily};

use super::Change;
use super::rows::{Address, ForwardRow, INDEX, IfRow, InterfaceRow, LUID, UnicastRow};
use crate::rules;
use crate::{Machine, NtStatus, Options};

crate::imports! {
    fn GetUnicastIpAddressTable(family: AddressFamily, table: *mut usize) -> i32;
    fn GetUnicastIpAddressEntry(row: *mut UnicastRow) -> i32;
    fn GetIpForwardTable2(family: AddressFamily, table: *mut usize) -> i32;
    fn GetIfTable2(table: *mut usize) -> i32;
    fn GetIfEntry2(row: *mut IfRow) -> i32;
    fn GetIpInterfaceEntry(row: *mut InterfaceRow) -> i32;
    fn GetBestRoute2(
        luid: *const u64,
        index: u32,
        source: *const Address,
        destination: *const Address,
        options: u32,
        route: *mut ForwardRow,
        best: *mut Address,
    ) -> i32;
    fn FreeMibTable(table: usize);
    fn NotifyIpInterfaceChange(family: AddressFamily, callback: usize, context: usize, initial: u8, handle: *mut usize) -> i32;
    fn CancelMibChangeNotify2(handle: usize) -> i32;
    fn ConvertInterfaceIndexToLuid(index: u32, luid: *mut u64) -> i32;
}

fn on<R>(machine: &Machine, body: impl FnOnce() -> R) -> R {
    crate::call::guard(&machine.inner, body).expect("no rule was broken")
}

/// The count of a table and a copy of its first row.
fn contents<T: Copy>(table: usize) -> (u32, T) {
    // SAFETY: a table begins with its count.
    let count = unsafe { (table as *const u32).read() };
    // SAFETY: its rows begin behind 8 bytes, and there is one.
    (count, unsafe { ((table + 8) as *const T).read() })
}

#[test]
fn tables_are_about_the_loopback_interface_and_given_back() {
    let machine = Machine::new(Options::default());
    on(&machine, || {
        let mut table = 0;
        assert_eq!(GetUnicastIpAddressTable(0, &raw mut table), NtStatus::SUCCESS.0);
        let (count, row) = contents::<UnicastRow>(table);
        assert_eq!((count, row.luid, row.index), (2, LUID, INDEX));
        assert_eq!(row.address.ip(), "127.0.0.1".parse().ok());
        FreeMibTable(table);
        assert_eq!(GetIpForwardTable2(AF_INET6, &raw mut table), NtStatus::SUCCESS.0);
        assert_eq!(contents::<ForwardRow>(table).0, 1);
        assert_eq!(machine.inner.ip_helper.live().len(), 1);
        FreeMibTable(table);
        assert_eq!(GetIfTable2(&raw mut table), NtStatus::SUCCESS.0);
        assert_eq!(contents::<IfRow>(table).1.luid, LUID);
        FreeMibTable(table);
        assert_eq!(GetUnicastIpAddressTable(7, &raw mut table), NtStatus::INVALID_PARAMETER.0);
        assert!(machine.inner.ip_helper.live().is_empty());
    });
}

#[test]
fn entries_are_found_by_luid_or_index() {
    let machine = Machine::new(Options::default());
    on(&machine, || {
        let mut row = IfRow::new();
        assert_eq!(GetIfEntry2(&raw mut row), NtStatus::SUCCESS.0);
        (row.luid, row.index) = (0, 2);
        assert_eq!(GetIfEntry2(&raw mut row), NtStatus::NOT_FOUND.0);
        (row.luid, row.index) = (0, 0);
        assert_eq!(GetIfEntry2(&raw mut row), NtStatus::INVALID_PARAMETER.0);
        let mut row = InterfaceRow::of(AF_INET);
        row.luid = 0;
        assert_eq!(GetIpInterfaceEntry(&raw mut row), NtStatus::SUCCESS.0);
        assert_eq!(row.luid, LUID);
        let mut row = UnicastRow::of(AF_INET6);
        assert_eq!(GetUnicastIpAddressEntry(&raw mut row), NtStatus::SUCCESS.0);
        row.address = Address::of("::2".parse().unwrap());
        assert_eq!(GetUnicastIpAddressEntry(&raw mut row), NtStatus::NOT_FOUND.0);
        let mut luid = 7;
        assert_eq!(ConvertInterfaceIndexToLuid(INDEX, &raw mut luid), NtStatus::SUCCESS.0);
        assert_eq!(luid, LUID);
    });
}

#[test]
fn only_loopback_addresses_have_a_route() {
    let machine = Machine::new(Options::default());
    let route = |to: &str| {
        let (to, mut row, mut source) =
            (Address::of(to.parse().unwrap()), ForwardRow::of(AF_INET), Address::of("0.0.0.0".parse().unwrap()));
        let none = std::ptr::null;
        let status = GetBestRoute2(std::ptr::null(), 0, none(), &raw const to, 0, &raw mut row, &raw mut source);
        (status, source.ip())
    };
    on(&machine, || {
        assert_eq!(route("127.1.2.3"), (NtStatus::SUCCESS.0, "127.0.0.1".parse().ok()));
        assert_eq!(route("::1"), (NtStatus::SUCCESS.0, "::1".parse().ok()));
        assert_eq!(route("192.0.2.1").0, NtStatus::NETWORK_UNREACHABLE.0);
    });
}

#[test]
fn a_notification_is_called_until_it_is_cancelled() {
    static TOLD: Mutex<Vec<(usize, bool, u32)>> = Mutex::new(Vec::new());
    extern "win64" fn changed(context: usize, row: *const InterfaceRow, kind: u32) {
        TOLD.lock().unwrap().push((context, row.is_null(), kind));
    }
    let machine = Machine::new(Options::default());
    on(&machine, || {
        let mut handle = 0;
        let callback = changed as *const () as usize;
        assert_eq!(NotifyIpInterfaceChange(0, callback, 7, 1, &raw mut handle), NtStatus::SUCCESS.0);
        machine.change_interfaces(Change::Interface);
        machine.change_interfaces(Change::Route);
        assert_eq!(machine.inner.ip_helper.live().len(), 1);
        assert_eq!(CancelMibChangeNotify2(handle), NtStatus::SUCCESS.0);
        machine.change_interfaces(Change::Interface);
        assert_eq!(NotifyIpInterfaceChange(0, 0, 7, 1, &raw mut handle), NtStatus::INVALID_PARAMETER.0);
    });
    assert_eq!(*TOLD.lock().unwrap(), [(7, true, 3), (7, false, 0)]);
}

#[test]
fn what_is_given_back_was_given() {
    for (rule, wrong) in [
        (&rules::BAD_FREE, (|| FreeMibTable(0x1000)) as fn()),
        (&rules::BAD_OBJECT, || {
            CancelMibChangeNotify2(0x1000);
        }),
        (&rules::ACCESS_VIOLATION, || {
            extern "win64" fn read(table: *const u32) -> u32 {
                // SAFETY: none: a wrong driver reads a table that it has freed.
                unsafe { table.read_volatile() }
            }
            let mut table = 0;
            GetIfTable2(&raw mut table);
            FreeMibTable(table);
            let _ = crate::call::driver("a wrong driver", read as *const () as usize, &[table]);
        }),
    ] {
        let machine = Machine::new(Options::default());
        let _ = crate::call::guard(&machine.inner, wrong);
        assert_eq!(machine.violations().first().map(|first| first.rule.name), Some(rule.name));
    }
}
