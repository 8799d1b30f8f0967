//! Clients that were started with a version before 2.0: their calls block, and a cleanup waits for none of them.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, Lab, PATIENCE, TRANSPORT,
    abi::{Events, Kind, WinsockVersion, WsaError},
    check::{cancelled, deregistered, fails, pending, references},
    eventually, started,
    traffic::{Connection, accepted, connected, listening, stuck_connect, stuck_send},
};
use std::thread;
use wskctl::{Client, Operation, Reply, device::Completion, peer::Peer};
#[cfg(not(windows))]
use {
    contract::{DNS, NUMERIC},
    wskctl::Wanted,
};

const V1_1: WinsockVersion = WinsockVersion::new(1, 1);
const V2_2: WinsockVersion = WinsockVersion::new(2, 2);

fn start(client: &Client, version: WinsockVersion) {
    client.startup(APPLICATION, version, 0).unwrap().keep();
}

/// The operation ends as an interrupted call, with nothing moved.
#[track_caller]
fn interrupted<R: Reply>(mut operation: Operation<R>) {
    let completion = operation.completion(PATIENCE).expect("it ends");
    assert_eq!(
        (WsaError::from_status(completion.status), completion.information),
        (Some(WsaError::Interrupted), 0),
        "{}: status {:#X}",
        operation.what(),
        completion.status
    );
}

/// One call of each kind that can stay out, each on a socket of its own, and the connections behind them.
fn blocking_calls(client: &Client) -> (Vec<Operation<Completion>>, Vec<Connection>) {
    let (listener, _) = listening(client, APPLICATION);
    let connections = vec![connected(client, APPLICATION), connected(client, APPLICATION)];
    let calls = vec![
        listener.begin_accept().untyped(),
        listener.begin_accept().untyped(),
        connections[0].socket.begin_receive(8).untyped(),
        stuck_send(&connections[1].socket).untyped(),
    ];
    (calls, connections)
}

/// contract: WSA-7
#[test]
fn a_cleanup_of_a_1_1_client_with_a_blocking_call_out_is_wsaeinprogress_and_loses_nothing() {
    let lab = Lab::start();
    let client = lab.client();
    for version in [V1_1, WinsockVersion::new(1, 0)] {
        start(&client, version);
        start(&client, version);
        let mut connection = connected(&client, APPLICATION);
        let mut receive = connection.socket.begin_receive(8);
        for _ in 0..3 {
            fails(client.cleanup(APPLICATION), WsaError::InProgress);
        }
        assert_eq!((references(&client, APPLICATION), pending(&client)), (2, 1));
        assert!(!receive.is_complete());
        connection.peer.send(b"intact").unwrap();
        assert_eq!(receive.wait(PATIENCE).unwrap(), b"intact");
        client.cleanup(APPLICATION).unwrap();
        client.cleanup(APPLICATION).unwrap();
        deregistered(&client);
    }
}

/// contract: WSA-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn every_kind_of_call_blocks_the_cleanup_until_it_is_cancelled() {
    let lab = Lab::start();
    let client = lab.client();
    for index in 0..4 {
        start(&client, V1_1);
        let (mut calls, connections) = blocking_calls(&client);
        let last = calls.swap_remove(index);
        for call in calls {
            call.cancel();
            cancelled(call);
        }
        fails(client.cleanup(APPLICATION), WsaError::InProgress);
        client.cancel_blocking().unwrap();
        interrupted(last);
        client.cleanup(APPLICATION).unwrap();
        drop(connections);
        deregistered(&client);
    }
}

/// contract: WSA-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn cancelled_blocking_calls_all_end_with_wsaeintr_and_their_sockets_go_on() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, V1_1);
    let (calls, mut connections) = blocking_calls(&client);
    client.cancel_blocking().unwrap();
    calls.into_iter().for_each(interrupted);
    connections[0].peer.send(b"still here").unwrap();
    assert_eq!(connections[0].socket.receive(16).unwrap(), b"still here");
    let (listener, address) = listening(&client, APPLICATION);
    let accepts = [listener.begin_accept(), listener.begin_accept()];
    client.cancel_blocking().unwrap();
    accepts.into_iter().for_each(interrupted);
    drop(accepted(&mut listener.begin_accept(), address));
    let ledger = client.ledger().unwrap();
    assert_eq!(ledger.tally(Kind::Accept).cancelled, 0, "an interrupted call is not a cancelled one");
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSA-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn a_connect_that_is_out_can_be_interrupted() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, V1_1);
    let (socket, connect, _crowd) = stuck_connect(&client, APPLICATION);
    fails(client.cleanup(APPLICATION), WsaError::InProgress);
    client.cancel_blocking().unwrap();
    interrupted(connect);
    socket.close().unwrap();
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSA-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn an_accept_whose_turn_comes_is_a_blocking_call_all_the_while() {
    for round in 0..60 {
        let lab = Lab::storm(round);
        let client = lab.client();
        start(&client, V1_1);
        let (listener, address) = listening(&client, APPLICATION);
        let (first, next) = (listener.begin_accept(), listener.begin_accept());
        let _peer = thread::scope(|scope| {
            let caller = scope.spawn(|| Peer::connect(address).unwrap());
            while !first.is_complete() {
                fails(client.cleanup(APPLICATION), WsaError::InProgress);
            }
            // The worker is handing the next one out, or has.
            for _ in 0..8 {
                fails(client.cleanup(APPLICATION), WsaError::InProgress);
            }
            client.cancel_blocking().unwrap();
            caller.join().unwrap()
        });
        interrupted(next);
        client.cleanup(APPLICATION).unwrap();
        deregistered(&client);
    }
}

/// contract: WSA-7
#[cfg(not(windows))]
#[test]
fn a_look_up_of_a_1_1_client_is_a_blocking_call() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, V1_1);
    for guid in [DNS, NUMERIC] {
        client.startup_namespace(guid).unwrap().keep();
        lab.machine().network().hold_look_ups(true);
        let wanted = Wanted { node: Some("127.0.0.1"), ..Wanted::default() };
        let look_up = client.begin_resolve(guid, &wanted, 4);
        fails(client.cleanup(APPLICATION), WsaError::InProgress);
        client.cancel_blocking().unwrap();
        interrupted(look_up);
        lab.machine().network().hold_look_ups(false);
        client.cleanup_namespace(guid).unwrap();
    }
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSA-7
#[test]
fn what_does_not_block_the_application_does_not_stop_its_cleanup() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, V1_1);
    started(&client, TRANSPORT);
    let mut of_transport = connected(&client, TRANSPORT);
    let mut receive = of_transport.socket.begin_receive(8);
    fails(client.cancel_blocking(), WsaError::Invalid);
    client.cleanup(APPLICATION).unwrap();
    of_transport.peer.send(b"alive").unwrap();
    assert_eq!(receive.wait(PATIENCE).unwrap(), b"alive");
    client.cleanup(TRANSPORT).unwrap();
    deregistered(&client);
}

/// contract: WSA-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn who_waits_for_a_connection_behind_a_blocking_accept_is_not_interrupted_with_it() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, V1_1);
    let (listener, address) = listening(&client, APPLICATION);
    let accept = listener.begin_accept();
    let mut event = listener.begin_events(Events::ACCEPT);
    client.cancel_blocking().unwrap();
    interrupted(accept);
    fails(client.cancel_blocking(), WsaError::Invalid);
    assert!(!event.is_complete(), "it does not block the application");
    let _peer = Peer::connect(address).unwrap();
    assert_eq!(event.wait(PATIENCE).unwrap().events, Events::ACCEPT);
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSA-8
#[test]
fn in_2_x_a_cleanup_with_calls_out_tears_down_and_cancel_blocking_is_wsaeopnotsupp() {
    let lab = Lab::start();
    let client = lab.client();
    for version in [WinsockVersion::new(2, 0), WinsockVersion::new(2, 1), V2_2] {
        fails(client.cancel_blocking(), WsaError::NotInitialised);
        start(&client, version);
        let (calls, connections) = blocking_calls(&client);
        fails(client.cancel_blocking(), WsaError::NotSupported);
        assert!(calls.iter().all(|call| !call.is_complete()));
        client.cleanup(APPLICATION).unwrap();
        calls.into_iter().for_each(cancelled);
        drop(connections);
        deregistered(&client);
    }
}

/// contract: WSA-7, WSA-8
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn the_lowest_version_since_the_first_startup_counts_and_a_restart_begins_anew() {
    let lab = Lab::start();
    let client = lab.client();
    for (versions, blocks) in [([V2_2, V1_1], true), ([V1_1, V2_2], true), ([V2_2, V2_2], false)] {
        for version in versions {
            start(&client, version);
        }
        let connection = connected(&client, APPLICATION);
        let receive = connection.socket.begin_receive(8);
        if blocks {
            fails(client.cleanup(APPLICATION), WsaError::InProgress);
            client.cancel_blocking().unwrap();
            interrupted(receive);
            client.cleanup(APPLICATION).unwrap();
            client.cleanup(APPLICATION).unwrap();
        } else {
            client.cleanup(APPLICATION).unwrap();
            assert!(!receive.is_complete());
            client.cleanup(APPLICATION).unwrap();
            cancelled(receive);
        }
        deregistered(&client);
    }
}

/// contract: WSA-7
#[test]
fn a_refused_startup_of_1_1_makes_no_client_a_1_1_client() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, V2_2);
    fails(client.startup(TRANSPORT, V1_1, contract::abi::CATALOG[0].id), WsaError::VersionNotSupported);
    fails(client.startup(APPLICATION, V1_1, 1), WsaError::Invalid);
    fails(client.cancel_blocking(), WsaError::NotSupported);
    client.cleanup(APPLICATION).unwrap();
}

/// contract: WSA-7, WSP-8
#[test]
fn a_1_1_client_that_dies_with_calls_out_is_torn_down_all_the_same() {
    let lab = Lab::start();
    let (process, observer) = (lab.process(), lab.client());
    let client = process.open();
    start(&client, V1_1);
    let (_calls, _connections) = blocking_calls(&client);
    process.kill();
    eventually("the dead client is gone", || observer.ledger().unwrap().clients == 1);
    deregistered(&observer);
}

/// contract: WSA-7, CARD-3
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn calls_that_are_interrupted_cancelled_and_completed_at_once_end_once() {
    let lab = Lab::start();
    let client = lab.client();
    start(&client, V1_1);
    let mut connection = connected(&client, APPLICATION);
    for round in 0..100 {
        let mut receives: Vec<_> = (0..4).map(|_| connection.socket.begin_receive(1)).collect();
        let socket = connection.socket.clone();
        let mut sent = 0;
        thread::scope(|scope| {
            scope.spawn(|| receives[0].cancel());
            scope.spawn(|| client.cancel_blocking().err());
            sent = usize::from(connection.peer.send(b"x").is_ok());
        });
        let mut moved = 0;
        for receive in &mut receives {
            match receive.wait(PATIENCE) {
                Ok(data) => moved += data.len(),
                Err(error) => {
                    let ended = error.winsock().unwrap();
                    let expected = [WsaError::Interrupted, WsaError::OperationAborted];
                    assert!(expected.contains(&ended), "round {round}: {error}");
                }
            }
        }
        if moved == 0 && sent == 1 {
            assert_eq!(socket.receive(1).unwrap(), b"x", "a byte that no call got is still there");
        }
    }
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}
