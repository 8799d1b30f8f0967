//! Look-ups: name to addresses, address to name.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, DNS, GLANCE, Lab, NUMERIC, PATIENCE,
    abi::{AF_INET, AF_INET6, Address, AddressList, Guid, Ioctl, Kind, ResolvedAddress, WsaError, hints},
    check::{cancelled, deregistered, fails},
    eventually, raw, started,
};
use ntlab::wsk::{Counters, ProviderState};
use std::{net::IpAddr, thread};
use wskctl::{Client, Wanted, abi::SocketHandle};

fn start(client: &Client, guid: Guid) {
    client.startup_namespace(guid).unwrap().keep();
}

fn node(name: &str) -> Wanted<'_> {
    Wanted { node: Some(name), ..Wanted::default() }
}

fn v6(text: &str, port: u16) -> Address {
    Address::v6(text.parse::<std::net::Ipv6Addr>().unwrap().octets(), port, 0)
}

fn addresses(client: &Client, wanted: &Wanted<'_>) -> Vec<Address> {
    client.resolve(DNS, wanted).unwrap().addresses.iter().map(|one| one.address).collect()
}

/// No list of addresses is kept, and no request is out at WSK.
fn nothing_out(lab: &Lab) {
    let Counters { address_lists, irps, .. } = lab.machine().network().counters();
    assert_eq!((address_lists, irps), (0, 0), "lists that were not given back, IRPs");
}

/// contract: NSP-1
#[test]
fn before_the_providers_startup_and_after_its_last_cleanup_look_ups_are_wsanotinitialised() {
    let lab = Lab::start();
    let client = lab.started();
    let refused = |guid| {
        fails(client.resolve(guid, &node("localhost")), WsaError::NotInitialised);
        fails(client.names_of(guid, Address::v4([127, 0, 0, 1], 80), 0), WsaError::NotInitialised);
    };
    refused(DNS);
    start(&client, NUMERIC);
    refused(DNS);
    start(&client, DNS);
    client.resolve(DNS, &node("localhost")).unwrap();
    client.cleanup_namespace(DNS).unwrap();
    refused(DNS);
    client.resolve(NUMERIC, &node("127.0.0.1")).unwrap();
}

/// contract: NSP-4
#[test]
fn a_name_has_its_addresses_of_both_families_with_the_services_port() {
    let lab = Lab::start();
    lab.machine()
        .network()
        .set_name("host.example", ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse().unwrap()).to_vec());
    let client = lab.client();
    start(&client, DNS);
    let both = |port| vec![Address::v4([192, 0, 2, 7], port), v6("2001:db8::7", port)];
    assert_eq!(addresses(&client, &node("host.example")), both(0));
    for (service, port) in [("http", 80), ("https", 443), ("8080", 8080)] {
        let wanted = Wanted { service: Some(service), ..node("HOST.example") };
        assert_eq!(addresses(&client, &wanted), both(port), "{service}");
        assert_eq!(addresses(&client, &Wanted { family: AF_INET, ..wanted.clone() }), both(port)[..1]);
        assert_eq!(addresses(&client, &Wanted { family: AF_INET6, ..wanted }), both(port)[1..]);
    }
    nothing_out(&lab);
}

/// contract: NSP-4
#[test]
fn hints_reach_the_provider_and_come_back_with_the_addresses() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, DNS);
    for (socket_type, protocol) in
        [(0, 0), (hints::STREAM, hints::TCP), (hints::DATAGRAM, hints::UDP), (hints::STREAM, 0)]
    {
        let found = client.resolve(DNS, &Wanted { socket_type, protocol, ..node("localhost") }).unwrap();
        assert_eq!(found.found, 2);
        for one in found.addresses {
            assert_eq!((one.socket_type, one.protocol, one.reserved), (socket_type, protocol, 0));
        }
    }
    let passive = Wanted { service: Some("80"), flags: hints::PASSIVE, ..Wanted::default() };
    assert_eq!(addresses(&client, &passive), [v6("::", 80), Address::v4([0, 0, 0, 0], 80)]);
    let here = Wanted { flags: 0, ..passive };
    assert_eq!(addresses(&client, &here), [v6("::1", 80), Address::v4([127, 0, 0, 1], 80)]);
    let named = client.resolve(DNS, &Wanted { flags: hints::CANONICAL_NAME, ..node("localhost") }).unwrap();
    assert_eq!(named.canonical_name, "localhost");
    assert_eq!(client.resolve(DNS, &node("localhost")).unwrap().canonical_name, "");
    fails(client.resolve(DNS, &Wanted { flags: hints::NUMERIC_HOST, ..node("localhost") }), WsaError::HostNotFound);
    let number = Wanted { flags: hints::NUMERIC_HOST, ..node("::1") };
    assert_eq!(addresses(&client, &number), [v6("::1", 0)]);
    fails(client.resolve(DNS, &Wanted { flags: hints::CANONICAL_NAME, ..passive_only() }), WsaError::Invalid);
    nothing_out(&lab);
}

fn passive_only<'a>() -> Wanted<'a> {
    Wanted { service: Some("80"), ..Wanted::default() }
}

/// contract: NSP-4
#[test]
fn an_address_has_its_names_or_is_written_as_a_number() {
    let lab = Lab::start();
    lab.machine().network().set_name("six.example", vec!["2001:db8::6".parse().unwrap()]);
    let client = lab.client();
    start(&client, DNS);
    let names = |address, flags| {
        let named = client.names_of(DNS, address, flags).unwrap();
        (named.node, named.service)
    };
    let pair = |node: &str, service: &str| (node.to_owned(), service.to_owned());
    let (four, six) = (Address::v4([127, 0, 0, 1], 80), v6("2001:db8::6", 443));
    assert_eq!(names(four, 0), pair("localhost", "http"));
    assert_eq!(names(six, 0), pair("six.example", "https"));
    assert_eq!(names(four, hints::NUMBER_OF_HOST), pair("127.0.0.1", "http"));
    assert_eq!(names(six, hints::NUMBER_OF_SERVICE), pair("six.example", "443"));
    assert_eq!(names(six, hints::NUMBER_OF_HOST | hints::NUMBER_OF_SERVICE), pair("2001:db8::6", "443"));
    assert_eq!(names(Address::v4([192, 0, 2, 1], 12345), 0), pair("192.0.2.1", "12345"));
    nothing_out(&lab);
}

/// contract: NSP-4
#[test]
fn the_numeric_provider_reads_and_writes_numbers_and_asks_for_no_name() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, NUMERIC);
    let found = client.resolve(NUMERIC, &Wanted { service: Some("http"), ..node("192.0.2.9") }).unwrap();
    assert_eq!(found.addresses[0].address, Address::v4([192, 0, 2, 9], 80));
    fails(client.resolve(NUMERIC, &node("localhost")), WsaError::HostNotFound);
    let named = client.names_of(NUMERIC, Address::v4([127, 0, 0, 1], 80), 0).unwrap();
    assert_eq!((named.node.as_str(), named.service.as_str()), ("127.0.0.1", "http"));
    let required = client.names_of(NUMERIC, Address::v4([127, 0, 0, 1], 80), hints::NAME_REQUIRED);
    fails(required, WsaError::Invalid);
}

/// contract: NSP-4, NSP-2
#[test]
fn what_can_not_be_found_is_wsahost_not_found() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, DNS);
    fails(client.resolve(DNS, &node("nowhere.example")), WsaError::HostNotFound);
    fails(
        client.resolve(DNS, &Wanted { service: Some("no-such-service"), ..node("localhost") }),
        WsaError::HostNotFound,
    );
    fails(client.resolve(DNS, &Wanted::default()), WsaError::HostNotFound);
    fails(client.resolve(DNS, &Wanted { family: AF_INET6, ..node("127.0.0.1") }), WsaError::HostNotFound);
    fails(client.resolve(DNS, &node(&"x".repeat(257))), WsaError::Invalid);
    fails(client.resolve(DNS, &node(&"x".repeat(256))), WsaError::HostNotFound);
    nothing_out(&lab);
}

/// contract: NSP-4, CARD-2
#[test]
fn a_buffer_that_is_too_short_for_all_gets_what_fits_and_the_number_of_all() {
    const MANY: u8 = 40;
    let lab = Lab::start();
    let all: Vec<IpAddr> = (1..=MANY).map(|last| IpAddr::from([192, 0, 2, last])).collect();
    lab.machine().network().set_name("many.example", all);
    let client = lab.client();
    start(&client, DNS);
    for room in [0, 1, 2, 39, 40, 41, 100] {
        let found = client.begin_resolve(DNS, &node("many.example"), room).wait(PATIENCE).unwrap();
        assert_eq!((found.found, found.addresses.len()), (40, room.min(40)));
        for (last, one) in (1..).zip(&found.addresses) {
            assert_eq!(one.address, Address::v4([192, 0, 2, last], 0));
        }
    }
    assert_eq!(client.resolve(DNS, &node("many.example")).unwrap().addresses.len(), 40);
    // A part of an address does not count as room, and bytes after the answer are not the driver's.
    let (mut input, header) = raw::well_formed(Ioctl::NameToAddresses, SocketHandle(0));
    let units: Vec<u8> = "many.example".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at = std::mem::offset_of!(contract::abi::NameToAddresses, node);
    input[at..at + units.len()].copy_from_slice(&units);
    input[std::mem::offset_of!(contract::abi::NameToAddresses, node_length)] = 12;
    assert_eq!(header, size_of::<AddressList>());
    for extra in [1, size_of::<ResolvedAddress>() - 1] {
        let completion = raw::request(&client, Ioctl::NameToAddresses as u32, &input, header + extra);
        assert_eq!((completion.status, completion.information), (0, header));
    }
    nothing_out(&lab);
}

/// contract: NSP-1, NSP-3, CARD-3
#[test]
fn only_the_last_cleanup_of_a_guid_cancels_its_pending_look_ups() {
    let lab = Lab::start();
    let client = lab.started();
    for guid in [DNS, DNS, NUMERIC] {
        start(&client, guid);
    }
    lab.machine().network().hold_look_ups(true);
    let of_dns: Vec<_> = (0..4).map(|_| client.begin_resolve(DNS, &node("localhost"), 4)).collect();
    let mut of_numeric = client.begin_resolve(NUMERIC, &node("127.0.0.1"), 4);
    client.cleanup_namespace(DNS).unwrap();
    client.cleanup(APPLICATION).unwrap();
    thread::sleep(GLANCE);
    assert!(of_dns.iter().all(|one| !one.is_complete()), "a cleanup that is not the last cancels nothing");
    client.cleanup_namespace(DNS).unwrap();
    assert!(of_dns.iter().all(wskctl::Operation::is_complete), "nothing is out when the cleanup has completed");
    of_dns.into_iter().for_each(cancelled);
    assert!(!of_numeric.is_complete(), "another GUID's look-ups go on");
    let ledger = client.ledger().unwrap().tally(Kind::NameToAddresses);
    assert_eq!((ledger.taken, ledger.completed, ledger.cancelled), (5, 4, 4));
    lab.machine().network().hold_look_ups(false);
    assert_eq!(of_numeric.wait(PATIENCE).unwrap().found, 1);
    client.cleanup_namespace(NUMERIC).unwrap();
    deregistered(&client);
    nothing_out(&lab);
}

/// contract: X-1, NSP-4
#[test]
fn one_look_up_can_be_cancelled_and_the_others_go_on() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, DNS);
    lab.machine().network().hold_look_ups(true);
    let doomed = client.begin_resolve(DNS, &node("localhost"), 4);
    let mut other = client.begin_resolve(DNS, &node("localhost"), 4);
    doomed.cancel();
    cancelled(doomed);
    assert!(!other.is_complete());
    lab.machine().network().hold_look_ups(false);
    assert_eq!(other.wait(PATIENCE).unwrap().found, 2);
}

/// contract: NSP-1, WSP-8, X-8
#[test]
fn a_handle_that_closes_ends_the_look_ups_that_came_through_it() {
    let lab = Lab::start();
    let process = lab.process();
    let (left, right) = (process.open(), process.open());
    start(&right, DNS);
    lab.machine().network().hold_look_ups(true);
    let mut of_right = right.begin_resolve(DNS, &node("localhost"), 4);
    let of_left = left.begin_resolve(DNS, &node("localhost"), 4);
    left.close();
    eventually("the closed handle's look-up is over", || of_left.is_complete());
    assert!(!of_right.is_complete());
    lab.machine().network().hold_look_ups(false);
    assert_eq!(of_right.wait(PATIENCE).unwrap().found, 2);
    lab.machine().network().hold_look_ups(true);
    let _out = right.begin_resolve(DNS, &node("localhost"), 4);
    process.kill();
    let observer = lab.client();
    eventually("the dead client is gone", || observer.ledger().unwrap().clients == 1);
    deregistered(&observer);
    nothing_out(&lab);
}

/// contract: CARD-3, NSP-1
#[test]
fn a_look_up_that_completes_while_it_is_cancelled_and_torn_down_ends_once() {
    let lab = Lab::start();
    let client = lab.client();
    let network = lab.machine().network();
    for round in 0..60 {
        start(&client, DNS);
        network.hold_look_ups(true);
        let mut look_ups: Vec<_> = (0..4).map(|_| client.begin_resolve(DNS, &node("localhost"), 4)).collect();
        thread::scope(|scope| {
            scope.spawn(|| network.hold_look_ups(false));
            scope.spawn(|| look_ups[0].cancel());
            scope.spawn(|| client.cleanup_namespace(DNS).unwrap());
        });
        for look_up in &mut look_ups {
            match look_up.wait(PATIENCE) {
                Ok(resolved) => assert_eq!(resolved.found, 2),
                Err(error) => assert_eq!(error.winsock(), Some(WsaError::OperationAborted), "round {round}: {error}"),
            }
        }
        deregistered(&client);
    }
    let tally = client.ledger().unwrap().tally(Kind::NameToAddresses);
    assert_eq!((tally.taken, tally.completed), (240, 240));
    nothing_out(&lab);
}

/// contract: NSP-1, NSP-3
#[test]
fn a_look_up_that_is_being_made_when_the_last_cleanup_begins_does_not_hold_it_up() {
    const ASKING: usize = 3;
    for round in 0..8 {
        let lab = Lab::delaying(30, round);
        let client = lab.client();
        for _ in 0..40 {
            start(&client, DNS);
            lab.machine().network().hold_look_ups(true);
            let look_ups = lab.machine().in_threads(1 + ASKING, |index| {
                if index < ASKING {
                    return Some(client.begin_resolve(DNS, &node("localhost"), 4));
                }
                client.cleanup_namespace(DNS).expect("it ends, whatever arrives meanwhile");
                None
            });
            for mut look_up in look_ups.into_iter().flatten() {
                let error = look_up.wait(PATIENCE).expect_err("nobody answers");
                let expected = [WsaError::NotInitialised, WsaError::OperationAborted];
                assert!(expected.contains(&error.winsock().unwrap()), "round {round}: {error}");
            }
            lab.machine().network().hold_look_ups(false);
        }
        deregistered(&client);
    }
}

/// contract: WSA-6, NSP-3
#[test]
fn when_the_wsk_provider_is_lost_look_ups_are_wsaenetdown_and_the_cleanup_works() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, DNS);
    lab.machine().network().hold_look_ups(true);
    let mut out = client.begin_resolve(DNS, &node("localhost"), 4);
    lab.machine().network().set_provider(ProviderState::Lost);
    fails(out.wait(PATIENCE), WsaError::NetworkDown);
    client.cleanup_namespace(DNS).unwrap();
    deregistered(&client);
    nothing_out(&lab);
}

/// contract: NSP-3, WSA-15
#[test]
fn when_the_last_cleanup_of_a_guid_completes_nothing_of_it_is_left_and_the_driver_can_be_unloaded() {
    for round in 0..40 {
        let lab = Lab::storm(round);
        let network = lab.machine().network();
        let client = lab.client();
        start(&client, DNS);
        // What a first look-up leaves for the next, the client's or the lab's, is no longer new.
        client.resolve(DNS, &node("localhost")).unwrap();
        let settled = lab.machine().pool_in_use();
        network.hold_look_ups(true);
        let mut look_ups: Vec<_> = (0..3).map(|_| client.begin_resolve(DNS, &node("localhost"), 4)).collect();
        let mut names = client.begin_names_of(DNS, Address::v4([127, 0, 0, 1], 80), 0);
        let mut cleanup = client.begin_cleanup_namespace(DNS);
        while !cleanup.is_complete() {
            std::hint::spin_loop();
        }
        let Counters { address_lists, irps, captures, registrations, .. } = network.counters();
        assert_eq!((address_lists, irps, captures, registrations), (0, 0, 0, 0), "what WSK has of the driver's");
        cleanup.wait(PATIENCE).unwrap();
        for look_up in &mut look_ups {
            fails(look_up.wait(PATIENCE), WsaError::OperationAborted);
        }
        fails(names.wait(PATIENCE), WsaError::OperationAborted);
        let (blocks, bytes) = lab.machine().pool_in_use();
        assert!(blocks <= settled.0 && bytes <= settled.1, "{blocks} blocks, {bytes} bytes; {settled:?} before");
        client.close();
        // The lab's end unloads the driver at once: what still ran in it would be a violation.
        drop(lab);
    }
}

/// contract: WSA-14
#[test]
fn an_application_teardown_leaves_pending_look_ups_alone() {
    let lab = Lab::start();
    let client = lab.started();
    start(&client, DNS);
    lab.machine().network().hold_look_ups(true);
    let mut out = client.begin_names_of(DNS, Address::v4([127, 0, 0, 1], 80), 0);
    let mut pending = client.begin_resolve(DNS, &node("localhost"), 4);
    client.cleanup(APPLICATION).unwrap();
    started(&client, APPLICATION);
    assert!(!pending.is_complete());
    lab.machine().network().hold_look_ups(false);
    assert_eq!(pending.wait(PATIENCE).unwrap().found, 2);
    assert_eq!(out.wait(PATIENCE).unwrap().node, "localhost");
}
