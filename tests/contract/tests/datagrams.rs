//! Datagrams: UDP over IPv4 and IPv6, to any address and to a peer.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, TRANSPORT,
    abi::{
        AF_INET6, Address, Ioctl, Kind, MAX_DATAGRAM, Provider, ReceivedFrom, Role, SendTo, Shutdown, Transfer,
        WsaError,
    },
    check::{cancelled, deregistered, fails, pending},
    raw, started,
    traffic::{any, connected, local},
};
use std::{
    net::{Ipv6Addr, UdpSocket},
    thread,
};
use wskctl::{Client, Error, Operation, Received, Socket, device::Completion};
use zerocopy::IntoBytes;

/// A kernel socket for datagrams, bound to a port of 127.0.0.1 that the stack chose.
fn datagram_socket(client: &Client, provider: Provider) -> (Socket, Address) {
    let socket = client.socket(provider, Role::Datagram).unwrap();
    socket.bind(local(0)).unwrap();
    let address = socket.local_address().unwrap();
    (socket, address)
}

/// A peer program's socket.
fn program() -> (UdpSocket, Address) {
    let program = UdpSocket::bind("127.0.0.1:0").unwrap();
    program.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = program.local_addr().unwrap().into();
    (program, address)
}

fn port_of(address: Address) -> (&'static str, u16) {
    ("127.0.0.1", address.port())
}

fn receive(program: &UdpSocket) -> (Vec<u8>, Address) {
    let mut buffer = vec![0; 70_000];
    let (length, from) = program.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    (buffer, from.into())
}

fn data(mut operation: Operation<Received>) -> Result<Vec<u8>, Error> {
    operation.wait(PATIENCE).map(|received| received.data)
}

/// contract: X-10
#[test]
fn datagrams_go_both_ways_whole_and_with_the_address_that_they_came_from() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, here) = datagram_socket(&client, APPLICATION);
    let (program, there) = program();
    for length in [1, 1000, 65_507] {
        let bytes = vec![0xA5; length];
        let sent = socket.send_to(bytes.clone(), there).unwrap();
        assert_eq!((sent.bytes, &sent.buffer), (length, &bytes));
        assert_eq!(receive(&program), (bytes.clone(), here));
        assert_eq!(program.send_to(&bytes, port_of(here)).unwrap(), length);
        let received = socket.receive_from(length).unwrap();
        assert_eq!(received, Received { data: bytes, address: there, flags: 0, is_truncated: false });
    }
    assert_eq!(usize::try_from(MAX_DATAGRAM), Ok(65_507));
}

/// contract: X-10
#[test]
fn datagrams_go_both_ways_over_ipv6() {
    let lab = Lab::start();
    let client = lab.started();
    let socket = client.socket_of(APPLICATION, AF_INET6, Role::Datagram).unwrap();
    socket.bind(Address::v6(Ipv6Addr::LOCALHOST.octets(), 0, 0)).unwrap();
    let here = socket.local_address().unwrap();
    let program = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    program.set_read_timeout(Some(PATIENCE)).unwrap();
    let there = program.local_addr().unwrap().into();
    socket.send_to(b"six".to_vec(), there).unwrap();
    assert_eq!(receive(&program), (b"six".to_vec(), here));
    program.send_to(b"six back", (Ipv6Addr::LOCALHOST, here.port())).unwrap();
    let received = socket.receive_from(64).unwrap();
    assert_eq!((&*received.data, received.address), (&b"six back"[..], there));
    fails(socket.send_to(vec![1], local(9)), WsaError::FamilyNotSupported);
}

/// contract: X-10
#[test]
fn a_datagram_without_bytes_is_sent_and_received() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, here) = datagram_socket(&client, APPLICATION);
    let (program, there) = program();
    assert_eq!(socket.send_to(Vec::new(), there).unwrap().bytes, 0);
    assert_eq!(receive(&program), (Vec::new(), here));
    socket.connect(there).unwrap();
    assert_eq!(socket.send(Vec::new()).unwrap().bytes, 0);
    assert_eq!(receive(&program), (Vec::new(), here));
    program.send_to(b"", port_of(here)).unwrap();
    program.send_to(b"next", port_of(here)).unwrap();
    let empty = socket.receive_from(8).unwrap();
    assert_eq!((empty.data.len(), empty.address, empty.is_truncated), (0, there, false));
    assert_eq!(socket.receive(8).unwrap(), b"next");
}

/// contract: X-10
#[test]
fn of_a_datagram_that_does_not_fit_what_fits_is_received_and_the_rest_is_lost() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, here) = datagram_socket(&client, APPLICATION);
    let (program, there) = program();
    for _ in 0..4 {
        program.send_to(b"too long", port_of(here)).unwrap();
    }
    program.send_to(b"whole", port_of(here)).unwrap();
    let cut = socket.receive_from(3).unwrap();
    assert_eq!((&*cut.data, cut.address, cut.flags), (&b"too"[..], there, ReceivedFrom::TRUNCATED));
    assert!(cut.is_truncated);
    let none = socket.receive_from(0).unwrap();
    assert_eq!((none.data.len(), none.is_truncated), (0, true));
    let mut plain = socket.begin_receive(5);
    let completion = plain.completion(PATIENCE).unwrap();
    assert_eq!(WsaError::from_status(completion.status), Some(WsaError::MessageSize));
    assert_eq!((completion.information, &*completion.buffer), (5, &b"too l"[..]));
    fails(socket.receive(7), WsaError::MessageSize);
    assert_eq!(socket.receive(8).unwrap(), b"whole");
}

/// contract: X-10
#[test]
fn a_datagram_that_is_too_long_is_not_sent() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, _) = datagram_socket(&client, APPLICATION);
    let (program, there) = program();
    socket.connect(there).unwrap();
    for length in [65_508, 65_536, 1 << 20] {
        fails(socket.send_to(vec![0; length], there), WsaError::MessageSize);
        fails(socket.send(vec![0; length]), WsaError::MessageSize);
    }
    socket.send(b"fits".to_vec()).unwrap();
    assert_eq!(receive(&program).0, b"fits");
}

/// contract: X-10
#[test]
fn a_connected_datagram_socket_sends_to_its_peer_and_receives_from_nobody_else() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, here) = datagram_socket(&client, APPLICATION);
    let ((peer, peer_address), (stranger, stranger_address)) = (program(), program());
    fails(socket.send(vec![1]), WsaError::NotConnected);
    fails(socket.send_to(vec![1], Address::default()), WsaError::DestinationAddressRequired);
    fails(socket.peer_address(), WsaError::NotConnected);
    socket.connect(peer_address).unwrap();
    assert_eq!(socket.peer_address().unwrap(), peer_address);
    stranger.send_to(b"strange", port_of(here)).unwrap();
    peer.send_to(b"known", port_of(here)).unwrap();
    assert_eq!(socket.receive_from(16).unwrap().data, b"known");
    socket.send(b"to the peer".to_vec()).unwrap();
    assert_eq!(receive(&peer), (b"to the peer".to_vec(), here));
    socket.send_to(b"zeros name the peer".to_vec(), Address::default()).unwrap();
    assert_eq!(receive(&peer).0, b"zeros name the peer");
    socket.send_to(b"elsewhere".to_vec(), stranger_address).unwrap();
    assert_eq!(receive(&stranger).0, b"elsewhere");

    socket.connect(stranger_address).unwrap();
    assert_eq!(socket.peer_address().unwrap(), stranger_address);
    socket.send(b"to the new one".to_vec()).unwrap();
    assert_eq!(receive(&stranger).0, b"to the new one");
}

/// contract: X-10
#[test]
fn requests_that_do_not_suit_a_datagram_socket_or_its_state_say_so() {
    let lab = Lab::start();
    let client = lab.started();
    let (_, there) = program();
    let fresh = client.socket(APPLICATION, Role::Datagram).unwrap();
    fails(fresh.send_to(vec![1], there), WsaError::Invalid);
    fails(fresh.send(vec![1]), WsaError::Invalid);
    fails(fresh.receive_from(1), WsaError::Invalid);
    fails(fresh.receive(1), WsaError::Invalid);
    fails(fresh.connect(there), WsaError::Invalid);
    fails(fresh.local_address(), WsaError::Invalid);
    fresh.bind(any()).unwrap();
    fails(fresh.bind(any()), WsaError::Invalid);
    fails(fresh.listen(1), WsaError::NotSupported);
    fails(fresh.accept().map(drop), WsaError::NotSupported);
    fails(fresh.begin_receive_all(4).wait(PATIENCE), WsaError::NotSupported);
    fails(fresh.abort(), WsaError::NotSupported);
    fails(fresh.send_to(vec![1], local(0)), WsaError::AddressNotAvailable);
    fresh.begin_shutdown(Shutdown::SEND).wait(PATIENCE).unwrap();
    fails(fresh.send_to(vec![1], there), WsaError::Shutdown);
    fresh.close_gracefully(None).unwrap();
    fails(fresh.close(), WsaError::NotSocket);

    let stream = connected(&client, APPLICATION);
    fails(stream.socket.send_to(vec![1], there), WsaError::NotSupported);
    fails(stream.socket.receive_from(1), WsaError::NotSupported);
}

/// contract: WSA-5, WSA-10, CARD-3
#[test]
fn the_last_cleanup_cancels_the_datagrams_that_every_thread_sends_and_receives() {
    ends_with(APPLICATION);
}

/// contract: WSP-4
#[test]
fn the_last_cleanup_of_transport_cancels_the_datagrams_that_every_thread_sends_and_receives() {
    ends_with(TRANSPORT);
}

fn ends_with(provider: Provider) {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, provider);
    let (socket, here) = datagram_socket(&client, provider);
    let (program, there) = program();
    socket.connect(there).unwrap();
    lab.machine().network().hold_datagrams(true);
    let requests: Vec<Operation<Completion>> = thread::scope(|scope| {
        let request = || {
            [
                socket.begin_send(b"held".to_vec()).untyped(),
                socket.begin_send_to(b"held".to_vec(), there).untyped(),
                socket.begin_receive(16).untyped(),
                socket.begin_receive_from(16).untyped(),
            ]
        };
        let threads = [scope.spawn(request), scope.spawn(request), scope.spawn(request)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(pending(&client), 12);
    client.cleanup(provider).unwrap();
    requests.into_iter().for_each(cancelled);
    let ledger = client.ledger().unwrap();
    for kind in [Kind::Send, Kind::SendTo, Kind::Receive, Kind::ReceiveFrom] {
        let tally = ledger.tally(kind);
        assert_eq!((tally.taken, tally.completed, tally.cancelled), (3, 3, 3), "{kind:?}");
    }
    deregistered(&client);
    lab.machine().network().hold_datagrams(false);
    program.set_read_timeout(Some(GLANCE)).unwrap();
    assert!(program.recv_from(&mut [0; 16]).is_err(), "what was cancelled is sent");
    let _free_again = UdpSocket::bind(port_of(here)).expect("the port is free at once");
}

/// contract: X-1
#[test]
fn cancelling_one_receive_of_datagrams_among_many_ends_that_one_only() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, here) = datagram_socket(&client, APPLICATION);
    let (program, _) = program();
    let mut receives: Vec<_> = (0..5).map(|_| socket.begin_receive_from(16)).collect();
    let middle = receives.remove(2);
    middle.cancel();
    cancelled(middle);
    thread::sleep(GLANCE);
    assert!(receives.iter().all(|receive| !receive.is_complete()));
    for index in 0..4_u32 {
        program.send_to(&index.to_le_bytes(), port_of(here)).unwrap();
    }
    for (index, receive) in (0..4_u32).zip(receives) {
        assert_eq!(data(receive).unwrap(), index.to_le_bytes());
    }
}

/// contract: CARD-2
#[test]
fn a_buffer_without_room_for_the_address_is_refused() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, _) = datagram_socket(&client, APPLICATION);
    let input = Transfer { socket: socket.handle(), flags: 0, reserved: 0 };
    for length in 0..size_of::<ReceivedFrom>() {
        raw::refused(&client, Ioctl::ReceiveFrom as u32, input.as_bytes(), length, raw::BUFFER_TOO_SMALL);
    }
    let input = SendTo { socket: socket.handle(), address: local(9), reserved: 1 };
    raw::refused(&client, Ioctl::SendTo as u32, input.as_bytes(), 1, WsaError::Invalid.status());
}
