//! Namespace providers: a count for each GUID of each client.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, DNS, Lab, NUMERIC, TRANSPORT, VERSION,
    abi::{
        Cleanup, Guid, Ioctl, NAMESPACES, NamespaceEntry, Provider, Startup, StartupReply, WinsockVersion, WsaError,
    },
    check::{deregistered, fails, references},
    eventually, raw, started,
};
use std::mem::offset_of;
use wskctl::Client;
use zerocopy::IntoBytes;

fn start(client: &Client, guid: Guid) -> u32 {
    let started = client.startup_namespace(guid).unwrap();
    let count = started.reply().references;
    started.keep();
    count
}

/// contract: NSP-1
#[test]
fn each_guid_of_each_client_has_its_own_count() {
    let lab = Lab::start();
    let (left, right) = (lab.client(), lab.client());
    assert_eq!([start(&left, DNS), start(&left, DNS), start(&left, NUMERIC)], [1, 2, 1]);
    assert_eq!(start(&right, DNS), 1, "another client counts for itself");
    assert_eq!(references(&left, Provider::Namespace), 3, "the ledger adds the GUIDs up");
    left.cleanup_namespace(NUMERIC).unwrap();
    fails(left.cleanup_namespace(NUMERIC), WsaError::NotInitialised);
    left.cleanup_namespace(DNS).unwrap();
    left.cleanup_namespace(DNS).unwrap();
    fails(left.cleanup_namespace(DNS), WsaError::NotInitialised);
    assert_eq!(right.ledger().unwrap().registered, 1, "another client has a reference");
    right.cleanup_namespace(DNS).unwrap();
    deregistered(&right);
    deregistered(&left);
}

/// contract: NSP-2
#[test]
fn a_startup_reports_the_providers_entry() {
    let lab = Lab::start();
    let client = lab.client();
    for guid in [DNS, NUMERIC] {
        let started = client.startup_namespace(guid).unwrap();
        let reply = started.reply();
        assert_eq!(Some(&reply.namespace), NamespaceEntry::find(&guid));
        assert_eq!((reply.namespace.provider, reply.namespace.active), (guid, 1));
        assert_eq!(reply.entry.id, 0, "no entry of the protocol catalog");
    }
    deregistered(&client);
}

/// contract: NSP-2
#[test]
fn a_guid_that_is_not_served_is_wsaeopnotsupp_and_one_that_names_nothing_wsaeinval() {
    let lab = Lab::start();
    let client = lab.client();
    let unserved = NAMESPACES.iter().filter(|entry| entry.active == 0);
    assert_eq!(unserved.clone().count(), 6);
    for entry in unserved {
        fails(client.startup_namespace(entry.provider), WsaError::NotSupported);
        fails(client.cleanup_namespace(entry.provider), WsaError::NotSupported);
    }
    for entry in &NAMESPACES {
        for bit in 0..128 {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(entry.provider.as_bytes());
            bytes[bit / 8] ^= 1 << (bit % 8);
            let guid: Guid = zerocopy::transmute!(bytes);
            if NamespaceEntry::find(&guid).is_none() {
                fails(client.startup_namespace(guid), WsaError::Invalid);
                fails(client.cleanup_namespace(guid), WsaError::Invalid);
            }
        }
    }
    fails(client.startup_namespace(Guid::NIL), WsaError::Invalid);
    deregistered(&client);
    assert_eq!(client.ledger().unwrap().tally(wskctl::abi::Kind::Startup).taken, 0, "a refused request counts nowhere");
}

/// contract: NSP-2, CARD-2
#[test]
fn a_namespace_startup_takes_a_guid_and_nothing_else() {
    let lab = Lab::start();
    let client = lab.client();
    let provider = Provider::Namespace as u32;
    let good = Startup { provider, version: WinsockVersion(0), reserved: 0, catalog_id: 0, reserved2: 0, guid: DNS };
    let fields = [
        (offset_of!(Startup, version), 2),
        (offset_of!(Startup, reserved), 2),
        (offset_of!(Startup, catalog_id), 4),
        (offset_of!(Startup, reserved2), 4),
    ];
    for (at, length) in fields {
        for bit in 0..8 * length {
            let mut input = good.as_bytes().to_vec();
            input[at + bit / 8] |= 1 << (bit % 8);
            raw::refused(&client, Ioctl::Startup as u32, &input, size_of::<StartupReply>(), WsaError::Invalid.status());
        }
    }
    for bit in 0..32 {
        let mut input = Cleanup { provider, reserved: 0, guid: DNS }.as_bytes().to_vec();
        input[4 + bit / 8] |= 1 << (bit % 8);
        raw::refused(&client, Ioctl::Cleanup as u32, &input, 0, WsaError::Invalid.status());
    }
    for other in [APPLICATION, TRANSPORT, contract::SAN] {
        let catalog_id = if other == TRANSPORT { contract::abi::CATALOG[0].id } else { 0 };
        let input =
            Startup { provider: other as u32, version: VERSION, reserved: 0, catalog_id, reserved2: 0, guid: DNS };
        let output = size_of::<StartupReply>();
        raw::refused(&client, Ioctl::Startup as u32, input.as_bytes(), output, WsaError::Invalid.status());
    }
    deregistered(&client);
}

/// contract: WSA-14
#[test]
fn an_application_cleanup_leaves_namespace_counts_alone() {
    let lab = Lab::start();
    let client = lab.started();
    start(&client, DNS);
    start(&client, DNS);
    started(&client, TRANSPORT);
    client.cleanup(APPLICATION).unwrap();
    client.cleanup(TRANSPORT).unwrap();
    assert_eq!(references(&client, Provider::Namespace), 2);
    assert_eq!(client.ledger().unwrap().registered, 1);
    client.cleanup_namespace(DNS).unwrap();
    client.cleanup_namespace(DNS).unwrap();
    deregistered(&client);
}

/// contract: NSP-3, WSP-8
#[test]
fn a_client_that_dies_gives_its_namespace_references_back() {
    let lab = Lab::start();
    let (process, observer) = (lab.process(), lab.client());
    let (left, right) = (process.open(), process.open());
    start(&left, DNS);
    start(&left, NUMERIC);
    start(&right, NUMERIC);
    left.close();
    eventually("the closed handle's references are gone", || references(&right, Provider::Namespace) == 1);
    process.kill();
    eventually("the dead client is gone", || observer.ledger().unwrap().clients == 1);
    deregistered(&observer);
}
