//! What sockets do between their creation and their close.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE,
    abi::{Kind, Role, WsaError},
    check::{cancelled, fails, pending, reset},
    traffic::{accepted, any, bound, connected, connected_to, listening, local, stuck_send, unused_address},
};
use std::thread;
use wskctl::peer::{Listener, Peer};

/// contract: CARD-2
#[test]
fn bytes_go_both_ways_through_a_socket_that_connected_and_one_that_was_accepted() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    for mut connection in [connected(&client, APPLICATION), accepted(&mut listener.begin_accept(), address)] {
        let sent = connection.socket.send(b"from the kernel".to_vec()).unwrap();
        assert_eq!((sent.bytes, &*sent.buffer), (15, &b"from the kernel"[..]));
        assert_eq!(connection.peer.receive(15).unwrap(), b"from the kernel");
        connection.peer.send(b"from the peer").unwrap();
        assert_eq!(connection.socket.receive(64).unwrap(), b"from the peer");
    }
}

/// contract: CARD-2
#[test]
fn eight_mebibytes_are_echoed_unchanged_while_both_directions_are_busy() {
    const BYTES: usize = 8 << 20;
    let lab = Lab::start();
    let client = lab.started();
    let echo = Listener::start().unwrap().echo();
    let socket = bound(&client, APPLICATION);
    socket.connect(echo.address()).unwrap();
    let data: Vec<u8> = (0..BYTES).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let back = thread::scope(|scope| {
        scope.spawn(|| {
            for chunk in data.chunks(100_000) {
                assert_eq!(socket.send(chunk.to_vec()).unwrap().bytes, chunk.len());
            }
        });
        let mut back = Vec::new();
        while back.len() < BYTES {
            let bytes = socket.receive(77_777).unwrap();
            assert!(!bytes.is_empty(), "the stream ended early");
            back.extend(bytes);
        }
        back
    });
    assert!(back == data, "the echo differs");
    socket.close().unwrap();
    assert_eq!(echo.join().unwrap(), BYTES as u64);
}

/// contract: CARD-2
#[test]
fn receives_complete_in_the_order_in_which_they_were_issued() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let receives: Vec<_> = (0..8).map(|_| connection.socket.begin_receive_all(4)).collect();
    for index in 0..8_u32 {
        connection.peer.send(&index.to_le_bytes()).unwrap();
    }
    for (index, mut receive) in (0_u32..).zip(receives) {
        assert_eq!(receive.wait(PATIENCE).unwrap(), index.to_le_bytes());
    }
}

/// contract: CARD-2
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK does not wait for all")]
fn a_receive_that_waits_for_all_ends_only_when_its_buffer_is_full() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let mut receive = connection.socket.begin_receive_all(8);
    connection.peer.send(b"half").unwrap();
    thread::sleep(GLANCE);
    assert!(!receive.is_complete());
    connection.peer.send(b"full").unwrap();
    assert_eq!(receive.wait(PATIENCE).unwrap(), b"halffull");
}

/// contract: CARD-2
#[test]
fn a_receive_gets_no_bytes_at_the_peers_graceful_close_and_wsaeconnreset_at_its_reset() {
    let lab = Lab::start();
    let client = lab.started();
    let mut graceful = connected(&client, APPLICATION);
    graceful.peer.send(b"last words").unwrap();
    graceful.peer.shut_down().unwrap();
    assert_eq!(graceful.socket.receive(64).unwrap(), b"last words");
    assert_eq!(graceful.socket.receive(64).unwrap(), b"");

    let abrupt = connected(&client, APPLICATION);
    abrupt.socket.send(b"never read".to_vec()).unwrap();
    let mut receive = abrupt.socket.begin_receive(8);
    thread::sleep(GLANCE);
    drop(abrupt.peer); // with unread data: the peer's host resets the connection
    fails(receive.wait(PATIENCE), WsaError::ConnectionReset);
}

/// contract: CARD-2
#[test]
fn a_connect_to_a_port_where_nobody_listens_is_refused() {
    let lab = Lab::start();
    let client = lab.started();
    let socket = bound(&client, APPLICATION);
    fails(socket.connect(unused_address()), WsaError::ConnectionRefused);
    fails(socket.receive(1), WsaError::NotConnected);
}

/// contract: CARD-2
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK says no more of an address of another machine than that it is invalid")]
fn an_address_that_is_taken_or_foreign_can_not_be_bound() {
    let lab = Lab::start();
    let client = lab.started();
    let (_, address) = listening(&client, APPLICATION);
    let socket = client.socket(APPLICATION, Role::Listen).unwrap();
    fails(socket.bind(address), WsaError::AddressInUse);
    fails(socket.bind(contract::abi::Address::v4([192, 0, 2, 1], 0)), WsaError::AddressNotAvailable);
    socket.bind(local(0)).expect("a bind that failed can be tried again");
}

/// contract: CARD-2
#[test]
fn a_request_in_the_wrong_state_or_on_the_wrong_kind_of_socket_says_which() {
    let lab = Lab::start();
    let client = lab.started();
    let fresh = client.socket(APPLICATION, Role::Connection).unwrap();
    fails(fresh.connect(local(9)), WsaError::Invalid);
    fails(fresh.send(vec![1]), WsaError::NotConnected);
    fails(fresh.receive(1), WsaError::NotConnected);
    fails(fresh.listen(1), WsaError::NotSupported);
    fails(fresh.accept().map(drop), WsaError::NotSupported);
    fresh.bind(any()).unwrap();
    fails(fresh.bind(any()), WsaError::Invalid);
    fails(fresh.send(vec![1]), WsaError::NotConnected);

    let connection = connected(&client, APPLICATION);
    fails(connection.socket.connect(local(9)), WsaError::IsConnected);
    fails(connection.socket.bind(any()), WsaError::Invalid);

    let listener = client.socket(APPLICATION, Role::Listen).unwrap();
    fails(listener.listen(1), WsaError::Invalid);
    fails(listener.accept().map(drop), WsaError::Invalid);
    fails(listener.connect(local(9)), WsaError::NotSupported);
    fails(listener.send(vec![1]), WsaError::NotSupported);
    fails(listener.receive(1), WsaError::NotSupported);
    listener.bind(local(0)).unwrap();
    fails(listener.accept().map(drop), WsaError::Invalid);
    listener.listen(1).unwrap();
    listener.listen(2).expect("the backlog of a listener can be changed");
}

/// contract: CARD-2
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK has no shutdown")]
fn a_connection_sends_nothing_at_once_and_does_not_receive_into_no_buffer() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    assert_eq!(connection.socket.send(Vec::new()).unwrap().bytes, 0);
    fails(connection.socket.receive(0), WsaError::Invalid);
    connection.socket.send(b"all there is".to_vec()).unwrap();
    assert_eq!(connection.peer.receive(12).unwrap(), b"all there is");
    fails(bound(&client, APPLICATION).send(Vec::new()), WsaError::NotConnected);
    let (listener, _) = listening(&client, APPLICATION);
    fails(listener.send(Vec::new()), WsaError::NotSupported);
    fails(listener.receive(0), WsaError::NotSupported);
    connection.socket.shutdown().unwrap();
    fails(connection.socket.send(Vec::new()), WsaError::Shutdown);
}

/// contract: CARD-2
#[test]
fn several_accepts_wait_at_once_and_each_takes_one_connection() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let accepts: Vec<_> = (0..5).map(|_| listener.begin_accept()).collect();
    assert_eq!(pending(&client), 5);
    let mut taken = Vec::new();
    for mut accept in accepts {
        let mut connection = accepted(&mut accept, address);
        connection.peer.send(b"hello").unwrap();
        assert_eq!(connection.socket.receive(8).unwrap(), b"hello");
        assert!(!taken.contains(&connection.socket.handle()));
        taken.push(connection.socket.handle());
    }
    assert_eq!(client.ledger().unwrap().sockets.open, 6);
}

/// contract: CARD-2
#[test]
fn an_accept_that_waits_is_not_overtaken_by_one_that_comes_later() {
    for round in 0..30 {
        let lab = Lab::storm(round);
        let client = lab.started();
        let (listener, address) = listening(&client, APPLICATION);
        let (mut first, mut second) = (listener.begin_accept(), listener.begin_accept());
        let _first_peer = Peer::connect(address).unwrap();
        first.wait(PATIENCE).unwrap();
        let mut third = listener.begin_accept();
        let second_peer = Peer::connect(address).unwrap();
        assert_eq!(Some(second.wait(PATIENCE).unwrap().remote), second_peer.address(), "round {round}");
        assert!(!third.is_complete());
        let third_peer = Peer::connect(address).unwrap();
        assert_eq!(Some(third.wait(PATIENCE).unwrap().remote), third_peer.address());
    }
}

/// contract: CARD-2
#[test]
fn connections_that_came_before_the_accept_are_taken_by_it() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let mut early: Vec<_> = (0..3).map(|_| Peer::connect(address).unwrap()).collect();
    for peer in &mut early {
        peer.send(b"early").unwrap();
    }
    for peer in &early {
        let accepted = listener.accept().unwrap();
        assert!(early.iter().any(|peer| peer.address() == Some(accepted.remote)), "{:?}", peer.address());
        assert_eq!(accepted.socket.receive(8).unwrap(), b"early");
    }
}

/// contract: CARD-3
#[test]
fn a_close_ends_the_sockets_requests_cancelled_and_resets_the_peer_and_leaves_other_sockets_alone() {
    let lab = Lab::start();
    let client = lab.started();
    let peers = Listener::start().unwrap();
    let mut connection = connected_to(&client, APPLICATION, &peers);
    let mut other = connected_to(&client, APPLICATION, &peers);
    let receives: Vec<_> = (0..3).map(|_| connection.socket.begin_receive(8)).collect();
    let mut other_receive = other.socket.begin_receive(8);
    let send = stuck_send(&connection.socket);
    connection.socket.close().unwrap();
    receives.into_iter().for_each(cancelled);
    cancelled(send);
    reset(&mut connection.peer);
    fails(connection.socket.close(), WsaError::NotSocket);
    fails(connection.socket.receive(1), WsaError::NotSocket);
    other.peer.send(b"alive").unwrap();
    assert_eq!(other_receive.wait(PATIENCE).unwrap(), b"alive");
    assert_eq!(client.ledger().unwrap().sockets.open, 1);
}

/// contract: WSA-11
#[test]
fn a_closed_listener_ends_its_accepts_and_stops_listening() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let accepts: Vec<_> = (0..3).map(|_| listener.begin_accept()).collect();
    listener.close().unwrap();
    accepts.into_iter().for_each(cancelled);
    assert!(Peer::connect(address).is_err());
    assert_eq!(client.ledger().unwrap().sockets.open, 0);
}

/// contract: X-1
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn cancelling_one_receive_among_many_ends_that_one_only() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let mut receives: Vec<_> = (0..9).map(|_| connection.socket.begin_receive_all(4)).collect();
    let middle = receives.remove(4);
    middle.cancel();
    cancelled(middle);
    thread::sleep(GLANCE);
    assert!(receives.iter().all(|receive| !receive.is_complete()));
    for index in 0..8_u32 {
        connection.peer.send(&index.to_le_bytes()).unwrap();
    }
    for (index, mut receive) in (0_u32..).zip(receives) {
        assert_eq!(receive.wait(PATIENCE).unwrap(), index.to_le_bytes());
    }
    assert_eq!(client.ledger().unwrap().tally(Kind::Receive).cancelled, 1);
}

/// contract: X-1
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn cancelling_an_accept_that_waits_or_is_out_leaves_the_others_to_take_connections() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let mut accepts: Vec<_> = (0..4).map(|_| listener.begin_accept()).collect();
    for index in [2, 0] {
        let accept = accepts.remove(index);
        accept.cancel();
        cancelled(accept);
    }
    for mut accept in accepts {
        let connection = accepted(&mut accept, address);
        connection.socket.close().unwrap();
    }
    assert_eq!(client.ledger().unwrap().sockets.open, 1);
}

/// contract: X-1
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn cancelling_everything_of_a_handle_ends_everything_and_the_sockets_stay() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let mut connection = connected(&client, APPLICATION);
    let accept = listener.begin_accept();
    let receives: Vec<_> = (0..4).map(|_| connection.socket.begin_receive(8)).collect();
    client.cancel_all();
    cancelled(accept);
    receives.into_iter().for_each(cancelled);
    connection.peer.send(b"alive").unwrap();
    assert_eq!(connection.socket.receive(8).unwrap(), b"alive");
    let _taken = accepted(&mut listener.begin_accept(), address);
}

/// contract: X-1
#[test]
fn a_cancel_that_races_with_data_gives_one_completion_with_data_or_without() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let mut received = Vec::new();
    let mut take = |completion: wskctl::device::Completion| {
        if completion.status == 0 {
            received.extend_from_slice(&completion.buffer[..completion.information]);
        } else {
            assert_eq!((completion.status, completion.information), (contract::check::STATUS_CANCELLED, 0));
        }
    };
    for sent in 0..200 {
        let mut receive = connection.socket.begin_receive(1);
        thread::scope(|scope| {
            scope.spawn(|| receive.cancel());
            connection.peer.send(&[sent]).unwrap();
        });
        take(receive.completion(PATIENCE).unwrap());
    }
    connection.peer.shut_down().unwrap();
    loop {
        let rest = connection.socket.receive(256).unwrap();
        if rest.is_empty() {
            break;
        }
        received.extend(rest);
    }
    assert_eq!(received, (0..200).collect::<Vec<u8>>(), "no byte is lost, doubled or moved");
}

/// contract: WSA-13
#[test]
fn a_thousand_sockets_come_and_go() {
    let lab = Lab::start();
    let client = lab.started();
    let sockets: Vec<_> = (0..1000).map(|_| client.socket(APPLICATION, Role::Connection).unwrap()).collect();
    assert_eq!(client.ledger().unwrap().sockets.open, 1000);
    for socket in sockets.iter().step_by(2) {
        socket.close().unwrap();
    }
    assert_eq!(client.ledger().unwrap().sockets.open, 500);
    client.cleanup(APPLICATION).unwrap();
    contract::check::deregistered(&client);
}
