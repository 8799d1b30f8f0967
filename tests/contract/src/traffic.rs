//! Sockets with real peers, as most tests need them.

use crate::PATIENCE;
use wskctl::{
    Accepted, Client, Operation, Sent, Socket,
    abi::{Address, Provider, Role, WsaError},
    peer::{Listener, Peer, free_port},
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

/// A kernel socket that listens on 127.0.0.1, and its port.
///
/// # Panics
/// There is no port.
#[must_use]
pub fn listening(client: &Client, provider: Provider) -> (Socket, u16) {
    for _ in 0..16 {
        let port = free_port().expect("a free port");
        let socket = client.socket(provider, Role::Listen).expect("a socket");
        match socket.bind(local(port)) {
            Ok(()) => {
                socket.listen(16).expect("a listen");
                return (socket, port);
            }
            // Somebody else took the port in between.
            Err(error) if error.winsock() == Some(WsaError::AddressInUse) => socket.close().expect("a close"),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no port stays free")
}

/// A new connection that the listener takes with the pending accept.
///
/// # Panics
/// It is not taken.
#[must_use]
pub fn accepted(accept: &mut Operation<Accepted>, port: u16) -> Connection {
    let peer = Peer::connect(port).expect("the kernel listens");
    let accepted = accept.wait(PATIENCE).expect("the accept succeeds");
    assert_eq!(Some(accepted.remote), peer.address(), "the accept tells the peer's address");
    assert_eq!(accepted.local, local(port), "the accept tells the listener's address");
    Connection { socket: accepted.socket, peer }
}

/// A send that can't finish, on a connection whose peer does not read.
///
/// # Panics
/// The host's socket buffers take it all.
pub fn stuck_send(socket: &Socket) -> Operation<Sent> {
    for _ in 0..16 {
        let mut send = socket.begin_send(vec![0x5A; 16 << 20]);
        if send.completion(std::time::Duration::from_millis(300)).is_err() {
            return send;
        }
    }
    panic!("256 MiB are taken although the peer reads nothing")
}
