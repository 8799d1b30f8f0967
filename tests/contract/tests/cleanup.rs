//! Cleanups: those that only count, and the last one, which ends everything.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, TRANSPORT,
    abi::{Address, Kind, Provider, Role, WsaError},
    check::{
        STATUS_CANCELLED, cancelled, deregistered, fails, nothing_held, pending, references, reset, without_looks,
    },
    started, startup,
    traffic::{Connection, accepted, bound, connected, connected_to, listening, stuck_send},
};
use std::{thread, time::Duration};
use wskctl::{
    Client, Operation,
    device::Completion,
    peer::{Listener, Peer},
};

/// A listener with an accept pending, connections of both kinds with receives pending, and a send that can't finish.
struct Scene {
    address: Address,
    connections: Vec<Connection>,
    operations: Vec<Operation<Completion>>,
}

fn scene(client: &Client, provider: Provider) -> Scene {
    let (listener, address) = listening(client, provider);
    let peers = Listener::start().unwrap();
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(connected_to(client, provider, &peers));
        connections.push(accepted(&mut listener.begin_accept(), address));
    }
    let mut operations: Vec<_> =
        connections.iter().map(|connection| connection.socket.begin_receive(64).untyped()).collect();
    operations.push(listener.begin_accept().untyped());
    operations.push(listener.begin_accept().untyped());
    let deaf = connected_to(client, provider, &peers);
    operations.push(stuck_send(&deaf.socket).untyped());
    connections.push(deaf);
    assert_eq!(pending(client), operations.len() as u64);
    Scene { address, connections, operations }
}

/// contract: WSA-2
#[test]
fn cleanups_before_the_last_cancel_nothing_and_data_still_flows() {
    let lab = Lab::start();
    let client = lab.started();
    started(&client, APPLICATION);
    started(&client, APPLICATION);
    let mut scene = scene(&client, APPLICATION);
    let before = without_looks(client.ledger().unwrap());
    for left in [2, 1] {
        client.cleanup(APPLICATION).unwrap();
        thread::sleep(GLANCE);
        assert!(scene.operations.iter().all(|operation| !operation.is_complete()));
        let now = client.ledger().unwrap();
        assert_eq!(now.references(APPLICATION), left);
        assert_eq!(now.sockets, before.sockets);
        for kind in [Kind::Accept, Kind::Connect, Kind::Send, Kind::Receive] {
            assert_eq!(now.tally(kind), before.tally(kind), "{kind:?}");
        }
    }
    for (connection, operation) in scene.connections.iter_mut().zip(&mut scene.operations).take(6) {
        connection.peer.send(b"flows").unwrap();
        let completion = operation.completion(PATIENCE).unwrap();
        assert_eq!((completion.status, &completion.buffer[..completion.information]), (0, &b"flows"[..]));
    }
    client.cleanup(APPLICATION).unwrap();
    for operation in scene.operations.drain(6..) {
        cancelled(operation);
    }
    deregistered(&client);
}

/// contract: WSA-10, WSA-11, WSA-13, CARD-3
#[test]
fn the_last_cleanup_ends_every_pending_request_cancelled_and_resets_the_peers() {
    everything_ends(APPLICATION);
}

/// contract: WSP-4, WSP-5, CARD-3
#[test]
fn the_last_cleanup_of_transport_ends_every_pending_request_cancelled_and_resets_the_peers() {
    everything_ends(TRANSPORT);
}

fn everything_ends(provider: Provider) {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, provider);
    let Scene { address, connections, operations } = scene(&client, provider);
    let expected = operations.len() as u64;
    client.cleanup(provider).unwrap();
    for operation in operations {
        assert!(operation.is_complete(), "{} is over when the last cleanup is", operation.what());
        cancelled(operation);
    }
    for mut connection in connections {
        reset(&mut connection.peer);
        fails(connection.socket.receive(1), WsaError::NotInitialised);
    }
    assert!(Peer::connect(address).is_err(), "a listener that is gone still listens");
    deregistered(&client);
    let ledger = client.ledger().unwrap();
    let ended: u64 = [Kind::Accept, Kind::Send, Kind::Receive].iter().map(|&kind| ledger.tally(kind).cancelled).sum();
    assert_eq!(ended, expected);
    assert_eq!(ledger.teardowns, 1);
}

/// contract: WSA-11
#[test]
fn sockets_without_requests_are_reset_by_the_last_cleanup_too() {
    let lab = Lab::start();
    let client = lab.started();
    let mut idle = connected(&client, APPLICATION);
    let unread = connected(&client, APPLICATION);
    let (_, address) = listening(&client, APPLICATION);
    let _created = client.socket(APPLICATION, Role::Connection).unwrap();
    let _bound = bound(&client, APPLICATION);
    let Connection { peer: mut sender, .. } = unread;
    sender.send(b"never received").unwrap();
    client.cleanup(APPLICATION).unwrap();
    reset(&mut idle.peer);
    reset(&mut sender);
    assert!(Peer::connect(address).is_err());
    deregistered(&client);
}

/// contract: WSA-5
#[test]
fn the_last_cleanup_ends_the_requests_of_every_thread() {
    every_thread(APPLICATION);
}

/// contract: WSP-4
#[test]
fn the_last_cleanup_of_transport_ends_the_requests_of_every_thread() {
    every_thread(TRANSPORT);
}

fn every_thread(provider: Provider) {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, provider);
    let peers = Listener::start().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..6)
            .map(|_| {
                let Connection { socket, peer } = connected_to(&client, provider, &peers);
                scope.spawn(move || {
                    let _held_open = peer;
                    let mut receive = socket.begin_receive(16);
                    let completion = receive.completion(PATIENCE).unwrap();
                    (completion.status, completion.information)
                })
            })
            .collect();
        contract::eventually("every thread has a receive pending", || pending(&client) == 6);
        let cleaner = client.clone();
        scope.spawn(move || cleaner.cleanup(provider)).join().unwrap().unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), (STATUS_CANCELLED, 0));
        }
    });
    deregistered(&client);
}

/// contract: WSA-4
#[test]
fn a_cleanup_reports_zero_or_one_exact_winsock_code() {
    let lab = Lab::start();
    let client = lab.started();
    assert_eq!(client.begin_cleanup(APPLICATION).completion(PATIENCE).unwrap().status, 0);
    let refused = client.begin_cleanup(APPLICATION).completion(PATIENCE).unwrap();
    assert_eq!(refused.status.cast_unsigned(), 0xE057_276D);
    assert_eq!(refused.status.cast_unsigned() & 0xFFFF, WsaError::NotInitialised.code());
    assert_eq!(refused.information, 0);
}

/// contract: WSA-13, X-5
#[test]
fn the_next_startup_finds_a_clean_state_and_old_handles_name_nothing() {
    let lab = Lab::start();
    let client = lab.started();
    let old = scene(&client, APPLICATION);
    client.cleanup(APPLICATION).unwrap();
    nothing_held(&client);
    assert_eq!(startup(&client, APPLICATION).reply().references, 1);
    started(&client, APPLICATION);
    assert_eq!(references(&client, APPLICATION), 1);
    let new: Vec<_> = (0..16).map(|_| client.socket(APPLICATION, Role::Connection).unwrap()).collect();
    for connection in &old.connections {
        assert!(new.iter().all(|socket| socket.handle() != connection.socket.handle()), "a handle came twice");
        fails(connection.socket.receive(1), WsaError::NotSocket);
        fails(connection.socket.close(), WsaError::NotSocket);
    }
    assert_eq!(client.ledger().unwrap().sockets.open, 16);
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSP-1, WSA-13
#[test]
fn the_last_cleanup_of_one_provider_leaves_the_others_sockets_alone() {
    let lab = Lab::start();
    let client = lab.started();
    started(&client, TRANSPORT);
    let mine = connected(&client, APPLICATION);
    let mut theirs = connected(&client, TRANSPORT);
    let (my_receive, mut their_receive) = (mine.socket.begin_receive(8), theirs.socket.begin_receive(8));
    client.cleanup(APPLICATION).unwrap();
    cancelled(my_receive);
    assert!(!their_receive.is_complete());
    fails(mine.socket.receive(1), WsaError::NotSocket);
    theirs.peer.send(b"alive").unwrap();
    assert_eq!(their_receive.wait(PATIENCE).unwrap(), b"alive");
    client.cleanup(TRANSPORT).unwrap();
    deregistered(&client);
}

/// contract: WSA-11, X-8
#[test]
fn one_clients_last_cleanup_resets_its_sockets_and_leaves_another_client_alone() {
    let lab = Lab::start();
    let (left, right) = (lab.started(), lab.started());
    let mut theirs = connected(&right, APPLICATION);
    let mut mine = connected(&left, APPLICATION);
    let (mut their_receive, my_receive) = (theirs.socket.begin_receive(8), mine.socket.begin_receive(8));
    left.cleanup(APPLICATION).unwrap();
    cancelled(my_receive);
    reset(&mut mine.peer);
    theirs.peer.send(b"alive").unwrap();
    assert_eq!(their_receive.wait(PATIENCE).unwrap(), b"alive");
    right.cleanup(APPLICATION).unwrap();
    deregistered(&left);
}

/// contract: CARD-3
#[test]
fn a_receive_that_data_raced_with_the_last_cleanup_for_has_the_data_or_is_cancelled() {
    const ROUNDS: u32 = 60;
    let lab = Lab::start();
    let client = lab.client();
    let peers = Listener::start().unwrap();
    let (mut with_data, mut without) = (0, 0);
    for round in 0..ROUNDS {
        started(&client, APPLICATION);
        let mut connection = connected_to(&client, APPLICATION, &peers);
        let mut receive = connection.socket.begin_receive(8);
        thread::scope(|scope| {
            scope.spawn(|| connection.peer.send(b"race"));
            thread::sleep(Duration::from_micros(u64::from(round % 20) * 15));
            client.cleanup(APPLICATION).unwrap();
        });
        let completion = receive.completion(PATIENCE).unwrap();
        match (completion.status, completion.information) {
            (0, 4) => {
                assert_eq!(&completion.buffer[..4], b"race");
                with_data += 1;
            }
            (STATUS_CANCELLED, 0) => without += 1,
            (status, information) => panic!("status {status:#X} with {information} bytes"),
        }
        nothing_held(&client);
    }
    let receives = client.ledger().unwrap().tally(Kind::Receive);
    assert_eq!(
        (receives.taken, receives.completed, receives.cancelled),
        (with_data + without, with_data + without, without)
    );
}

/// contract: CARD-3
#[test]
fn data_that_arrived_before_the_last_cleanup_is_not_lost() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let mut receive = connection.socket.begin_receive(8);
    connection.peer.send(b"in time").unwrap();
    contract::eventually("the receive has the data", || receive.is_complete());
    client.cleanup(APPLICATION).unwrap();
    assert_eq!(receive.wait(PATIENCE).unwrap(), b"in time");
    deregistered(&client);
}

/// contract: CARD-3
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK does not wait for a full buffer")]
fn a_receive_that_waits_for_all_keeps_what_it_has_at_the_last_cleanup() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let mut receive = connection.socket.begin_receive_all(8);
    connection.peer.send(b"part").unwrap();
    thread::sleep(GLANCE);
    assert!(!receive.is_complete());
    client.cleanup(APPLICATION).unwrap();
    let completion = receive.completion(PATIENCE).unwrap();
    assert_eq!((completion.status, &completion.buffer[..completion.information]), (0, &b"part"[..]));
    let tally = client.ledger().unwrap().tally(Kind::Receive);
    assert_eq!((tally.taken, tally.completed, tally.cancelled), (1, 1, 0));
    deregistered(&client);
}

/// contract: WSP-9
#[test]
fn after_the_last_cleanup_the_same_port_can_be_bound_at_once() {
    let lab = Lab::start();
    let client = lab.started();
    let (first, address) = listening(&client, APPLICATION);
    for _ in 0..5 {
        let (accept, peer) = (first.begin_accept(), Peer::connect(address));
        drop((accept, peer));
    }
    for _ in 0..5 {
        client.cleanup(APPLICATION).unwrap();
        started(&client, APPLICATION);
        let listener = client.socket(APPLICATION, Role::Listen).unwrap();
        listener.bind(address).unwrap();
        listener.listen(4).unwrap();
        let connection = accepted(&mut listener.begin_accept(), address);
        connection.socket.send(b"again".to_vec()).unwrap();
        let Connection { mut peer, .. } = connection;
        assert_eq!(peer.receive(5).unwrap(), b"again");
    }
}

/// contract: WSP-9
#[test]
fn a_startup_during_the_teardown_waits_for_it_and_starts_afresh() {
    let lab = Lab::start();
    let client = lab.started();
    for _ in 0..20 {
        let connections: Vec<_> = (0..8).map(|_| connected(&client, APPLICATION)).collect();
        let receives: Vec<_> = connections.iter().map(|connection| connection.socket.begin_receive(8)).collect();
        let mut cleanup = client.begin_cleanup(APPLICATION);
        let mut startup = client.begin_startup(APPLICATION, contract::VERSION, 0);
        assert_eq!(startup.wait(PATIENCE).unwrap().references, 1, "a fresh start");
        cleanup.wait(PATIENCE).unwrap();
        receives.into_iter().for_each(cancelled);
        assert_eq!(references(&client, APPLICATION), 1);
        let mut connection = connected(&client, APPLICATION);
        connection.peer.send(b"up").unwrap();
        assert_eq!(connection.socket.receive(8).unwrap(), b"up");
    }
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}
