//! Sockets with real peers, as most tests need them.

use crate::PATIENCE;
use socket2::{Domain, Type};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};
use wskctl::{
    Accepted, Client, Operation, Sent, Socket,
    abi::{Address, Provider, Role},
    peer::{Listener, Peer},
};

/// A kernel socket and the peer program at the other end of its connection.
pub struct Connection {
    /// The kernel's end.
    pub socket: Socket,
    /// The peer's end.
    pub peer: Peer,
}

/// Any address of this machine, and any port.
#[must_use]
pub const fn any() -> Address {
    Address::v4([0, 0, 0, 0], 0)
}

/// A port of 127.0.0.1.
#[must_use]
pub const fn local(port: u16) -> Address {
    Address::v4([127, 0, 0, 1], port)
}

/// A new connection that the kernel socket makes.
///
/// # Panics
/// It can't be made.
#[must_use]
pub fn connected(client: &Client, provider: Provider) -> Connection {
    connected_to(client, provider, &Listener::start().expect("a peer's listener"))
}

/// A new connection that the kernel socket makes, to that listener.
///
/// # Panics
/// It can't be made.
#[must_use]
pub fn connected_to(client: &Client, provider: Provider, listener: &Listener) -> Connection {
    let socket = bound(client, provider);
    let mut connect = socket.begin_connect(listener.address());
    let peer = listener.accept().expect("the kernel socket connects");
    connect.wait(PATIENCE).expect("the connect succeeds");
    Connection { socket, peer }
}

/// A kernel socket that can connect.
///
/// # Panics
/// It can't be made.
#[must_use]
pub fn bound(client: &Client, provider: Provider) -> Socket {
    let socket = client.socket(provider, Role::Connection).expect("a socket");
    socket.bind(any()).expect("a bind");
    socket
}

/// An address of this machine that nobody else uses: each call gives another of the 127.0.0.0/8 that Linux has, so that tests which
/// run at the same time never meet.
#[must_use]
pub fn unused_address() -> Address {
    static CALLS: AtomicU16 = AtomicU16::new(1);
    let [low, high] = CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    let program = 64 + std::process::id() % 128;
    Address::v4([127, u8::try_from(program).unwrap_or(64), high, low], 5057)
}

/// A kernel socket that listens, and where.
///
/// # Panics
/// It can't listen.
#[must_use]
pub fn listening(client: &Client, provider: Provider) -> (Socket, Address) {
    let address = unused_address();
    let socket = client.socket(provider, Role::Listen).expect("a socket");
    socket.bind(address).expect("a bind");
    socket.listen(16).expect("a listen");
    (socket, address)
}

/// A new connection that the listener takes with the pending accept.
///
/// # Panics
/// It is not taken.
#[must_use]
pub fn accepted(accept: &mut Operation<Accepted>, address: Address) -> Connection {
    let peer = Peer::connect(address).expect("the kernel listens");
    let accepted = accept.wait(PATIENCE).expect("the accept succeeds");
    assert_eq!(Some(accepted.remote), peer.address(), "the accept tells the peer's address");
    assert_eq!(accepted.local, address, "the accept tells the listener's address");
    Connection { socket: accepted.socket, peer }
}

/// A send that can't finish, on a connection whose peer does not read.
///
/// # Panics
/// The host's socket buffers take it all.
pub fn stuck_send(socket: &Socket) -> Operation<Sent> {
    for _ in 0..16 {
        let mut send = socket.begin_send(vec![0x5A; 16 << 20]);
        if send.completion(Duration::from_millis(300)).is_err() {
            return send;
        }
    }
    panic!("256 MiB are taken although the peer reads nothing")
}

/// A connect that nobody answers: the listener's queue is full. What fills the queue has to be kept.
///
/// # Panics
/// The queue never gets full.
pub fn stuck_connect(client: &Client, provider: Provider) -> (Socket, Operation<()>, Crowd) {
    const MOST: usize = 256;
    const SOON: Duration = Duration::from_millis(150);
    // Not the standard library's, whose queue is as long as the system allows: thousands of connections.
    let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a listener");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("any port");
    listener.listen(1).expect("it listens");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("it has an address");
    let callers: Vec<_> = (0..MOST).map_while(|_| TcpStream::connect_timeout(&address, SOON).ok()).collect();
    assert!(callers.len() < MOST, "the queue takes everybody");
    let socket = bound(client, provider);
    let mut connect = socket.begin_connect(address.into());
    assert!(connect.completion(SOON).is_err(), "the connect is answered");
    (socket, connect, Crowd { _listener: listener, _callers: callers })
}

/// A listener whose queue is full.
pub struct Crowd {
    _listener: socket2::Socket,
    _callers: Vec<TcpStream>,
}
