//! Things that happen at once: each race in many rounds, with delays in a tenth of the kernel's calls, from the seed.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, Lab, PATIENCE, TRANSPORT, VERSION,
    abi::{Events, Kind, Linger, Provider, Role, WsaError},
    check::{STATUS_CANCELLED, cancelled, deregistered, fails, nothing_held},
    eventually, started,
    traffic::{Connection, any, connected, connected_to, listening, stuck_connect},
};
use std::{
    io::ErrorKind,
    sync::{Barrier, Mutex},
    thread,
};
use wskctl::{
    Cause, Client, Error, Operation, Reply, Socket,
    device::Completion,
    peer::{Ending, Listener, Peer},
};

/// How often each race is run.
const ROUNDS: u64 = 40;

/// Ends once, cancelled with nothing or with `length` bytes. Whether with the bytes.
#[track_caller]
fn cancelled_or<R: Reply>(operation: &mut Operation<R>, length: usize) -> bool {
    let Completion { status, information, .. } = operation.completion(PATIENCE).expect("it ends");
    match (status, information) {
        (0, moved) if moved == length => true,
        (STATUS_CANCELLED, 0) => false,
        (status, moved) => panic!("{}: {status:#X} with {moved} bytes", operation.what()),
    }
}

/// The ledger's totals say the same as the completions that were seen.
#[track_caller]
fn ledger_says(client: &Client, kind: Kind, taken: u64, cancelled: u64) {
    let tally = client.ledger().unwrap().tally(kind);
    assert_eq!((tally.taken, tally.completed, tally.cancelled), (taken, taken, cancelled), "{kind:?}");
}

/// contract: WSA-2, WSP-3, WSP-9
#[test]
fn a_last_cleanup_and_a_startup_at_once_leave_the_one_reference_that_was_taken() {
    for round in 0..ROUNDS {
        let lab = Lab::storm(round);
        let client = lab.started();
        let connection = connected(&client, APPLICATION);
        let receive = connection.socket.begin_receive(8);
        let told = lab.machine().in_threads(2, |index| {
            if index == 0 {
                client.cleanup(APPLICATION).unwrap();
                return 0;
            }
            let startup = client.begin_startup(APPLICATION, VERSION, 0).wait(PATIENCE);
            startup.expect("a startup succeeds before, during and after a teardown").references
        });
        let references = told[1];
        let ledger = client.ledger().unwrap();
        assert_eq!(ledger.references(APPLICATION), 1);
        match references {
            // It came first: the cleanup was not the last one.
            2 => assert_eq!((ledger.teardowns, ledger.sockets.open, receive.is_complete()), (0, 1, false)),
            1 => {
                assert_eq!((ledger.teardowns, ledger.sockets.open), (1, 0));
                cancelled(receive);
            }
            other => panic!("{other} references"),
        }
        client.socket(APPLICATION, Role::Connection).expect("who has a reference has a provider that is up");
        client.cleanup(APPLICATION).unwrap();
        deregistered(&client);
    }
}

/// contract: WSA-10, WSA-13, CARD-3
#[test]
fn completions_that_race_with_the_last_cleanup_have_their_data_or_are_cancelled() {
    for (round, provider) in (0..ROUNDS).zip([APPLICATION, TRANSPORT].into_iter().cycle()) {
        let lab = Lab::storm(round);
        let client = lab.client();
        started(&client, provider);
        let peers = Listener::start().unwrap();
        let mut connections: Vec<_> = (0..4).map(|_| connected_to(&client, provider, &peers)).collect();
        let mut receives: Vec<_> = connections.iter().map(|one| one.socket.begin_receive_all(4)).collect();
        let meet = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                meet.wait();
                for connection in &mut connections {
                    // A peer that is reset in the middle may see its own send fail.
                    let _ = connection.peer.send(b"data");
                }
            });
            meet.wait();
            client.cleanup(provider).unwrap();
        });
        let without = receives.iter_mut().filter_map(|receive| (!cancelled_or(receive, 4)).then_some(())).count();
        ledger_says(&client, Kind::Receive, 4, without as u64);
        deregistered(&client);
    }
}

/// contract: X-1, WSA-5, WSA-10, CARD-3
#[test]
fn a_cancel_a_completion_and_the_teardown_at_once_end_each_request_once() {
    for round in 0..ROUNDS {
        let lab = Lab::storm(round);
        let client = lab.started();
        let mut connection = connected(&client, APPLICATION);
        let (listener, address) = listening(&client, APPLICATION);
        let mut receives: Vec<_> = (0..6).map(|_| connection.socket.begin_receive_all(1)).collect();
        let mut accept = listener.begin_accept();
        let peer = Mutex::new(&mut connection.peer);
        lab.machine().in_threads(4, |index| match index {
            0 => {
                receives.iter().for_each(Operation::cancel);
                accept.cancel();
            }
            1 => drop(peer.lock().unwrap().send(b"123456")),
            // It comes too late, or is reset, or is taken.
            2 => drop(Peer::connect(address)),
            _ => client.cleanup(APPLICATION).unwrap(),
        });
        let without = receives.iter_mut().map(|receive| cancelled_or(receive, 1)).filter(|data| !data).count();
        ledger_says(&client, Kind::Receive, 6, without as u64);
        let accepted = accept.completion(PATIENCE).unwrap().status == 0;
        ledger_says(&client, Kind::Accept, 1, u64::from(!accepted));
        deregistered(&client);
    }
}

/// contract: CARD-3, WSA-11, X-1
#[test]
fn a_close_ends_a_connect_that_is_pending_and_so_do_a_cancel_and_the_last_cleanup() {
    let lab = Lab::storm(0);
    let client = lab.started();
    let (socket, connect, _crowd) = stuck_connect(&client, APPLICATION);
    socket.close().unwrap();
    cancelled(connect);
    let (socket, connect, _crowd) = stuck_connect(&client, APPLICATION);
    connect.cancel();
    cancelled(connect);
    socket.close().unwrap();
    let (_socket, connect, _crowd) = stuck_connect(&client, APPLICATION);
    client.cleanup(APPLICATION).unwrap();
    cancelled(connect);
    deregistered(&client);
    ledger_says(&client, Kind::Connect, 3, 3);
}

/// contract: CARD-3, WSA-11
#[test]
fn a_close_that_races_with_a_connect_ends_it_and_the_peer_sees_a_reset_if_it_saw_anything() {
    let peers = Listener::start().unwrap();
    let mut made = 0;
    for round in 0..ROUNDS {
        let lab = Lab::storm(round);
        let client = lab.started();
        let socket = client.socket(APPLICATION, Role::Connection).unwrap();
        socket.bind(any()).unwrap();
        let mut connects = lab.machine().in_threads(2, |index| {
            if index == 0 {
                return Some(socket.begin_connect(peers.address()));
            }
            socket.close().unwrap();
            None
        });
        match connects[0].as_mut().unwrap().wait(PATIENCE) {
            Ok(()) => made += 1,
            // Either the close ended it, or it came after the close.
            Err(error) => assert!(
                matches!(error.winsock(), Some(WsaError::OperationAborted | WsaError::NotSocket)),
                "round {round}: {error}"
            ),
        }
        client.cleanup(APPLICATION).unwrap();
        deregistered(&client);
    }
    // Each that was made is at the listener, and was reset by the close.
    for _ in 0..made {
        assert_eq!(peers.accept().unwrap().ending().unwrap(), Ending::Reset);
    }
}

/// contract: WSA-2, WSP-5, X-2
#[test]
fn a_socket_that_is_being_made_when_the_last_cleanup_begins_does_not_hold_it_up() {
    for (round, provider) in (0..ROUNDS).zip([APPLICATION, TRANSPORT, Provider::San].into_iter().cycle()) {
        let lab = Lab::storm(round);
        let client = lab.client();
        started(&client, provider);
        lab.machine().in_threads(2, |index| {
            if index == 0 {
                client.cleanup(provider).expect("it ends, whatever arrives meanwhile");
            } else if let Err(error) = client.socket(provider, Role::Connection) {
                let expected = [WsaError::NotInitialised, WsaError::OperationAborted];
                assert!(expected.contains(&error.winsock().unwrap()), "round {round}: {error}");
            }
        });
        deregistered(&client);
    }
}

/// contract: WSP-7, X-1
#[test]
fn closes_that_are_cancelled_while_their_lingering_ends_are_complete_before_the_last_cleanup_is() {
    for round in 0..2 * ROUNDS {
        let lab = Lab::storm(round);
        let client = lab.started();
        let connections: Vec<_> = (0..8).map(|_| connected(&client, APPLICATION)).collect();
        let mut closes: Vec<_> = connections
            .iter()
            .map(|one| {
                one.socket.set_linger(Linger { l_onoff: 1, l_linger: 100 }).unwrap();
                one.socket.begin_close()
            })
            .collect();
        eventually("all linger", || client.ledger().unwrap().sockets.lingering == 8);
        lab.machine().in_threads(2, |cleaner| {
            if cleaner == 0 {
                closes.iter().for_each(Operation::cancel);
                return;
            }
            client.cleanup(APPLICATION).unwrap();
            let out = closes.iter().filter(|close| !close.is_complete()).count();
            assert_eq!(out, 0, "round {round}: so many outlive the provider");
        });
        for close in &mut closes {
            cancelled_or(close, 0);
        }
        deregistered(&client);
    }
}

/// contract: WSA-11, WSP-5, CARD-3, WSA-13
#[test]
fn connections_that_arrive_during_the_teardown_are_taken_or_reset_and_nothing_stays() {
    for (round, provider) in (0..ROUNDS).zip([APPLICATION, TRANSPORT].into_iter().cycle()) {
        let lab = Lab::storm(round);
        let client = lab.client();
        started(&client, provider);
        let (listener, address) = listening(&client, provider);
        let mut accepts: Vec<_> = (0..4).map(|_| listener.begin_accept()).collect();
        let meet = Barrier::new(2);
        let calls: Vec<_> = thread::scope(|scope| {
            let calls = scope.spawn(|| {
                meet.wait();
                (0..6).map(|_| Peer::connect(address)).collect()
            });
            meet.wait();
            client.cleanup(provider).unwrap();
            calls.join().unwrap()
        });
        // A connection that is reset before its caller has looked was there too.
        let reset = calls.iter().filter(|call| call.as_ref().err().is_some_and(is_reset)).count();
        let callers: Vec<_> = calls.into_iter().flatten().collect();
        let taken = accepts.iter_mut().filter_map(|accept| taken(accept)).count();
        ledger_says(&client, Kind::Accept, 4, 4 - taken as u64);
        assert!(callers.len() + reset >= taken, "{taken} accepted of {} and {reset} that called", callers.len());
        for caller in callers {
            assert_eq!(ending_of_a_caller(caller), Ending::Reset, "round {round}");
        }
        assert!(Peer::connect(address).is_err(), "a listener that is gone still listens");
        deregistered(&client);
    }
}

/// How the connection ends of one who called while the listener went. One whose last acknowledgement meets the listener's end is
/// forgotten by Linux, and reset only when its caller sends.
#[track_caller]
fn ending_of_a_caller(mut caller: Peer) -> Ending {
    match caller.send(b"?") {
        Err(error) if is_reset(&error) => Ending::Reset,
        _ => caller.ending().unwrap(),
    }
}

fn is_reset(error: &Error) -> bool {
    matches!(error.cause(), Cause::Host(error) if error.kind() == ErrorKind::ConnectionReset)
}

/// The connection that an accept took before the teardown; its socket is gone with it.
#[track_caller]
fn taken(accept: &mut Operation<wskctl::Accepted>) -> Option<Socket> {
    match accept.wait(PATIENCE) {
        Ok(accepted) => {
            fails(accepted.socket.receive(1), WsaError::NotInitialised);
            Some(accepted.socket)
        }
        Err(error) => {
            assert_eq!(error.winsock(), Some(WsaError::OperationAborted), "{error}");
            None
        }
    }
}

/// contract: WSA-11, CARD-3
#[test]
fn accepts_and_a_connection_that_meet_the_close_of_their_listener_end() {
    for round in 0..3 * ROUNDS {
        let lab = Lab::storm(round);
        let client = lab.started();
        let (listener, address) = listening(&client, APPLICATION);
        // It is out at WSK, and leaves its connection to the listener; accepts wait behind it.
        let mut arrival = listener.begin_events(Events::ACCEPT);
        let (accepts, caller) = (Mutex::new(Vec::new()), Mutex::new(None));
        lab.machine().in_threads(3, |index| match index {
            0 => accepts.lock().unwrap().extend((0..16).map(|_| listener.begin_accept())),
            1 => *caller.lock().unwrap() = Peer::connect(address).ok(),
            _ => listener.close().unwrap(),
        });
        assert!(arrival.completion(PATIENCE).is_ok(), "round {round}: who waits for a connection waits on");
        for mut accept in accepts.into_inner().unwrap() {
            match accept.wait(PATIENCE) {
                Ok(accepted) => accepted.socket.close().unwrap(),
                Err(error) => {
                    let expected = [WsaError::OperationAborted, WsaError::NotSocket];
                    assert!(expected.contains(&error.winsock().unwrap()), "round {round}: {error}");
                }
            }
        }
        eventually("no connection is left that nobody can take", || client.ledger().unwrap().driver_sockets == 0);
        if let Some(caller) = caller.into_inner().unwrap() {
            assert_eq!(ending_of_a_caller(caller), Ending::Reset, "round {round}");
        }
        client.cleanup(APPLICATION).unwrap();
        deregistered(&client);
    }
}

/// contract: WSP-8, WSP-9, WSA-13
#[test]
fn a_process_that_dies_in_the_middle_of_everything_leaves_nothing() {
    for round in 0..ROUNDS {
        let lab = Lab::storm(round);
        let (process, watcher) = (lab.process(), lab.client());
        let client = process.open();
        started(&client, APPLICATION);
        started(&client, TRANSPORT);
        let (listener, address) = listening(&client, TRANSPORT);
        let mut connection = connected(&client, APPLICATION);
        let (socket, dies) = (&connection.socket, process.device().process());
        lab.machine().in_threads(3, |index| match index {
            0 => {
                let _accepts: Vec<_> = (0..3).map(|_| listener.begin_accept()).collect();
                let _receives: Vec<_> = (0..5).map(|_| socket.begin_receive(1)).collect();
                let _cleanup = client.begin_cleanup(APPLICATION);
            }
            1 => drop(Peer::connect(address)),
            _ => dies.kill(),
        });
        assert_eq!(connection.peer.ending().unwrap(), Ending::Reset);
        eventually("the dead client is gone", || watcher.ledger().unwrap().clients == 1);
        deregistered(&watcher);
        // The next one starts at once.
        let next = lab.started();
        drop(connected(&next, APPLICATION));
        next.cleanup(APPLICATION).unwrap();
        nothing_held(&next);
    }
}

/// contract: WSP-7
#[test]
fn when_the_last_cleanup_completes_wsk_holds_nothing_of_the_driver_and_it_can_be_unloaded() {
    for (round, provider) in (0..ROUNDS).zip([APPLICATION, TRANSPORT].into_iter().cycle()) {
        let lab = Lab::storm(round);
        let network = lab.machine().network();
        let client = lab.client();
        started(&client, provider);
        let Scene { _connections, _operations } = scene(&client, provider);
        let mut cleanup = client.begin_cleanup(provider);
        while !cleanup.is_complete() {
            std::hint::spin_loop();
        }
        let counters = network.counters();
        assert_eq!((counters.sockets, counters.irps), (0, 0), "sockets and IRPs that WSK has");
        assert_eq!((counters.captures, counters.registrations), (0, 0), "captures and registrations");
        assert_eq!(network.live(), Vec::<String>::new());
        cleanup.wait(PATIENCE).unwrap();
        client.close();
        // The lab's end unloads the driver at once: what still ran in it would be a violation.
        drop(lab);
    }
}

/// Requests of each kind that can stay pending.
struct Scene {
    _connections: Vec<Connection>,
    _operations: Vec<Operation<Completion>>,
}

fn scene(client: &Client, provider: Provider) -> Scene {
    let (listener, _) = listening(client, provider);
    let peers = Listener::start().unwrap();
    let connections: Vec<_> = (0..3).map(|_| connected_to(client, provider, &peers)).collect();
    let mut operations: Vec<_> = connections.iter().map(|one| one.socket.begin_receive(64).untyped()).collect();
    operations.push(listener.begin_accept().untyped());
    operations.push(connections[0].socket.begin_send(vec![7; 8 << 20]).untyped());
    Scene { _connections: connections, _operations: operations }
}
