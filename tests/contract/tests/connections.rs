//! Addresses, families, and the end of a connection.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, Lab, PATIENCE,
    abi::{AF_INET6, Address, Role, WsaError},
    check::fails,
    traffic::{accepted, any, bound, connected, listening, local},
};
use std::{
    io::{Read, Write},
    net::{Ipv6Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};
use wskctl::peer::Ending;

/// contract: X-10
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK tells no address of a socket")]
fn both_ends_of_a_connection_are_told_their_addresses() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    assert_eq!(listener.local_address().unwrap(), address);
    fails(listener.peer_address(), WsaError::NotSupported);
    let taken = accepted(&mut listener.begin_accept(), address);
    assert_eq!(taken.socket.local_address().unwrap(), address);
    assert_eq!(Some(taken.socket.peer_address().unwrap()), taken.peer.address());

    let made = connected(&client, APPLICATION);
    assert_ne!(made.socket.local_address().unwrap().port(), 0, "the stack chose a port");
    assert_eq!(made.socket.peer_address().unwrap().as_v4(), Some([127, 0, 0, 1]));

    let unbound = client.socket(APPLICATION, Role::Connection).unwrap();
    fails(unbound.local_address(), WsaError::Invalid);
    fails(unbound.peer_address(), WsaError::NotConnected);
}

/// contract: X-10
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK has no IPv6")]
fn a_kernel_socket_connects_and_listens_over_ipv6() {
    let lab = Lab::start();
    let client = lab.started();
    let localhost = |port| Address::v6(Ipv6Addr::LOCALHOST.octets(), port, 0);

    let program = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let socket = client.socket_of(APPLICATION, AF_INET6, Role::Connection).unwrap();
    socket.bind(localhost(0)).unwrap();
    socket.connect(program.local_addr().unwrap().into()).unwrap();
    let (mut peer, _) = program.accept().unwrap();
    socket.send(b"six".to_vec()).unwrap();
    let mut bytes = [0; 3];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"six");
    assert_eq!(socket.peer_address().unwrap(), program.local_addr().unwrap().into());

    let listener = client.socket_of(APPLICATION, AF_INET6, Role::Listen).unwrap();
    listener.bind(localhost(0)).unwrap();
    listener.listen(1).unwrap();
    let port = listener.local_address().unwrap().port();
    let mut accept = listener.begin_accept();
    let mut caller = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    let taken = accept.wait(PATIENCE).unwrap();
    assert_eq!(taken.remote, Address::from(caller.local_addr().unwrap()));
    caller.write_all(b"also six").unwrap();
    assert_eq!(taken.socket.receive(16).unwrap(), b"also six");
}

/// contract: CARD-2
#[test]
fn an_address_of_another_family_is_refused_and_changes_nothing() {
    let lab = Lab::start();
    let client = lab.started();
    let socket = client.socket(APPLICATION, Role::Connection).unwrap();
    fails(socket.bind(Address::v6(Ipv6Addr::LOCALHOST.octets(), 0, 0)), WsaError::FamilyNotSupported);
    socket.bind(any()).unwrap();
    fails(socket.connect(Address::v6(Ipv6Addr::LOCALHOST.octets(), 9, 0)), WsaError::FamilyNotSupported);
    let six = client.socket_of(APPLICATION, AF_INET6, Role::Connection).unwrap();
    fails(six.bind(local(0)), WsaError::FamilyNotSupported);
}

/// contract: WSA-12
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK has no shutdown")]
fn after_shutdown_and_the_peers_close_every_byte_has_arrived_at_any_amount() {
    for (amount, pause) in [(1, 0), (100_000, 1), (8 << 20, 0), (3_000_000, 5), (64 << 20, 0)] {
        let lab = Lab::start();
        let client = lab.started();
        let program = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = bound(&client, APPLICATION);
        socket.connect(program.local_addr().unwrap().into()).unwrap();
        let (peer, _) = program.accept().unwrap();
        let reader = thread::spawn(move || read_slowly(peer, Duration::from_millis(pause)));
        let data: Vec<u8> = (0..amount).map(|index| u8::try_from(index % 251).unwrap()).collect();
        assert_eq!(socket.send(data.clone()).unwrap().bytes, amount);
        let mut shutdown = socket.begin_shutdown(wskctl::abi::Shutdown::SEND);
        assert_eq!(socket.receive(16).unwrap(), b"", "the peer closes when it has read everything");
        shutdown.wait(PATIENCE).unwrap();
        socket.close().unwrap();
        client.cleanup(APPLICATION).unwrap();
        assert!(reader.join().unwrap() == data, "{amount} bytes arrive unchanged");
    }
}

/// Reads to the end of the stream, in chunks with a pause between them, and closes.
fn read_slowly(mut peer: TcpStream, pause: Duration) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match peer.read(&mut chunk).expect("no reset") {
            0 => return all,
            length => all.extend_from_slice(&chunk[..length]),
        }
        thread::sleep(pause);
    }
}

/// contract: CARD-2
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK has no shutdown")]
fn a_shut_down_direction_sends_no_more_and_receives_on() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let mut shutdown = connection.socket.begin_shutdown(wskctl::abi::Shutdown::SEND);
    assert_eq!(connection.peer.ending().unwrap(), Ending::EndOfFile);
    fails(connection.socket.send(vec![1]), WsaError::Shutdown);
    fails(connection.socket.shutdown(), WsaError::Shutdown);
    connection.peer.send(b"still here").unwrap();
    assert_eq!(connection.socket.receive(16).unwrap(), b"still here");
    shutdown.wait(PATIENCE).unwrap();
    fails(bound(&client, APPLICATION).shutdown(), WsaError::NotConnected);
    let (listener, _) = listening(&client, APPLICATION);
    fails(listener.shutdown(), WsaError::NotSupported);
}

/// contract: CARD-2
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK has no shutdown")]
fn an_aborted_connection_is_reset() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    connection.socket.abort().unwrap();
    assert_eq!(connection.peer.ending().unwrap(), Ending::Reset);
}
