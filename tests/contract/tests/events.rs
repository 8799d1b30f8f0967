//! Events: what a socket tells who waits, and that it tells nothing once it ends.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, TRANSPORT,
    abi::{Events, EventsReply, Ioctl, Kind, Linger, Provider, Role, WsaError},
    check::{cancelled, deregistered, fails, nothing_held},
    eventually, raw, started,
    traffic::{any, bound, connected, listening, local, unused_address},
};
use ntlab::wsk::ProviderState;
use std::{net::UdpSocket, thread};
use wskctl::{
    Client, Operation, Socket,
    peer::{Ending, Listener, Peer},
};
use zerocopy::IntoBytes;

const EVERY_OF_CONNECTION: u32 = Events::READ | Events::CONNECT | Events::CLOSE;

/// What is told, and with which code.
#[track_caller]
fn told(mut operation: Operation<EventsReply>) -> (u32, u32) {
    let reply = operation.wait(PATIENCE).expect("something is told");
    let codes: Vec<u32> = reply.codes.into_iter().filter(|&code| code != 0).collect();
    assert!(codes.len() <= 1, "{reply:?}");
    (reply.events, codes.first().copied().unwrap_or(0))
}

#[track_caller]
fn waits(operation: &Operation<EventsReply>) {
    thread::sleep(GLANCE);
    assert!(!operation.is_complete(), "there is nothing to tell");
}

/// contract: CARD-2
#[test]
fn data_is_told_once_for_each_receive_and_is_left_for_it() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let read = connection.socket.begin_events(Events::READ);
    waits(&read);
    connection.peer.send(b"some data").unwrap();
    assert_eq!(told(read), (Events::READ, 0));
    assert_eq!(told(connection.socket.begin_events(Events::READ)), (Events::READ, 0), "nobody has received it");
    assert_eq!(connection.socket.receive(4).unwrap(), b"some");
    assert_eq!(told(connection.socket.begin_events(Events::READ)), (Events::READ, 0), "there is more");
    assert_eq!(connection.socket.receive(64).unwrap(), b" data");
    let read = connection.socket.begin_events(Events::READ);
    waits(&read);
    connection.peer.send(b"more").unwrap();
    assert_eq!(told(read), (Events::READ, 0));
    assert_eq!(connection.socket.receive(64).unwrap(), b"more");
}

/// contract: CARD-2
#[test]
fn a_stream_that_is_received_by_events_arrives_unchanged() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let data: Vec<u8> = (0..1_000_000_u32).map(|index| index.to_le_bytes()[usize::from(index % 3 == 0)]).collect();
    let (sent, mut peer) = (data.clone(), connection.peer);
    let sender = thread::spawn(move || {
        for chunk in sent.chunks(7777) {
            peer.send(chunk).unwrap();
        }
        peer
    });
    let mut received = Vec::new();
    while received.len() < data.len() {
        assert_eq!(told(connection.socket.begin_events(Events::READ)), (Events::READ, 0));
        received.extend(connection.socket.receive(10_000).unwrap());
    }
    assert!(received == data, "what arrives differs");
    drop(sender.join().unwrap());
}

/// contract: CARD-2
#[test]
fn the_end_of_a_connect_is_told_once_with_its_code() {
    let lab = Lab::start();
    let client = lab.started();
    let peers = Listener::start().unwrap();
    let socket = bound(&client, APPLICATION);
    let early = socket.begin_events(EVERY_OF_CONNECTION);
    waits(&early);
    socket.connect(peers.address()).unwrap();
    let _peer = peers.accept().unwrap();
    assert_eq!(told(early), (Events::CONNECT, 0));
    let again = socket.begin_events(EVERY_OF_CONNECTION);
    waits(&again);

    let refused = bound(&client, APPLICATION);
    fails(refused.connect(unused_address()), WsaError::ConnectionRefused);
    assert_eq!(told(refused.begin_events(Events::CONNECT)), (Events::CONNECT, WsaError::ConnectionRefused.code()));
}

/// contract: CARD-2
#[test]
fn the_peers_end_of_the_stream_and_its_reset_are_told_apart() {
    let lab = Lab::start();
    let client = lab.started();
    let graceful = connected(&client, APPLICATION);
    let close = graceful.socket.begin_events(Events::CLOSE);
    waits(&close);
    graceful.peer.shut_down().unwrap();
    assert_eq!(told(close), (Events::CLOSE, 0));

    let abrupt = connected(&client, APPLICATION);
    abrupt.socket.send(b"never read".to_vec()).unwrap();
    let close = abrupt.socket.begin_events(Events::CLOSE);
    waits(&close);
    drop(abrupt.peer); // with unread data: the peer's host resets the connection
    assert_eq!(told(close), (Events::CLOSE, WsaError::ConnectionReset.code()));
}

/// contract: CARD-2
#[test]
fn a_connection_is_told_of_before_it_is_accepted_and_kept_for_the_accept() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let accept = listener.begin_events(Events::ACCEPT);
    waits(&accept);
    let mut first = Peer::connect(address).unwrap();
    assert_eq!(told(accept), (Events::ACCEPT, 0));
    assert_eq!(told(listener.begin_events(Events::ACCEPT)), (Events::ACCEPT, 0), "nobody has accepted it");
    let accepted = listener.accept().unwrap();
    assert_eq!((Some(accepted.remote), accepted.local), (first.address(), address));
    first.send(b"through").unwrap();
    assert_eq!(accepted.socket.receive(16).unwrap(), b"through");

    let (accept, event) = (listener.begin_accept(), listener.begin_events(Events::ACCEPT));
    let (mut accept, _second) = (accept, Peer::connect(address).unwrap());
    accept.wait(PATIENCE).expect("who came first takes the first connection");
    waits(&event);
    let _third = Peer::connect(address).unwrap();
    assert_eq!(told(event), (Events::ACCEPT, 0));
    listener.accept().unwrap();
}

/// contract: WSA-11
#[test]
fn a_connection_that_nobody_accepted_goes_with_its_listener() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let event = listener.begin_events(Events::ACCEPT);
    let mut peer = Peer::connect(address).unwrap();
    told(event);
    listener.close().unwrap();
    assert_eq!(peer.ending().unwrap(), Ending::Reset);
    eventually("both sockets go", || client.ledger().unwrap().driver_sockets == 0);
}

/// A datagram socket, and a program that sends to it.
fn datagrams(client: &Client) -> (Socket, UdpSocket) {
    let socket = client.socket(APPLICATION, Role::Datagram).unwrap();
    socket.bind(local(0)).unwrap();
    let program = UdpSocket::bind("127.0.0.1:0").unwrap();
    program.connect(("127.0.0.1", socket.local_address().unwrap().port())).unwrap();
    (socket, program)
}

/// contract: CARD-2
#[test]
fn datagrams_are_told_of_and_left_for_the_receive() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, program) = datagrams(&client);
    let event = socket.begin_events(Events::READ);
    waits(&event);
    for round in 0..5_u8 {
        let event = if round == 0 { None } else { Some(socket.begin_events(Events::READ)) };
        program.send(&[round, 1]).unwrap();
        program.send(&[round, 2]).unwrap();
        if let Some(event) = event {
            assert_eq!(told(event), (Events::READ, 0));
        }
        if round == 0 {
            eventually("it is told", || event_is_complete(&socket));
        }
        assert_eq!(socket.receive_from(8).unwrap().data, [round, 1]);
        assert_eq!(socket.receive_from(8).unwrap().data, [round, 2]);
    }
    told(event);
}

/// contract: CARD-2
#[test]
fn a_datagram_that_was_received_is_not_told_of_again() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, program) = datagrams(&client);
    for round in 0..3_u8 {
        let event = socket.begin_events(Events::READ);
        waits(&event);
        program.send(&[round]).unwrap();
        assert_eq!(told(event), (Events::READ, 0));
        assert_eq!(socket.receive_from(8).unwrap().data, [round]);
    }
}

/// contract: WSA-6
#[test]
fn who_waits_for_events_is_told_that_the_provider_is_lost() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
    datagrams.bind(local(0)).unwrap();
    let close = connection.socket.begin_events(Events::READ | Events::CLOSE);
    let read = datagrams.begin_events(Events::READ);
    waits(&close);
    lab.machine().network().set_provider(ProviderState::Lost);
    assert_eq!(told(close), (Events::CLOSE, WsaError::NetworkDown.code()));
    assert_eq!(told(read), (Events::READ, WsaError::NetworkDown.code()));
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

fn event_is_complete(socket: &Socket) -> bool {
    // A second one would be refused while the first waits.
    socket.begin_events(Events::READ).wait(PATIENCE).is_ok()
}

/// contract: WSA-9, WSA-13
#[test]
fn the_last_cleanup_ends_who_waits_for_events_cancelled_and_without_any() {
    nothing_is_told(APPLICATION);
}

/// contract: WSP-4
#[test]
fn the_last_cleanup_of_transport_ends_who_waits_for_events_cancelled_and_without_any() {
    nothing_is_told(TRANSPORT);
}

/// contract: SAN-5
#[test]
fn the_last_cleanup_of_san_ends_who_waits_for_events_cancelled_and_without_any() {
    nothing_is_told(Provider::San);
}

/// The teardown itself resets connections and ends connects: none of that is an event.
fn nothing_is_told(provider: Provider) {
    let lab = Lab::start();
    let client = lab.client();
    for _ in 0..20 {
        started(&client, provider);
        let (listener, _) = listening(&client, provider);
        let (idle, fresh) = (connected(&client, provider), bound(&client, provider));
        let datagrams = client.socket(provider, Role::Datagram).unwrap();
        datagrams.bind(local(0)).unwrap();
        let waiting = [
            listener.begin_events(Events::ACCEPT),
            idle.socket.begin_events(Events::READ | Events::CLOSE),
            fresh.begin_events(Events::CONNECT),
            datagrams.begin_events(Events::READ),
        ];
        assert_eq!(client.ledger().unwrap().tally(Kind::Events).pending(), 4);
        client.cleanup(provider).unwrap();
        waiting.into_iter().for_each(cancelled);
        nothing_held(&client);
    }
    deregistered(&client);
}

/// contract: WSA-13, WSA-9
#[test]
fn events_that_nobody_has_taken_go_with_the_last_cleanup_and_are_not_told_to_the_next() {
    let lab = Lab::start();
    let client = lab.client();
    let mut settled = None;
    for round in 0..5 {
        started(&client, APPLICATION);
        let (listener, address) = listening(&client, APPLICATION);
        let event = listener.begin_events(Events::ACCEPT);
        let mut unaccepted = Peer::connect(address).unwrap();
        told(event);
        let mut unread = connected(&client, APPLICATION);
        let event = unread.socket.begin_events(Events::READ | Events::CLOSE);
        unread.peer.send(b"unread").unwrap();
        told(event);
        client.cleanup(APPLICATION).unwrap();
        for peer in [&mut unaccepted, &mut unread.peer] {
            assert_eq!(peer.ending().unwrap(), Ending::Reset);
        }
        deregistered(&client);
        // What the first round leaves is the client's table and its like.
        let pool = lab.machine().pool_in_use();
        if round > 0 {
            assert_eq!(*settled.get_or_insert(pool), pool, "blocks and bytes of pool after round {round}");
        }
        started(&client, APPLICATION);
        let (listener, _) = listening(&client, APPLICATION);
        let (accept, idle) = (listener.begin_events(Events::ACCEPT), connected(&client, APPLICATION));
        let read = idle.socket.begin_events(EVERY_OF_CONNECTION & !Events::CONNECT);
        waits(&accept);
        waits(&read);
        client.cleanup(APPLICATION).unwrap();
        cancelled(accept);
        cancelled(read);
    }
}

/// contract: WSP-7, WSA-15
#[test]
fn no_event_callback_runs_when_the_last_cleanup_has_completed_and_the_driver_can_be_unloaded() {
    for (round, provider) in (0..40).zip([APPLICATION, TRANSPORT, Provider::San].into_iter().cycle()) {
        let lab = Lab::storm(round);
        let client = lab.client();
        started(&client, provider);
        let (socket, mut peer) = {
            let connection = connected(&client, provider);
            (connection.socket, connection.peer)
        };
        let mut event = socket.begin_events(Events::READ | Events::CLOSE);
        let sender = thread::spawn(move || {
            // The reset ends it.
            while peer.send(b"data").is_ok() {}
        });
        let mut receive = socket.begin_receive(3);
        assert!(receive.completion(PATIENCE).is_ok());
        client.cleanup(provider).unwrap();
        assert_eq!(lab.machine().network().live(), Vec::<String>::new());
        assert!(event.completion(PATIENCE).is_ok());
        client.close();
        // The lab's end unloads the driver at once: a callback that still ran, or came, would be a violation.
        drop(lab);
        sender.join().unwrap();
    }
}

/// contract: WSA-9, CARD-3
#[test]
fn events_that_race_with_the_last_cleanup_are_told_or_cancelled_and_never_both() {
    let lab = Lab::start();
    let client = lab.client();
    let peers = Listener::start().unwrap();
    let (mut told, mut cancelled) = (0_u64, 0_u64);
    for _ in 0..100 {
        started(&client, APPLICATION);
        let mut connection = contract::traffic::connected_to(&client, APPLICATION, &peers);
        let mut event = connection.socket.begin_events(Events::READ | Events::CLOSE);
        thread::scope(|scope| {
            scope.spawn(|| connection.peer.send(b"race"));
            client.cleanup(APPLICATION).unwrap();
        });
        assert!(event.is_complete(), "nothing is told after the last cleanup");
        let completion = event.completion(PATIENCE).unwrap();
        match WsaError::from_status(completion.status) {
            None => told += 1,
            Some(WsaError::OperationAborted) => {
                assert_eq!(completion.information, 0);
                cancelled += 1;
            }
            other => panic!("{other:?}"),
        }
        nothing_held(&client);
    }
    let tally = client.ledger().unwrap().tally(Kind::Events);
    assert_eq!((tally.taken, tally.completed, tally.cancelled), (told + cancelled, 100, cancelled));
}

/// contract: WSA-9, SAN-5
#[test]
fn what_happens_once_a_close_has_begun_is_told_to_nobody() {
    for (round, provider) in (0..).zip([APPLICATION, Provider::San, TRANSPORT, APPLICATION]) {
        let lab = Lab::delaying(200, round);
        let client = lab.client();
        started(&client, provider);
        for _ in 0..4 {
            let mut connection = connected(&client, provider);
            // The close is graceful and awaited: it sets a timer, beside the watchdog's, and ends who waits for events after that.
            connection.socket.set_linger(Linger { l_onoff: 1, l_linger: 600 }).unwrap();
            let event = connection.socket.begin_events(Events::READ);
            let mut close = thread::scope(|scope| {
                let close = scope.spawn(|| connection.socket.begin_close());
                while lab.machine().timers() < 2 && !event.is_complete() {
                    thread::yield_now();
                }
                connection.peer.send(b"late").unwrap();
                close.join().unwrap()
            });
            cancelled(event);
            drop(connection.peer);
            close.wait(PATIENCE).unwrap();
        }
        client.cleanup(provider).unwrap();
        deregistered(&client);
    }
}

/// contract: CARD-2
#[test]
fn data_that_a_receive_takes_while_it_is_told_of_is_told_of_or_waited_for_again_and_never_as_nothing() {
    for round in 0..40 {
        let lab = Lab::storm(round);
        let client = lab.started();
        let mut connection = connected(&client, APPLICATION);
        for _ in 0..5 {
            let event = connection.socket.begin_events(Events::READ);
            let mut receive = thread::scope(|scope| {
                scope.spawn(|| connection.peer.send(b"data"));
                connection.socket.begin_receive(4)
            });
            assert_eq!(receive.wait(PATIENCE).unwrap(), b"data");
            // Told before the receive took it, or not: then of the next.
            connection.peer.send(b"more").unwrap();
            assert_eq!(told(event), (Events::READ, 0));
            assert_eq!(connection.socket.receive(4).unwrap(), b"more");
        }
        client.cleanup(APPLICATION).unwrap();
        deregistered(&client);
    }
}

/// contract: X-1, CARD-3
#[test]
fn a_close_and_a_cancel_end_who_waits_for_events() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let first = connection.socket.begin_events(Events::READ);
    fails(connection.socket.begin_events(Events::READ).wait(PATIENCE), WsaError::Already);
    first.cancel();
    cancelled(first);
    let second = connection.socket.begin_events(Events::READ);
    connection.socket.close().unwrap();
    cancelled(second);
    let lingering = connected(&client, APPLICATION);
    let third = lingering.socket.begin_events(Events::READ);
    lingering.socket.close_gracefully(None).unwrap();
    cancelled(third);
    let (listener, _) = listening(&client, APPLICATION);
    let fourth = listener.begin_events(Events::ACCEPT);
    fails(listener.begin_events(Events::ACCEPT).wait(PATIENCE), WsaError::Already);
    client.cancel_all();
    cancelled(fourth);
    let fifth = listener.begin_events(Events::ACCEPT);
    listener.close().unwrap();
    cancelled(fifth);
}

/// contract: CARD-2
#[test]
fn events_that_do_not_suit_a_socket_or_its_state_are_refused() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let (listener, _) = listening(&client, APPLICATION);
    let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
    let refused = |socket: &Socket, mask: u32, error: WsaError| {
        fails(socket.begin_events(mask).wait(PATIENCE), error);
    };
    refused(&connection.socket, Events::ACCEPT, WsaError::NotSupported);
    refused(&listener, Events::READ | Events::ACCEPT, WsaError::NotSupported);
    refused(&datagrams, Events::CLOSE, WsaError::NotSupported);
    refused(&datagrams, Events::READ, WsaError::Invalid);
    refused(&bound(&client, APPLICATION), Events::READ, WsaError::NotConnected);
    refused(&client.socket(APPLICATION, Role::Listen).unwrap(), Events::ACCEPT, WsaError::Invalid);
    for mask in [0, 2, 4, 0x40, Events::READ | 0x8000_0000, u32::MAX] {
        let input = Events { socket: connection.socket.handle(), mask, reserved: 0 };
        let output = size_of::<EventsReply>();
        raw::refused(&client, Ioctl::Events as u32, input.as_bytes(), output, WsaError::Invalid.status());
    }
    datagrams.bind(any()).unwrap();
    assert_eq!(client.ledger().unwrap().tally(Kind::Events).taken, 0, "what is refused counts nowhere");
}
