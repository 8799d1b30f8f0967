//! Startups and the count of references.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, Lab, TRANSPORT, VERSION,
    abi::{CATALOG, HIGHEST_VERSION, Ioctl, Provider, Role, SocketHandle, WinsockVersion, WsaError},
    check::{deregistered, fails, references},
    raw, started, startup,
    traffic::connected,
};
use std::thread;

/// contract: WSA-1
#[test]
fn before_a_startup_every_socket_request_and_a_cleanup_are_wsanotinitialised() {
    let lab = Lab::start();
    let client = lab.client();
    let not_initialised = WsaError::NotInitialised.status();
    for &ioctl in Ioctl::ALL {
        if !matches!(ioctl, Ioctl::Version | Ioctl::Ledger | Ioctl::LedgerPending | Ioctl::Startup) {
            let (input, output) = raw::well_formed(ioctl, SocketHandle(1));
            raw::refused(&client, ioctl as u32, &input, output, not_initialised);
        }
    }
    fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
    fails(client.cleanup(TRANSPORT), WsaError::NotInitialised);
    deregistered(&client);
}

/// contract: WSA-1, WSP-1
#[test]
fn a_provider_that_is_not_started_has_no_sockets_whatever_else_is_started() {
    let lab = Lab::start();
    let client = lab.started();
    fails(client.socket(TRANSPORT, Role::Connection), WsaError::NotInitialised);
    fails(client.cleanup(TRANSPORT), WsaError::NotInitialised);
    client.cleanup(APPLICATION).unwrap();
    started(&client, TRANSPORT);
    fails(client.socket(APPLICATION, Role::Connection), WsaError::NotInitialised);
    client.cleanup(TRANSPORT).unwrap();
    deregistered(&client);
}

/// contract: WSA-2
#[test]
fn n_startups_need_n_cleanups_and_one_more_is_wsanotinitialised() {
    let lab = Lab::start();
    let client = lab.client();
    for n in [1_u32, 2, 7] {
        for count in 1..=n {
            let started = startup(&client, APPLICATION);
            assert_eq!(started.reply().references, count);
            started.keep();
            assert_eq!(references(&client, APPLICATION), count);
        }
        for left in (0..n).rev() {
            assert_eq!(client.ledger().unwrap().registered, 1);
            client.cleanup(APPLICATION).unwrap();
            assert_eq!(references(&client, APPLICATION), left);
        }
        fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
        deregistered(&client);
    }
}

/// contract: WSA-2
#[test]
fn each_process_has_its_own_count_and_the_handles_of_one_share_it() {
    let lab = Lab::start();
    let (process, other) = (lab.process(), lab.client());
    let (left, right) = (process.open(), process.open());
    started(&left, APPLICATION);
    assert_eq!(startup(&right, APPLICATION).reply().references, 2, "the handles of a process share a client");
    fails(other.cleanup(APPLICATION), WsaError::NotInitialised);
    assert_eq!(startup(&other, APPLICATION).reply().references, 1, "another process is another client");
    assert_eq!(references(&left, APPLICATION), 1, "the guards of the others have cleaned up");
    assert_eq!(references(&other, APPLICATION), 0);
    right.cleanup(APPLICATION).unwrap();
    fails(left.cleanup(APPLICATION), WsaError::NotInitialised);
}

/// contract: WSA-3
#[test]
fn startup_answers_the_highest_version_that_both_sides_support() {
    let lab = Lab::start();
    let client = lab.client();
    for ((major, minor), (expected_major, expected_minor)) in [
        ((1, 0), (1, 0)),
        ((1, 1), (1, 1)),
        ((1, 9), (1, 1)),
        ((2, 0), (2, 0)),
        ((2, 1), (2, 1)),
        ((2, 2), (2, 2)),
        ((2, 3), (2, 2)),
        ((3, 0), (2, 2)),
        ((255, 255), (2, 2)),
    ] {
        let started = client.startup(APPLICATION, WinsockVersion::new(major, minor), 0).unwrap();
        assert_eq!(started.reply().version, WinsockVersion::new(expected_major, expected_minor), "{major}.{minor}");
        assert_eq!(started.reply().highest_version, HIGHEST_VERSION);
        started.cleanup().unwrap();
    }
    deregistered(&client);
}

/// contract: WSA-3
#[test]
fn a_version_that_can_not_be_served_is_refused_and_counts_nothing() {
    let lab = Lab::start();
    let client = lab.client();
    for (provider, catalog_id, major, minor) in [
        (APPLICATION, 0, 0, 0),
        (APPLICATION, 0, 0, 9),
        (TRANSPORT, CATALOG[0].id, 1, 1),
        (TRANSPORT, CATALOG[0].id, 0, 0),
    ] {
        let refused = client.startup(provider, WinsockVersion::new(major, minor), catalog_id);
        fails(refused, WsaError::VersionNotSupported);
    }
    deregistered(&client);
    assert_eq!(client.ledger().unwrap().tally(wskctl::abi::Kind::Startup).taken, 0, "a refused request counts nowhere");
}

/// contract: WSA-3
#[test]
fn a_startup_whose_buffers_have_a_wrong_length_is_wsaefault_and_counts_nothing() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, APPLICATION);
    let (input, output) = raw::well_formed(Ioctl::Startup, SocketHandle(0));
    let longer = [&input[..], &[0]].concat();
    let wrong = [(&input[..0], output), (&input[1..], output), (&longer, output), (&input, 0), (&input, output - 1)];
    for (input, output) in wrong {
        let completion = raw::request(&client, Ioctl::Startup as u32, input, output);
        let told = (WsaError::from_status(completion.status), completion.information);
        assert_eq!(told, (Some(WsaError::Fault), 0), "{} bytes in, {output} out", input.len());
        assert_eq!(references(&client, APPLICATION), 1);
    }
    assert_eq!(client.ledger().unwrap().tally(wskctl::abi::Kind::Startup).taken, 1);
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSA-3
#[test]
fn startup_describes_what_serves_the_provider() {
    let lab = Lab::start();
    let client = lab.client();
    let started = startup(&client, APPLICATION);
    let reply = started.reply();
    assert_eq!((reply.version, reply.highest_version), (VERSION, HIGHEST_VERSION));
    let text = std::str::from_utf8(&reply.description).unwrap().trim_end_matches('\0');
    assert!(text.starts_with("wskclient"), "{text:?}");
    assert!(reply.max_sockets > 0);
    assert_eq!(reply.max_datagram, contract::abi::MAX_DATAGRAM);
    assert_eq!((reply.entry.id, reply.entry.name), (0, [0; 32]), "an application startup has no catalog entry");
}

/// contract: WSP-1
#[test]
fn transport_counts_apart_from_application() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, APPLICATION);
    started(&client, TRANSPORT);
    started(&client, TRANSPORT);
    assert_eq!((references(&client, APPLICATION), references(&client, TRANSPORT)), (1, 2));
    let mut connection = connected(&client, TRANSPORT);
    client.cleanup(APPLICATION).unwrap();
    client.cleanup(TRANSPORT).unwrap();
    assert_eq!((references(&client, APPLICATION), references(&client, TRANSPORT)), (0, 1));
    fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
    connection.peer.send(b"still here").unwrap();
    assert_eq!(connection.socket.receive(64).unwrap(), b"still here");
    assert_eq!(client.ledger().unwrap().registered, 1);
    client.cleanup(TRANSPORT).unwrap();
    fails(client.cleanup(TRANSPORT), WsaError::NotInitialised);
    deregistered(&client);
}

/// contract: WSP-1, WSP-2
#[test]
fn transport_answers_its_catalog_entry_and_refuses_an_identifier_that_it_does_not_manage() {
    let lab = Lab::start();
    let client = lab.client();
    for entry in CATALOG {
        let started = client.startup(TRANSPORT, VERSION, entry.id).unwrap();
        assert_eq!(started.reply().entry, entry);
    }
    for id in [0, 1, CATALOG[0].id - 1, CATALOG[CATALOG.len() - 1].id + 1, u32::MAX] {
        fails(client.startup(TRANSPORT, VERSION, id), WsaError::Invalid);
    }
    fails(client.startup(APPLICATION, VERSION, CATALOG[0].id), WsaError::Invalid);
    deregistered(&client);
}

/// contract: WSP-3
#[test]
fn a_startup_that_answered_zero_is_not_undone_by_later_failures() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, TRANSPORT);
    fails(client.startup(TRANSPORT, VERSION, 7), WsaError::Invalid);
    fails(client.startup(TRANSPORT, WinsockVersion::new(1, 1), CATALOG[0].id), WsaError::VersionNotSupported);
    fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
    assert_eq!(references(&client, TRANSPORT), 1);
    drop(connected(&client, TRANSPORT));
    client.cleanup(TRANSPORT).unwrap();
    fails(client.cleanup(TRANSPORT), WsaError::NotInitialised);
    assert_eq!(references(&client, TRANSPORT), 0, "a cleanup that answered zero is not undone either");
}

/// contract: CARD-1
#[test]
fn the_registration_lives_from_the_first_reference_in_the_driver_to_the_last() {
    let lab = Lab::start();
    let (left, right) = (lab.client(), lab.client());
    let registered = |client: &wskctl::Client| client.ledger().unwrap().registered;
    assert_eq!(registered(&left), 0);
    started(&left, APPLICATION);
    started(&right, TRANSPORT);
    assert_eq!(registered(&left), 1);
    left.cleanup(APPLICATION).unwrap();
    assert_eq!(registered(&left), 1, "another client has a reference");
    right.cleanup(TRANSPORT).unwrap();
    assert_eq!(registered(&left), 0);
    deregistered(&right);
}

/// contract: WSA-2, WSA-15
#[test]
fn many_threads_starting_and_cleaning_up_at_once_leave_nothing() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 40;
    let lab = Lab::start();
    let client = lab.client();
    thread::scope(|scope| {
        for index in 0..THREADS {
            let client = client.clone();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let provider = Provider::ALL[(index + round) % 2];
                    let started = startup(&client, provider);
                    assert!(started.reply().references >= 1);
                    if round % 3 == 0 {
                        // Whoever has a reference has a provider that is up.
                        client.socket(provider, Role::Connection).unwrap();
                    }
                    started.cleanup().unwrap();
                }
            });
        }
    });
    deregistered(&client);
    let ledger = client.ledger().unwrap();
    let rounds = (THREADS * ROUNDS) as u64;
    for kind in [wskctl::abi::Kind::Startup, wskctl::abi::Kind::Cleanup] {
        assert_eq!((ledger.tally(kind).taken, ledger.tally(kind).completed), (rounds, rounds), "{kind:?}");
    }
}
