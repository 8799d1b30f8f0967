//! The peer programs of a scenario. Each act runs in a thread of its own, so that no peer can hold the scenario up beyond a deadline.

use super::step::{Ends, PeerAct, Target};
use crate::{
    Cause, Error,
    abi::{AF_INET6, Address},
    peer::{Ending, Listener, Peer, host_address},
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// Listeners and connections, by name.
#[derive(Default)]
pub(super) struct Peers {
    listeners: HashMap<String, Arc<Listener>>,
    connections: HashMap<String, Peer>,
    /// Sockets for datagrams.
    sockets: HashMap<String, Arc<UdpSocket>>,
    /// Handles of every connection there was, to end what threads still do.
    all: Vec<Peer>,
}

/// What an act came to.
pub(super) enum PeerOutcome {
    Nothing(&'static str),
    Connected(String, Peer),
    /// Bytes, and of a datagram who sent them.
    Received(Vec<u8>, Option<Address>),
    Ended {
        wanted: Ends,
        seen: Ending,
    },
}

impl Peers {
    /// Begins an act. `kernel` tells where a kernel socket listens.
    pub fn start(
        &mut self,
        act: &PeerAct,
        within: Duration,
        kernel: impl Fn(&str) -> Result<Address, String>,
    ) -> Result<mpsc::Receiver<Result<PeerOutcome, Error>>, String> {
        let (sender, receiver) = mpsc::channel();
        let act: Box<dyn FnOnce() -> Result<PeerOutcome, Error> + Send> = match act {
            PeerAct::Listen { name, family } => {
                let listener = Listener::start_on(loopback(*family)).map_err(|error| error.to_string())?;
                self.listeners.insert(name.clone(), Arc::new(listener));
                Box::new(|| Ok(PeerOutcome::Nothing("listening")))
            }
            PeerAct::Accept { listener, name } => {
                let listener = self.listeners.get(listener).ok_or("that listener is gone")?.clone();
                let name = name.clone();
                Box::new(move || Ok(PeerOutcome::Connected(name, listener.accept_within(within)?)))
            }
            PeerAct::Connect { name, to, refused } => {
                let address = self.target(to, kernel)?;
                let (name, refused) = (name.clone(), *refused);
                Box::new(move || connect(name, address, refused))
            }
            PeerAct::Send { peer, data } => {
                let (mut peer, data) = (self.handle(peer)?, data.0.clone());
                Box::new(move || peer.send(&data).map(|()| PeerOutcome::Nothing("sent")))
            }
            PeerAct::Receive { peer, length } => {
                let (mut peer, length) = (self.handle(peer)?, *length);
                Box::new(move || {
                    let data = match length {
                        Some(length) => peer.receive(length)?,
                        None => peer.receive_to_end()?,
                    };
                    Ok(PeerOutcome::Received(data, None))
                })
            }
            PeerAct::Shutdown { peer } => {
                let peer = self.handle(peer)?;
                Box::new(move || peer.shut_down().map(|()| PeerOutcome::Nothing("done")))
            }
            PeerAct::Close { peer } => {
                self.forget(peer, false)?;
                Box::new(|| Ok(PeerOutcome::Nothing("closed")))
            }
            PeerAct::Reset { peer } => {
                self.forget(peer, true)?;
                Box::new(|| Ok(PeerOutcome::Nothing("reset")))
            }
            PeerAct::Socket { name, family } => {
                let socket = UdpSocket::bind((loopback(*family), 0)).map_err(|error| error.to_string())?;
                self.sockets.insert(name.clone(), Arc::new(socket));
                Box::new(|| Ok(PeerOutcome::Nothing("bound")))
            }
            PeerAct::SendTo { peer, to, data } => {
                let (socket, data) = (self.socket(peer)?, data.0.clone());
                let to = host_address(self.target(to, kernel)?);
                Box::new(move || match socket.send_to(&data, to) {
                    Ok(_) => Ok(PeerOutcome::Nothing("sent")),
                    Err(error) => Err(Error::host(format!("a peer sending to {to}"), error)),
                })
            }
            PeerAct::ReceiveFrom { peer } => {
                let socket = self.socket(peer)?;
                Box::new(move || receive_from(&socket, within))
            }
            PeerAct::Ends { peer, how } => {
                let (mut peer, wanted) = (self.handle(peer)?, *how);
                Box::new(move || Ok(PeerOutcome::Ended { wanted, seen: peer.ending()? }))
            }
        };
        thread::spawn(move || {
            // Nobody waits any more: then the scenario is over.
            let _ = sender.send(act());
        });
        Ok(receiver)
    }

    fn socket(&self, name: &str) -> Result<Arc<UdpSocket>, String> {
        self.sockets.get(name).cloned().ok_or_else(|| format!("{name} is no socket for datagrams"))
    }

    fn target(&self, to: &Target, kernel: impl Fn(&str) -> Result<Address, String>) -> Result<Address, String> {
        match to {
            Target::Address(address) => Ok(*address),
            Target::Named(target) => self.address(target).map_or_else(|| kernel(target), Ok),
        }
    }

    /// Where a peer listens, or the address of its end of a connection.
    pub fn address(&self, name: &str) -> Option<Address> {
        let listener = self.listeners.get(name).map(|listener| listener.address());
        let connection = || self.connections.get(name)?.address();
        let socket = || self.sockets.get(name)?.local_addr().ok().map(Address::from);
        listener.or_else(connection).or_else(socket)
    }

    pub fn add(&mut self, name: String, peer: Peer) {
        self.connections.insert(name, peer);
    }

    fn handle(&mut self, name: &str) -> Result<Peer, String> {
        let peer = self.connections.get(name).ok_or_else(|| format!("{name} is not connected"))?;
        let text = |error: Error| error.to_string();
        self.all.push(peer.try_clone().map_err(text)?);
        peer.try_clone().map_err(text)
    }

    /// Closes a peer's end, every handle of it.
    fn forget(&mut self, name: &str, reset: bool) -> Result<(), String> {
        let peer = self.connections.remove(name).ok_or_else(|| format!("{name} is not connected"))?;
        if reset {
            peer.reset_at_close().map_err(|error| error.to_string())?;
        }
        self.all.retain(|other| other.address() != peer.address());
        Ok(())
    }

    /// Ends every connection.
    pub fn finish(self) {
        for peer in self.all.iter().chain(self.connections.values()) {
            peer.interrupt();
        }
    }
}

fn loopback(family: u16) -> IpAddr {
    if family == AF_INET6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// One datagram, of any length.
fn receive_from(socket: &UdpSocket, within: Duration) -> Result<PeerOutcome, Error> {
    let mut data = vec![0; 1 << 16];
    let received = socket.set_read_timeout(Some(within)).and_then(|()| socket.recv_from(&mut data));
    let (length, from) = received.map_err(|error| Error::host("a peer receiving a datagram", error))?;
    data.truncate(length);
    Ok(PeerOutcome::Received(data, Some(from.into())))
}

fn connect(name: String, address: Address, refused: bool) -> Result<PeerOutcome, Error> {
    match (Peer::connect(address), refused) {
        (Ok(peer), false) => Ok(PeerOutcome::Connected(name, peer)),
        (Ok(_), true) => {
            let what = format!("a peer connecting to {}", host_address(address));
            Err(Error::unexpected(what, "it was to be refused, and is connected"))
        }
        (Err(error), true) if matches!(error.cause(), Cause::Host(error) if error.kind() == std::io::ErrorKind::ConnectionRefused) => {
            Ok(PeerOutcome::Nothing("refused"))
        }
        (Err(error), _) => Err(error),
    }
}

impl Ends {
    /// Whether a connection ended as it was to. Where closes are graceful, no reset can be seen.
    pub fn admits(self, seen: Ending, graceful_closes: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Reset => seen == Ending::Reset || graceful_closes,
            Self::EndOfStream => seen == Ending::EndOfFile,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "an end",
            Self::Reset => "a reset",
            Self::EndOfStream => "the end of the stream",
        }
    }
}

impl Ending {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reset => "a reset",
            Self::EndOfFile => "the end of the stream",
        }
    }
}
