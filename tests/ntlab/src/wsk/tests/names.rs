//! Names and addresses.

use std::ptr::null_mut;

use wsk::sys;

use super::super::names::AddressInfo;
use super::super::{address, rules, status};
use super::{Client, Io, Place, each_seed, machine, provoke, run, settle, settled};
use crate::nt::UNICODE_STRING;

struct Text {
    units: Vec<u16>,
    string: Box<UNICODE_STRING>,
}

impl Text {
    fn new(text: &str, room: usize) -> Self {
        let mut units: Vec<u16> = text.encode_utf16().collect();
        let length = u16::try_from(units.len() * 2).unwrap();
        units.resize(units.len().max(room), 0);
        let string = Box::new(UNICODE_STRING {
            Length: length,
            MaximumLength: u16::try_from(units.len() * 2).unwrap(),
            Buffer: units.as_mut_ptr(),
        });
        Self { units, string }
    }

    fn pointer(&mut self) -> *mut sys::UnicodeString {
        std::ptr::from_mut(&mut *self.string).cast()
    }

    fn text(&self) -> String {
        String::from_utf16_lossy(&self.units[..usize::from(self.string.Length / 2)])
    }
}

/// What a look-up says of the results that it wants.
#[derive(Clone, Copy, Default)]
struct Hints {
    flags: i32,
    family: i32,
    kind: i32,
    protocol: i32,
    namespace: u32,
}

/// Starts a look-up; the list appears in `list`.
fn start(client: &Client, node: &str, service: &str, list: &mut *mut AddressInfo) -> (i32, Io, [Text; 2]) {
    start_with(client, [Some(node), Some(service)], Hints::default(), list)
}

fn start_with(
    client: &Client,
    names: [Option<&str>; 2],
    hints: Hints,
    list: &mut *mut AddressInfo,
) -> (i32, Io, [Text; 2]) {
    let mut texts = names.map(|name| Text::new(name.unwrap_or_default(), 0));
    let io = Io::new();
    let [node, service] = &mut texts;
    let pointer = |text: &mut Text, name: Option<&str>| name.map_or(null_mut(), |_| text.pointer());
    let mut info = AddressInfo {
        flags: hints.flags,
        family: hints.family,
        kind: hints.kind,
        protocol: hints.protocol,
        address_length: 0,
        canonical_name: null_mut(),
        address: null_mut(),
        blob: null_mut(),
        blob_length: 0,
        provider: null_mut(),
        next: null_mut(),
    };
    // SAFETY: the arguments are those of WskGetAddressInfo.
    let returned = unsafe {
        client.dispatch().get_address_info.unwrap()(
            client.npi.client,
            pointer(node, names[0]),
            pointer(service, names[1]),
            hints.namespace,
            null_mut(),
            (&raw mut info).cast(),
            std::ptr::from_mut(list).cast(),
            null_mut(),
            null_mut(),
            io.irp(),
        )
    };
    (returned, io, texts)
}

/// The addresses that `node` and `service` resolve to.
fn resolve(client: &Client, node: &str, service: &str) -> Result<Vec<String>, i32> {
    resolve_with(client, [Some(node), Some(service)], Hints::default()).map(|(found, _)| found)
}

/// The addresses that are found, and the canonical name.
fn resolve_with(client: &Client, names: [Option<&str>; 2], hints: Hints) -> Result<(Vec<String>, Option<String>), i32> {
    let mut list = null_mut();
    let (returned, io, _texts) = start_with(client, names, hints, &mut list);
    let (status, information) = settle(returned, io);
    assert_eq!(information, status.cast_unsigned() as usize, "Information holds the status");
    if status != status::SUCCESS {
        assert!(list.is_null());
        return Err(status);
    }
    let (mut found, mut name) = (Vec::new(), None);
    let mut next = list;
    // SAFETY: the provider's list is valid until it is freed.
    while let Some(info) = unsafe { next.as_ref() } {
        let family = u16::try_from(info.family).unwrap();
        assert_eq!(info.address_length, address::length(family));
        assert_eq!((info.kind, info.protocol), (hints.kind, hints.protocol));
        // SAFETY: the list has an address in each of its parts.
        found.push(unsafe { address::read(info.address, family) }.unwrap().to_string());
        if !info.canonical_name.is_null() {
            let mut units = Vec::new();
            // SAFETY: the name ends with a zero.
            while let unit @ 1.. = unsafe { info.canonical_name.wrapping_add(units.len()).read() } {
                units.push(unit);
            }
            name = Some(String::from_utf16_lossy(&units));
        }
        next = info.next;
    }
    free(client, list);
    Ok((found, name))
}

fn free(client: &Client, list: *mut AddressInfo) {
    // SAFETY: the arguments are those of WskFreeAddressInfo.
    unsafe { client.dispatch().free_address_info.unwrap()(client.npi.client, list.cast()) };
}

#[test]
fn numbers_localhost_and_names_of_the_test_resolve_and_nothing_else() {
    each_seed(|machine| {
        machine.network().set_name("Peer.Test", vec!["127.0.0.9".parse().unwrap()]);
        run(machine, || {
            let client = Client::new();
            assert_eq!(resolve(&client, "127.0.0.1", "80"), Ok(vec!["127.0.0.1:80".to_owned()]));
            assert_eq!(resolve(&client, "::1", "http"), Ok(vec!["[::1]:80".to_owned()]));
            let both = vec!["[::1]:53".to_owned(), "127.0.0.1:53".to_owned()];
            assert_eq!(resolve(&client, "LOCALHOST", "domain"), Ok(both));
            assert_eq!(resolve(&client, "peer.test", "1"), Ok(vec!["127.0.0.9:1".to_owned()]));
            assert_eq!(resolve(&client, "example.com", "80"), Err(status::NO_MATCH));
            assert_eq!(resolve(&client, "localhost", "no such service"), Err(status::NO_MATCH));
            assert_eq!(machine.network().counters().address_lists, 0);
            client.end();
        });
    });
}

#[test]
fn hints_choose_among_the_results() {
    let machine = machine(1);
    machine.network().set_name("four.test", vec!["127.0.0.4".parse().unwrap()]);
    machine.network().set_name("both.test", vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    let (v4, v6) = (i32::from(sys::AF_INET), i32::from(sys::AF_INET6));
    let (passive, canonical, numeric_host, numeric_service) = (0x1, 0x2, 0x4, 0x8);
    let (all, mapped) = (0x100, 0x800);
    let (stream, datagram) = (1, 2);
    let none = Hints::default();
    run(&machine, || {
        let client = Client::new();
        let found = |names: [Option<&str>; 2], hints| resolve_with(&client, names, hints);
        let addresses = |node: &str, hints: Hints| found([Some(node), None], hints).map(|(addresses, _)| addresses);
        let service =
            |service: &str, hints: Hints| found([Some("127.0.0.1"), Some(service)], hints).map(|found| found.0);
        let text = |addresses: &[&str]| Ok(addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>());
        assert_eq!(addresses("both.test", Hints { family: v4, ..none }), text(&["127.0.0.1:0"]));
        assert_eq!(addresses("both.test", Hints { family: v6, ..none }), text(&["[::1]:0"]));
        assert_eq!(addresses("four.test", Hints { family: v6, ..none }), Err(status::NO_MATCH));
        let hints = Hints { family: v6, flags: mapped, ..none };
        assert_eq!(addresses("four.test", hints), text(&["[::ffff:127.0.0.4]:0"]));
        assert_eq!(addresses("both.test", hints), text(&["[::1]:0"]));
        let hints = Hints { family: v6, flags: mapped | all, ..none };
        assert_eq!(addresses("both.test", hints), text(&["[::1]:0", "[::ffff:127.0.0.1]:0"]));
        assert_eq!(addresses("four.test", Hints { flags: numeric_host, ..none }), Err(status::NO_MATCH));
        assert_eq!(addresses("127.0.0.7", Hints { flags: numeric_host, ..none }), text(&["127.0.0.7:0"]));
        assert_eq!(
            found([Some("Both.test"), None], Hints { flags: canonical, ..none }).unwrap().1.as_deref(),
            Some("Both.test")
        );
        let passively = |flags| found([None, Some("80")], Hints { flags, ..none }).map(|found| found.0);
        assert_eq!(passively(passive), text(&["[::]:80", "0.0.0.0:80"]));
        assert_eq!(passively(0), text(&["[::1]:80", "127.0.0.1:80"]));
        assert_eq!(service("ntp", Hints { kind: datagram, ..none }), text(&["127.0.0.1:123"]));
        assert_eq!(service("ntp", Hints { kind: stream, ..none }), Err(status::NO_MATCH));
        assert_eq!(service("HTTP", Hints { kind: stream, protocol: 6, ..none }), text(&["127.0.0.1:80"]));
        assert_eq!(service("http", Hints { flags: numeric_service, ..none }), Err(status::NO_MATCH));
        assert_eq!(service("65536", none), Err(status::NO_MATCH));
        assert_eq!(addresses("both.test", Hints { namespace: 12, ..none }).map(|found| found.len()), Ok(2));
        assert_eq!(addresses("both.test", Hints { namespace: 14, ..none }), Err(status::NO_MATCH));
        client.end();
    });
}

#[test]
fn a_question_without_a_meaning_is_refused() {
    let machine = machine(1);
    let none = Hints::default();
    run(&machine, || {
        let client = Client::new();
        let asked = |names, hints| resolve_with(&client, names, hints).map(|_| ());
        let host = [Some("localhost"), None];
        assert_eq!(asked([None, None], none), Err(status::INVALID_PARAMETER));
        for hints in [
            Hints { flags: i32::MIN, ..none },
            Hints { family: 1, ..none },
            Hints { kind: 3, ..none },
            Hints { protocol: 1, ..none },
            Hints { kind: 1, protocol: 17, ..none },
        ] {
            assert_eq!(asked(host, hints), Err(status::INVALID_PARAMETER));
        }
        assert_eq!(asked([None, Some("80")], Hints { flags: 2, ..none }), Err(status::INVALID_PARAMETER));
        client.end();
    });
}

/// The names of an address.
fn name(client: &Client, from: &str, flags: u32, room: [usize; 2]) -> Result<[String; 2], i32> {
    let mut from = Place::of(from.parse().unwrap());
    let mut texts = room.map(|room| Text::new("", room));
    let io = Io::new();
    let [node, service] = &mut texts;
    let pointer = |text: &mut Text, room: usize| if room == 0 { null_mut() } else { text.pointer() };
    // SAFETY: the arguments are those of WskGetNameInfo.
    let returned = unsafe {
        client.dispatch().get_name_info.unwrap()(
            client.npi.client,
            from.pointer(),
            28,
            pointer(node, room[0]),
            pointer(service, room[1]),
            flags,
            null_mut(),
            null_mut(),
            io.irp(),
        )
    };
    match settled(returned, io) {
        status::SUCCESS => Ok(texts.map(|text| text.text())),
        status => Err(status),
    }
}

#[test]
fn an_address_has_a_name_and_a_number() {
    let machine = machine(1);
    machine.network().set_name("six.lab.test", vec!["::6".parse().unwrap()]);
    let (no_domain, numeric_host, required, numeric_service, datagram) = (0x1, 0x2, 0x4, 0x8, 0x10);
    run(&machine, || {
        let client = Client::new();
        let named = |from, flags| name(&client, from, flags, [64, 64]);
        let pair = |host: &str, service: &str| Ok([host.to_owned(), service.to_owned()]);
        assert_eq!(named("127.0.0.1:443", 0), pair("localhost", "https"));
        assert_eq!(named("127.0.0.1:443", numeric_host | numeric_service), pair("127.0.0.1", "443"));
        assert_eq!(named("[::6]:512", 0), pair("six.lab.test", "exec"));
        assert_eq!(named("[::6]:512", no_domain | datagram), pair("six", "biff"));
        assert_eq!(named("[::7]:4711", 0), pair("::7", "4711"));
        assert_eq!(named("[::7]:4711", required), Err(status::NO_MATCH));
        assert_eq!(named("[::7]:4711", 0x20), Err(status::INVALID_PARAMETER));
        assert_eq!(name(&client, "127.0.0.1:443", 0, [0, 64]), pair("", "https"));
        assert_eq!(name(&client, "127.0.0.1:443", 0, [9, 64]), Err(status::BUFFER_TOO_SMALL));
        assert_eq!(name(&client, "127.0.0.1:443", 0, [0, 0]), Err(status::INVALID_PARAMETER));
        client.end();
    });
}

#[test]
fn a_look_up_takes_as_long_as_it_is_told() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            machine.network().set_look_up_delay(std::time::Duration::from_hours(1));
            let mut list = null_mut();
            let (returned, io, _texts) = start(&client, "localhost", "1", &mut list);
            assert_eq!((returned, machine.network().look_ups()), (status::PENDING, 1));
            machine.network().set_look_up_delay(std::time::Duration::from_millis(3));
            assert_eq!(resolve(&client, "127.0.0.1", "1"), Ok(vec!["127.0.0.1:1".to_owned()]));
            assert_eq!(name(&client, "127.0.0.1:443", 0, [64, 64]), Ok(["localhost".into(), "https".into()]));
            assert!(io.is_pending() && io.cancel());
            assert_eq!(settle(returned, io), (status::CANCELLED, 0xc000_0120));
            client.end();
        });
    });
}

#[test]
fn look_ups_end_with_the_provider() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        machine.network().hold_look_ups(true);
        let mut list = null_mut();
        let (returned, io, _texts) = start(&client, "localhost", "1", &mut list);
        machine.network().set_provider(super::super::ProviderState::Lost);
        assert_eq!(settled(returned, io), status::FILE_FORCED_CLOSED);
        assert_eq!(resolve(&client, "localhost", "1"), Err(status::DEVICE_NOT_READY));
        machine.network().set_provider(super::super::ProviderState::Ready);
        machine.network().hold_look_ups(false);
        assert_eq!(resolve(&client, "127.0.0.1", "1").map(|found| found.len()), Ok(1));
        client.end();
    });
}

#[test]
fn a_freed_list_leads_nowhere() {
    extern "win64" fn follow(address: *const u16) -> usize {
        // SAFETY: none.
        unsafe { address.read_volatile() }.into()
    }
    let machine = machine(1);
    provoke(&machine, &crate::rules::ACCESS_VIOLATION, || {
        let client = Client::new();
        let mut list: *mut AddressInfo = null_mut();
        let (returned, io, _texts) = start(&client, "localhost", "1", &mut list);
        assert_eq!(settled(returned, io), status::SUCCESS);
        free(&client, list);
        // SAFETY: none: a wrong driver follows a list that it has freed.
        let address = unsafe { (*list).address };
        // SAFETY: none.
        let _ = crate::call::driver("a wrong driver", follow as *const () as usize, &[address as usize]);
    });
}

#[test]
fn a_look_up_that_is_held_can_be_cancelled_or_let_go() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            machine.network().hold_look_ups(true);
            let (mut first, mut second) = (null_mut(), null_mut());
            let (returned, io, _texts) = start(&client, "localhost", "1", &mut first);
            assert_eq!(returned, status::PENDING);
            assert!(io.cancel());
            assert_eq!(settle(returned, io), (status::CANCELLED, 0xc000_0120));
            assert!(first.is_null());
            let (returned, io, _texts) = start(&client, "localhost", "1", &mut second);
            machine.network().hold_look_ups(false);
            assert_eq!(settled(returned, io), status::SUCCESS);
            free(&client, second);
            client.end();
        });
    });
}

#[test]
fn freeing_a_list_twice_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::ADDRESS_LIST_FREED_TWICE, || {
        let client = Client::new();
        let mut list = null_mut();
        let (returned, io, _texts) = start(&client, "localhost", "1", &mut list);
        assert_eq!(settled(returned, io), status::SUCCESS);
        free(&client, list);
        free(&client, list);
    });
}
