//! What a client may hold: much, and not more; other clients do not notice.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, DNS, Lab, PATIENCE, VERSION,
    abi::{Events, Kind, ReceivedFrom, Role, WsaError},
    check::{cancelled, deregistered, fails, references},
    eventually, started,
    traffic::{bound, connected, listening, local},
};
use ntlab::RegistryValue;
use ntlab::wsk::ProviderState;
use std::time::Duration;
use wskctl::{Client, Operation, Socket, Wanted, device::Completion};

/// Longer than anything in here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);

/// A machine where a client may have so many requests pending, and so many bytes locked for them.
fn limited(requests: usize, bytes: usize) -> Lab {
    let number = |value: usize| RegistryValue::Number(value.try_into().unwrap());
    Lab::start_with_parameters(&[("MaxPendingRequests", number(requests)), ("MaxLockedBytes", number(bytes))])
}

/// A connection through which another client can still do everything.
fn does_not_notice(other: &Client) {
    let mut connection = connected(other, APPLICATION);
    connection.socket.send(b"unhurt".to_vec()).unwrap();
    assert_eq!(connection.peer.receive(6).unwrap(), b"unhurt");
    let mut receive = connection.socket.begin_receive(1 << 20);
    connection.peer.send(b"by it").unwrap();
    assert_eq!(receive.wait(PATIENCE).unwrap(), b"by it");
    connection.socket.close().unwrap();
}

/// contract: X-6
#[test]
fn a_client_has_as_many_sockets_as_the_startup_says_and_then_wsaemfile() {
    let lab = Lab::start();
    let (client, other) = (lab.client().with_patience(LONG), lab.started());
    let startup = contract::startup(&client, APPLICATION);
    let most = startup.reply().max_sockets as usize;
    let mut sockets: Vec<Socket> = (0..most).map(|_| client.socket(APPLICATION, Role::Connection).unwrap()).collect();
    for _ in 0..3 {
        fails(client.socket(APPLICATION, Role::Connection).map(drop), WsaError::TooManySockets);
        fails(client.socket(APPLICATION, Role::Datagram).map(drop), WsaError::TooManySockets);
    }
    does_not_notice(&other);
    sockets.pop().unwrap().close().unwrap();
    sockets.push(client.socket(APPLICATION, Role::Connection).unwrap());
    fails(client.socket(APPLICATION, Role::Connection).map(drop), WsaError::TooManySockets);
    assert_eq!(client.ledger().unwrap().sockets.open as usize, most);
    startup.cleanup().unwrap();
}

/// contract: X-6
#[test]
fn a_client_locks_a_gibibyte_of_buffers_and_then_gets_wsaenobufs() {
    const GIBIBYTE: usize = 1 << 30;
    let lab = Lab::start();
    let (client, other) = (lab.started(), lab.started());
    let connection = connected(&client, APPLICATION);
    let large = connection.socket.begin_receive(GIBIBYTE - 10);
    fails(connection.socket.receive(11), WsaError::NoBuffers);
    fails(connection.socket.send(vec![0; 11]), WsaError::NoBuffers);
    let small = connection.socket.begin_receive(10);
    does_not_notice(&other);
    let tally = client.ledger().unwrap().tally(Kind::Receive);
    assert_eq!((tally.taken, tally.pending()), (2, 2), "what is refused counts nowhere");
    large.cancel();
    cancelled(large);
    connection.socket.send(vec![0; 11]).expect("what a request locked is given back when it completes");
    client.cleanup(APPLICATION).unwrap();
    cancelled(small);
}

/// contract: X-6
#[test]
fn a_client_has_262144_requests_pending_and_then_gets_wsaenobufs() {
    const MOST: usize = 262_144;
    let lab = Lab::start();
    let (client, other) = (lab.started().with_patience(LONG), lab.started());
    let (listener, _) = listening(&client, APPLICATION);
    let accepts: Vec<_> = (0..MOST).map(|_| listener.begin_accept()).collect();
    fails(listener.accept().map(drop), WsaError::NoBuffers);
    fails(client.socket(APPLICATION, Role::Connection).map(drop), WsaError::NoBuffers);
    does_not_notice(&other);
    assert_eq!(client.ledger().unwrap().tally(Kind::Accept).pending(), MOST as u64);
    // What gives something back is never refused.
    listener.close().unwrap();
    for mut accept in accepts {
        assert!(accept.completion(LONG).is_ok());
    }
    client.socket(APPLICATION, Role::Connection).expect("requests are given back when they complete");
}

/// contract
#[test]
fn startups_that_wait_are_pending_requests_like_any_other() {
    const MOST: usize = 5;
    let lab = limited(MOST, 1 << 20);
    let network = lab.machine().network();
    network.set_provider(ProviderState::NotReady);
    let (client, other) = (lab.client(), lab.client());
    let mut waiting: Vec<_> = (0..MOST).map(|_| client.begin_startup(APPLICATION, VERSION, 0)).collect();
    fails(client.begin_startup(APPLICATION, VERSION, 0).wait(PATIENCE), WsaError::NoBuffers);
    fails(client.begin_startup_namespace(DNS).wait(PATIENCE), WsaError::NoBuffers);
    let tally = client.ledger().unwrap().tally(Kind::Startup);
    assert_eq!((tally.taken, tally.pending()), (5, 5), "what is refused counts nowhere");
    let others = other.begin_startup(APPLICATION, VERSION, 0);
    assert!(!others.is_complete(), "another client waits with its own");
    let last = waiting.pop().unwrap();
    last.cancel();
    cancelled(last);
    waiting.push(client.begin_startup(APPLICATION, VERSION, 0));
    network.set_provider(ProviderState::Ready);
    for (startup, references) in waiting.iter_mut().zip(1..) {
        assert_eq!(startup.wait(PATIENCE).unwrap().references, references);
    }
    (0..2 * MOST).for_each(|_| started(&client, APPLICATION));
    assert_eq!(references(&client, APPLICATION), 15, "a startup that need not wait is not refused");
    drop(others);
}

/// contract: X-6
#[test]
fn a_request_of_any_kind_is_charged_while_it_is_pending_and_no_longer() {
    const MOST: usize = 4;
    let lab = limited(MOST, 1 << 20);
    let client = lab.started();
    client.startup_namespace(DNS).unwrap().keep();
    lab.machine().network().hold_look_ups(true);
    let connection = connected(&client, APPLICATION);
    let (listener, _) = listening(&client, APPLICATION);
    let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
    datagrams.bind(local(0)).unwrap();
    let unconnected: Vec<_> = (0..=MOST).map(|_| bound(&client, APPLICATION)).collect();
    let wanted = Wanted { node: Some("localhost"), ..Wanted::default() };
    let kinds: [&dyn Fn(usize) -> Operation<Completion>; 7] = [
        &|_| connection.socket.begin_receive(8).untyped(),
        &|_| listener.begin_accept().untyped(),
        &|_| datagrams.begin_receive(8).untyped(),
        &|_| datagrams.begin_receive_from(8).untyped(),
        &|index| unconnected[index].begin_events(Events::CONNECT).untyped(),
        &|_| client.begin_resolve(DNS, &wanted, 4).untyped(),
        &|_| client.begin_names_of(DNS, local(80), 0).untyped(),
    ];
    for begin in kinds {
        for _ in 0..3 {
            let pending: Vec<_> = (0..MOST).map(begin).collect();
            assert!(!pending.iter().any(Operation::is_complete), "{} is refused too early", pending[0].what());
            for other in kinds {
                fails(other(MOST).wait(PATIENCE), WsaError::NoBuffers);
            }
            pending.iter().for_each(Operation::cancel);
            pending.into_iter().for_each(cancelled);
        }
    }
}

/// contract: X-6
#[test]
fn the_bytes_of_datagrams_count_too_and_what_is_refused_is_charged_nothing() {
    const MOST: usize = 4;
    const BYTES: usize = 4096;
    let lab = limited(MOST, BYTES);
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
    datagrams.bind(local(0)).unwrap();
    let itself = datagrams.local_address().unwrap();
    for _ in 0..3 * MOST {
        fails(connection.socket.receive(BYTES + 1), WsaError::NoBuffers);
        fails(connection.socket.send(vec![0; BYTES + 1]), WsaError::NoBuffers);
        fails(datagrams.send_to(vec![0; BYTES + 1], itself), WsaError::NoBuffers);
        // The sender's address is written before the data.
        fails(datagrams.receive_from(BYTES), WsaError::NoBuffers);
        datagrams.send_to(vec![0; BYTES], itself).unwrap();
        datagrams.receive_from(BYTES - size_of::<ReceivedFrom>()).map(drop).unwrap();
    }
    let all = connection.socket.begin_receive(BYTES - 8);
    let rest = datagrams.begin_receive(8);
    fails(connection.socket.receive(1), WsaError::NoBuffers);
    fails(datagrams.send_to(vec![0], itself), WsaError::NoBuffers);
    for operation in [all.untyped(), rest.untyped()] {
        operation.cancel();
        cancelled(operation);
    }
    let pending: Vec<_> = (0..MOST).map(|_| connection.socket.begin_receive(8)).collect();
    fails(connection.socket.receive(8), WsaError::NoBuffers);
    client.cleanup(APPLICATION).unwrap();
    pending.into_iter().for_each(cancelled);
}

/// contract: X-6
#[test]
fn what_was_pending_on_one_socket_after_the_other_is_not_kept_by_all_of_them() {
    const MOST: u32 = 200;
    const SOCKETS: usize = 40;
    let lab = Lab::start_with_parameters(&[("MaxPendingRequests", RegistryValue::Number(MOST))]);
    let client = lab.started();
    let connections: Vec<_> = (0..SOCKETS).map(|_| connected(&client, APPLICATION)).collect();
    let (_, before) = lab.machine().pool_in_use();
    for connection in &connections {
        let receives: Vec<_> = (0..MOST).map(|_| connection.socket.begin_receive(8)).collect();
        fails(connection.socket.receive(8), WsaError::NoBuffers);
        receives.iter().for_each(Operation::cancel);
        receives.into_iter().for_each(cancelled);
    }
    let (_, after) = lab.machine().pool_in_use();
    // What the quota allows at once, twice: some of it may be kept for the next requests.
    let allowed = 2 * 128 * MOST as usize + SOCKETS * 2048;
    assert!(after - before < allowed, "{} bytes are kept, for nothing", after - before);
}

/// contract: X-6
#[test]
fn ten_thousand_sockets_with_a_hundred_thousand_requests_work_and_end_at_the_last_cleanup() {
    const SOCKETS: usize = 10_000;
    const EACH: usize = 10;
    let lab = Lab::start();
    let client = lab.started().with_patience(LONG);
    let sockets: Vec<_> = (0..SOCKETS)
        .map(|_| {
            let socket = client.socket(APPLICATION, Role::Datagram).unwrap();
            socket.bind(local(0)).unwrap();
            socket
        })
        .collect();
    let mut receives: Vec<Operation<Completion>> =
        sockets.iter().flat_map(|socket| (0..EACH).map(|_| socket.begin_receive(16).untyped())).collect();
    let ledger = client.ledger().unwrap();
    assert_eq!((ledger.sockets.open as usize, ledger.tally(Kind::Receive).pending()), (SOCKETS, 100_000));
    for (index, socket) in sockets.iter().enumerate().step_by(1000) {
        socket.send_to(b"works".to_vec(), socket.local_address().unwrap()).unwrap();
        let completion = receives[index * EACH].completion(PATIENCE).unwrap();
        assert_eq!((completion.status, &completion.buffer[..completion.information]), (0, &b"works"[..]));
    }
    let mut cleanup = client.begin_cleanup(APPLICATION);
    cleanup.wait(LONG).unwrap();
    let taken = receives.iter().enumerate().filter(|(index, _)| index % (1000 * EACH) == 0).count();
    assert_eq!(client.ledger().unwrap().tally(Kind::Receive).cancelled, (SOCKETS * EACH - taken) as u64);
    eventually("everything is given back", || client.ledger().unwrap().driver_sockets == 0);
    deregistered(&client);
}
