//! Handles that close while the client lives on through another: what came through them ends, whatever it is doing at that moment.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, DNS, Lab, PATIENCE, TRANSPORT, VERSION,
    abi::Linger,
    check::{cancelled, deregistered, nothing_held, pending},
    eventually, started,
    traffic::{connected, listening},
};
use std::{sync::Barrier, thread, time::Duration};
use wskctl::{Client, Operation, Reply, Socket, Wanted, peer::Peer};

/// How often each race is run.
const ROUNDS: u64 = 40;
/// Threads that make requests through a handle while it closes.
const THREADS: usize = 6;

/// The same socket, as requests through another handle of its client name it.
fn through(handle: &Client, socket: &Socket) -> Socket {
    Socket::new(handle.clone(), socket.handle())
}

/// It has ended: with something, cancelled, or refused because its handle was closed before.
#[track_caller]
fn ends<R: Reply>(mut operation: Operation<R>) {
    assert!(operation.completion(PATIENCE).is_ok(), "{} outlives its handle", operation.what());
}

/// contract: WSP-8, X-1
#[test]
fn requests_that_meet_the_close_of_their_handle_end_and_their_socket_lives_on() {
    for round in 0..ROUNDS {
        let lab = Lab::storm(round);
        let process = lab.process();
        let (left, right) = (process.open(), process.open());
        started(&right, APPLICATION);
        started(&right, APPLICATION);
        right.startup_namespace(DNS).unwrap().keep();
        let mut connection = connected(&right, APPLICATION);
        let (listener, _) = listening(&right, APPLICATION);
        lab.machine().network().hold_look_ups(true);
        let meet = Barrier::new(THREADS + 1);
        let of_left: Vec<_> = thread::scope(|scope| {
            let asking: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let (socket, accepting) = (through(&left, &connection.socket), through(&left, &listener));
                        let wanted = Wanted { node: Some("localhost"), ..Wanted::default() };
                        meet.wait();
                        [
                            socket.begin_receive(8).untyped(),
                            accepting.begin_accept().untyped(),
                            left.begin_resolve(DNS, &wanted, 4).untyped(),
                            socket.begin_receive(8).untyped(),
                        ]
                    })
                })
                .collect();
            meet.wait();
            left.close();
            asking.into_iter().flat_map(|asked| asked.join().unwrap()).collect()
        });
        of_left.into_iter().for_each(ends);
        connection.peer.send(b"alive").unwrap();
        assert_eq!(connection.socket.receive(8).unwrap(), b"alive");
        lab.machine().network().hold_look_ups(false);
        while right.cleanup(APPLICATION).is_ok() {}
        right.cleanup_namespace(DNS).unwrap();
        deregistered(&right);
    }
}

/// contract: WSP-6, WSP-8
#[test]
fn what_a_closed_socket_still_sends_arrives_although_the_handle_that_it_was_sent_through_closes() {
    const AMOUNT: usize = 8 << 20;
    let lab = Lab::start();
    let process = lab.process();
    let (left, right) = (process.open(), process.open());
    started(&right, TRANSPORT);
    let mut connection = connected(&right, TRANSPORT);
    let socket = through(&left, &connection.socket);
    let mut send = socket.begin_send(vec![7; AMOUNT]);
    socket.close_gracefully(None).unwrap();
    left.close();
    assert!(!send.is_complete(), "it is more than the host's buffers take");
    assert_eq!(connection.peer.receive(AMOUNT).unwrap(), vec![7; AMOUNT]);
    assert_eq!(send.wait(PATIENCE).unwrap().bytes, AMOUNT);
    drop(connection.peer);
    right.cleanup(TRANSPORT).unwrap();
    deregistered(&right);
}

/// contract: WSP-8, X-1
#[test]
fn a_request_that_its_handles_whole_close_comes_into_the_middle_of_ends() {
    const HANDLES: u64 = 50;
    for round in 0..ROUNDS / 2 {
        let lab = Lab::delaying(15, round);
        let process = lab.process();
        let right = process.open();
        started(&right, APPLICATION);
        // An accept takes a while to be pending: it makes the socket that it is going to fill.
        let listeners = [listening(&right, APPLICATION).0, listening(&right, APPLICATION).0];
        for _ in 0..HANDLES {
            let left = process.open();
            let accepts = lab.machine().in_threads(1 + listeners.len(), |index| {
                let Some(listener) = listeners.get(index) else {
                    left.close();
                    return None;
                };
                Some(through(&left, listener).begin_accept())
            });
            accepts.into_iter().flatten().for_each(ends);
        }
        assert_eq!(pending(&right), 0, "round {round}");
        right.cleanup(APPLICATION).unwrap();
        deregistered(&right);
    }
}

/// contract: WSP-8, X-1
#[test]
fn an_accept_whose_turn_comes_while_its_handle_closes_ends_and_the_listener_lives_on() {
    for round in 0..3 * ROUNDS {
        let lab = Lab::storm(round);
        let process = lab.process();
        let (left, right) = (process.open(), process.open());
        started(&right, APPLICATION);
        let (listener, address) = listening(&right, APPLICATION);
        let mut first = listener.begin_accept();
        let next: Vec<_> = (0..3).map(|_| through(&left, &listener).begin_accept()).collect();
        let meet = Barrier::new(2);
        let _caller = thread::scope(|scope| {
            let caller = scope.spawn(|| {
                meet.wait();
                Peer::connect(address).unwrap()
            });
            meet.wait();
            left.close();
            caller.join().unwrap()
        });
        // The first accept ends, and the worker hands out the next: through a handle that is closing.
        first.wait(PATIENCE).unwrap();
        next.into_iter().for_each(ends);
        assert_eq!(pending(&right), 0, "round {round}");
        let mut accept = listener.begin_accept();
        drop(contract::traffic::accepted(&mut accept, address));
        right.cleanup(APPLICATION).unwrap();
        nothing_held(&right);
    }
}

/// contract: WSP-8, X-4
#[test]
fn a_close_that_lingers_stops_waiting_when_its_handle_closes_and_goes_on() {
    let lab = Lab::start();
    let process = lab.process();
    let (left, right) = (process.open(), process.open());
    started(&right, APPLICATION);
    let lingering = || {
        let connection = connected(&right, APPLICATION);
        connection.socket.set_linger(Linger { l_onoff: 1, l_linger: 600 }).unwrap();
        connection.socket.send(b"last words".to_vec()).unwrap();
        connection
    };
    let (mut theirs, mut mine) = (lingering(), lingering());
    let of_left = through(&left, &theirs.socket).begin_close();
    let mut of_right = mine.socket.begin_close();
    assert!(!of_left.is_complete() && !of_right.is_complete(), "their peers have not closed");
    left.close();
    cancelled(of_left);
    assert!(!of_right.is_complete(), "another handle's close waits on");
    assert_eq!(right.ledger().unwrap().sockets.lingering, 2, "only the waiting has ended");
    for connection in [&mut theirs, &mut mine] {
        assert_eq!(connection.peer.receive(10).unwrap(), b"last words");
    }
    drop((theirs.peer, mine.peer));
    of_right.wait(PATIENCE).unwrap();
    eventually("the other is over too", || right.ledger().unwrap().driver_sockets == 0);
    assert_eq!(right.ledger().unwrap().lingers_cut, 0);
    right.cleanup(APPLICATION).unwrap();
    deregistered(&right);
}

/// contract: WSP-8, WSA-2
#[test]
fn startups_and_cleanups_that_meet_the_close_of_their_handle_leave_no_reference() {
    for round in 0..ROUNDS {
        let lab = Lab::storm(round);
        let process = lab.process();
        let (left, right) = (process.open(), process.open());
        started(&right, APPLICATION);
        let meet = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                meet.wait();
                let startups: Vec<_> = (0..4).map(|_| left.begin_startup(APPLICATION, VERSION, 0)).collect();
                startups.into_iter().for_each(ends);
            });
            meet.wait();
            left.close();
        });
        eventually("what was taken through the closed handle is given back", || {
            right.ledger().unwrap().references(APPLICATION) == 1
        });
        right.cleanup(APPLICATION).unwrap();
        deregistered(&right);
    }
}

/// contract: WSP-8, X-2
#[test]
fn a_handle_that_closes_with_many_requests_behind_as_many_of_another_does_not_hold_the_processor_up() {
    const EACH: usize = 80_000;
    // A dispatch routine that takes longer is a violation. Looking through the others' requests for each of its own, the close takes
    // some billions of steps.
    let options = ntlab::Options { hang: Duration::from_secs(8), ..contract::options() };
    let lab = Lab::start_with(options);
    let process = lab.process();
    let (left, right) = (process.open(), process.open());
    started(&right, APPLICATION);
    let (listener, _) = listening(&right, APPLICATION);
    let theirs: Vec<_> = (0..EACH).map(|_| listener.begin_accept()).collect();
    let accepting = through(&left, &listener);
    let own: Vec<_> = (0..EACH).map(|_| accepting.begin_accept()).collect();
    left.close();
    own.into_iter().for_each(cancelled);
    assert_eq!(pending(&right), EACH as u64, "another handle's requests go on");
    listener.close().unwrap();
    theirs.into_iter().for_each(cancelled);
    right.cleanup(APPLICATION).unwrap();
    deregistered(&right);
}
