//! The device: who may open it, and what it tells.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, Lab, TRANSPORT,
    abi::{Kind, PROTOCOL_VERSION, Role, Tally, WsaError},
    check::{cancelled, fails, pending},
    started,
    traffic::{Connection, connected, listening, stuck_send},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use wskctl::Socket;
#[cfg(not(windows))]
use {
    contract::abi::DEVICE_PATH,
    wskctl::{Client, Exit},
};

/// contract: CARD-2
#[test]
fn the_driver_tells_its_version_and_protocol_without_a_startup() {
    let lab = Lab::start();
    let version = lab.client().version().unwrap();
    assert_eq!(version.protocol, PROTOCOL_VERSION);
    let [_, patch, minor, major] = version.driver.to_le_bytes();
    assert_eq!(format!("{major}.{minor}.{patch}"), env!("CARGO_PKG_VERSION"));
}

/// contract: X-8
#[cfg(not(windows))]
#[test]
fn an_ordinary_user_gets_access_denied() {
    let lab = Lab::start();
    let process = lab.process_of_a_user();
    let Err(error) = Client::open(process.device()) else { panic!("the device admits an ordinary user") };
    assert_eq!(error.winsock(), Some(WsaError::AccessDenied), "{error}");
    assert_eq!(error.exit(), Exit::Denied);
    assert_eq!(lab.client().ledger().unwrap().clients, 1, "who was refused is no client");
    // Nor does a name behind the device's lead around its security.
    let user = lab.machine().process_as(ntlab::Token::User);
    assert!(
        user.open(&format!(r"{DEVICE_PATH}\anything")).is_err(),
        "a name behind the device's admits an ordinary user"
    );
}

/// contract: X-8
#[cfg(not(windows))]
#[test]
fn the_system_and_an_administrator_are_admitted() {
    let lab = Lab::start();
    for token in [ntlab::Token::System, ntlab::Token::Administrator] {
        let process = lab.machine().process_as(token);
        let handle = process.open(DEVICE_PATH).unwrap_or_else(|status| panic!("{token:?}: {status:?}"));
        assert!(handle.close().is_success());
    }
}

/// contract: X-8, X-5
#[test]
fn a_client_can_not_use_another_clients_socket() {
    let lab = Lab::start();
    let (mine, theirs) = (lab.started(), lab.started());
    let mut connection = connected(&theirs, APPLICATION);
    let stolen = Socket::new(mine.clone(), connection.socket.handle());
    fails(stolen.send(b"forged".to_vec()), WsaError::NotSocket);
    fails(stolen.receive(8), WsaError::NotSocket);
    fails(stolen.close(), WsaError::NotSocket);
    connection.peer.send(b"private").unwrap();
    assert_eq!(connection.socket.receive(8).unwrap(), b"private");

    // Even when the same slot is in use on both sides.
    let own = mine.socket(APPLICATION, Role::Connection).unwrap();
    let guess = Socket::new(theirs, own.handle());
    if own.handle() != connection.socket.handle() {
        fails(guess.close(), WsaError::NotSocket);
    }
}

/// contract: X-5
#[test]
fn a_slot_that_is_used_again_has_another_handle() {
    let lab = Lab::start();
    let client = lab.started();
    let mut handles = std::collections::HashSet::new();
    for _ in 0..2000 {
        let socket = client.socket(APPLICATION, Role::Connection).unwrap();
        assert!(handles.insert(socket.handle()), "a handle came twice");
        socket.close().unwrap();
    }
}

/// contract: X-6
#[test]
fn past_the_quota_of_sockets_is_wsaemfile_and_another_client_does_not_notice() {
    let lab = Lab::start();
    let (greedy, modest) = (lab.client(), lab.started());
    let quota = contract::startup(&greedy, APPLICATION);
    let max = quota.reply().max_sockets;
    quota.keep();
    let sockets: Vec<_> = (0..max).map(|_| greedy.socket(APPLICATION, Role::Connection).unwrap()).collect();
    fails(greedy.socket(APPLICATION, Role::Connection), WsaError::TooManySockets);
    drop(connected(&modest, APPLICATION));
    sockets[0].close().unwrap();
    greedy.socket(APPLICATION, Role::Connection).unwrap();
}

/// contract: X-7, CARD-3
#[test]
fn the_ledger_counts_what_is_taken_completed_and_cancelled_by_kind() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, _) = listening(&client, APPLICATION);
    let mut connection = connected(&client, APPLICATION);
    connection.peer.send(b"one").unwrap();
    assert_eq!(connection.socket.receive(8).unwrap(), b"one");
    let (receive, accept) = (connection.socket.begin_receive(8), listener.begin_accept());
    let send = stuck_send(&connection.socket);
    let ledger = client.ledger().unwrap();
    let tally = |taken, completed, cancelled| Tally { taken, completed, cancelled };
    assert_eq!(ledger.tally(Kind::Startup), tally(1, 1, 0));
    assert_eq!(ledger.tally(Kind::Socket), tally(2, 2, 0));
    assert_eq!(ledger.tally(Kind::Bind), tally(2, 2, 0));
    assert_eq!(ledger.tally(Kind::Listen), tally(1, 1, 0));
    assert_eq!(ledger.tally(Kind::Connect), tally(1, 1, 0));
    assert_eq!(ledger.tally(Kind::Receive), tally(2, 1, 0));
    assert_eq!(ledger.tally(Kind::Accept), tally(1, 0, 0));
    assert_eq!(ledger.tally(Kind::Send).pending(), 1);
    assert_eq!((ledger.sockets.open, ledger.sockets.closing, ledger.driver_sockets), (2, 0, 2));
    assert_eq!((ledger.clients, ledger.registered, ledger.references(APPLICATION)), (1, 1, 1));
    client.cleanup(APPLICATION).unwrap();
    cancelled(send);
    cancelled(receive);
    cancelled(accept);
    let ledger = client.ledger().unwrap();
    assert_eq!(ledger.tally(Kind::Receive), tally(2, 2, 1));
    assert_eq!(ledger.tally(Kind::Accept), tally(1, 1, 1));
    assert_eq!(ledger.tally(Kind::Send).cancelled, 1);
    assert_eq!(ledger.tally(Kind::Cleanup), tally(1, 1, 0));
}

/// contract: X-7
#[test]
fn the_ledger_tells_a_clients_own_numbers_from_everybodys() {
    let lab = Lab::start();
    let (left, right) = (lab.started(), lab.started());
    started(&right, TRANSPORT);
    let connection = connected(&right, TRANSPORT);
    let _receive = connection.socket.begin_receive(8);
    let seen = left.ledger().unwrap();
    assert_eq!((seen.references, seen.driver_references), ([1, 0, 0, 0], [2, 1, 0, 0]));
    assert_eq!((seen.sockets.open, seen.driver_sockets), (0, 1));
    assert_eq!(seen.clients, 2);
    let receive = Kind::Receive as usize;
    assert_eq!((seen.requests[receive].pending(), seen.driver_requests[receive].pending()), (0, 1));
    right.cleanup(TRANSPORT).unwrap();
    right.cleanup(APPLICATION).unwrap();
    right.close();
    contract::eventually("the client is gone", || left.ledger().unwrap().clients == 1);
    let seen = left.ledger().unwrap();
    assert_eq!(
        seen.driver_requests[receive],
        Tally { taken: 1, completed: 1, cancelled: 1 },
        "a client's numbers outlive it"
    );
}

/// contract: X-7
#[test]
fn what_is_a_clients_own_is_part_of_everybodys_in_every_ledger() {
    for round in 0..8 {
        let lab = Lab::storm(round);
        let (client, other) = (lab.started(), lab.started());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let working: Vec<_> = [client.clone(), client.clone(), other]
                .into_iter()
                .map(|client| {
                    scope.spawn(move || {
                        for _ in 0..30 {
                            started(&client, TRANSPORT);
                            client.socket(APPLICATION, Role::Connection).unwrap().close().unwrap();
                            client.cleanup(TRANSPORT).unwrap();
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let seen = client.ledger().unwrap();
                    let own = seen.sockets.open + seen.sockets.closing + seen.sockets.lingering;
                    assert!(u64::from(own) <= seen.driver_sockets, "{own} of {} sockets", seen.driver_sockets);
                    for (own, all) in seen.references.iter().zip(seen.driver_references) {
                        assert!(*own <= all, "{:?} of {:?}", seen.references, seen.driver_references);
                    }
                    for (own, all) in seen.requests.iter().zip(seen.driver_requests) {
                        assert!(own.taken <= all.taken && own.completed <= all.completed, "{own:?} of {all:?}");
                        assert!(own.pending() <= all.pending() && own.cancelled <= all.cancelled, "{own:?} of {all:?}");
                    }
                }
            });
            let ended: Vec<_> = working.into_iter().map(thread::ScopedJoinHandle::join).collect();
            over.store(true, Ordering::Relaxed);
            for end in ended {
                end.unwrap();
            }
        });
    }
}

/// contract: X-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn the_ledger_adds_up_while_requests_come_and_go() {
    let lab = Lab::start();
    let client = lab.started();
    thread::scope(|scope| {
        for _ in 0..3 {
            let Connection { socket, peer } = connected(&client, APPLICATION);
            scope.spawn(move || {
                let _held_open = peer;
                for _ in 0..100 {
                    let receive = socket.begin_receive(8);
                    receive.cancel();
                    cancelled(receive);
                }
            });
        }
        for _ in 0..200 {
            let ledger = client.ledger().unwrap();
            for &kind in Kind::ALL {
                let Tally { taken, completed, cancelled } = ledger.tally(kind);
                assert!(cancelled <= completed && completed <= taken, "{kind:?}: {:?}", ledger.tally(kind));
            }
            assert!(ledger.tally(Kind::Receive).pending() <= 3);
        }
    });
    assert_eq!(pending(&client), 0);
    assert_eq!(client.ledger().unwrap().tally(Kind::Receive), Tally { taken: 300, completed: 300, cancelled: 300 });
}
