//! Requests that stay pending: listeners, connections and their peers, as `demo` and `hold` set them up.

use crate::{
    Accepted, Client, Error, Operation, Socket,
    abi::{Address, Kind, Provider, Role, WsaError},
    device::Completion,
    peer::{Listener, Peer, free_port},
};
use std::time::Duration;

/// How long anything that should happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How many bytes a pending receive takes.
const RECEIVE: usize = 4096;
/// How many ports are tried before the host is said to have none.
const PORTS: usize = 8;
/// How many bytes one send has that is meant to stay pending.
const BULK: usize = 16 << 20;
/// How many of those the host's socket buffers may swallow.
const BULKS: usize = 16;
/// A send that has not ended after this time waits for its peer.
const STUCK: Duration = Duration::from_millis(400);

/// One request that stays pending.
pub(crate) struct Held {
    pub kind: Kind,
    /// Which connection it belongs to, for a person.
    pub place: String,
    pub operation: Operation<Completion>,
}

/// A kernel connection and the peer program at its other end.
pub(crate) struct Connection {
    pub socket: Socket,
    pub peer: Peer,
    pub place: String,
}

impl Connection {
    /// Posts a receive, which stays pending until the peer sends.
    pub fn receive(&self) -> Held {
        Held { kind: Kind::Receive, place: self.place.clone(), operation: self.socket.begin_receive(RECEIVE).untyped() }
    }

    /// Sends to the peer, who does not read, until a send stays pending. Tells how many bytes that one has.
    pub fn fill(&self) -> Result<(Held, usize), Error> {
        for _ in 0..BULKS {
            let mut operation = self.socket.begin_send(vec![0x5A; BULK]);
            if operation.ended_within(STUCK)? {
                continue;
            }
            let place = self.place.clone();
            return Ok((Held { kind: Kind::Send, place, operation: operation.untyped() }, BULK));
        }
        let seen = format!("{BULKS} sends of {} MiB ended although the peer reads nothing", BULK >> 20);
        Err(Error::unexpected("fill a connection", seen))
    }
}

/// A kernel listener with an accept pending.
pub(crate) struct KernelListener {
    socket: Socket,
    port: u16,
    accept: Operation<Accepted>,
}

impl KernelListener {
    /// Listens on a port of 127.0.0.1 that is free.
    pub fn start(client: &Client, provider: Provider) -> Result<Self, Error> {
        let mut tried = 0;
        loop {
            let port = free_port()?;
            let socket = client.socket(provider, Role::Listen)?;
            tried += 1;
            match socket.bind(Address::v4([127, 0, 0, 1], port)).and_then(|()| socket.listen(16)) {
                Ok(()) => {
                    return Ok(Self { accept: socket.begin_accept(), socket, port });
                }
                // Somebody else took the port in between.
                Err(error) if error.winsock() == Some(WsaError::AddressInUse) && tried < PORTS => socket.close()?,
                Err(error) => return Err(error),
            }
        }
    }

    pub fn address(&self) -> Address {
        Address::v4([127, 0, 0, 1], self.port)
    }

    /// A peer program connects, the pending accept takes it, and the next accept is posted.
    pub fn take_peer(&mut self) -> Result<Connection, Error> {
        let peer = Peer::connect(self.address())?;
        let accepted = self.accept.wait(PATIENCE)?;
        self.accept = self.socket.begin_accept();
        let place = place(&peer, "accepted from");
        Ok(Connection { socket: accepted.socket, peer, place })
    }

    /// The accept that is pending, and the listener's socket.
    pub fn into_parts(self) -> (Operation<Accepted>, Socket) {
        (self.accept, self.socket)
    }

    /// The accept that is pending.
    pub fn into_held(self) -> Held {
        let place = format!("{:?} listening", self.address());
        Held { kind: Kind::Accept, place, operation: self.accept.untyped() }
    }
}

/// A kernel socket connects to a peer program's listener.
pub(crate) fn connect_to(client: &Client, provider: Provider, listener: &Listener) -> Result<Connection, Error> {
    let socket = client.socket(provider, Role::Connection)?;
    socket.bind(Address::v4([0, 0, 0, 0], 0))?;
    let mut connect = socket.begin_connect(listener.address());
    let peer = listener.accept()?;
    connect.wait(PATIENCE)?;
    let place = place(&peer, "connected to");
    Ok(Connection { socket, peer, place })
}

/// A kernel socket's address, and its peer's, as the peer sees them.
fn place(peer: &Peer, how: &str) -> String {
    match (peer.remote(), peer.address()) {
        (Some(kernel), Some(peer)) => format!("{kernel:?} {how} {peer:?}"),
        _ => how.to_owned(),
    }
}
