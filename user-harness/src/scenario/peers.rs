//! The peer programs of a scenario. Each act runs in a thread of its own, so that no peer can hold the scenario up beyond a deadline.

use super::step::{Ends, PeerAct, Target};
use crate::{
    Cause, Error,
    abi::{AF_INET6, Address},
    peer::{Ending, Listener, Peer, host_address},
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// Listeners and connections, by name.
#[derive(Default)]
pub(super) struct Peers {
    listeners: HashMap<String, Arc<Listener>>,
    connections: HashMap<String, Peer>,
    /// Handles of every connection there was, to end what threads still do.
    all: Vec<Peer>,
}

/// What an act came to.
pub(super) enum PeerOutcome {
    Nothing(&'static str),
    Connected(String, Peer),
    Received(Vec<u8>),
    Ended { wanted: Ends, seen: Ending },
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
                let address: IpAddr =
                    if *family == AF_INET6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
                let listener = Listener::start_on(address).map_err(|error| error.to_string())?;
                self.listeners.insert(name.clone(), Arc::new(listener));
                Box::new(|| Ok(PeerOutcome::Nothing("listening")))
            }
            PeerAct::Accept { listener, name } => {
                let listener = self.listeners.get(listener).ok_or("that listener is gone")?.clone();
                let name = name.clone();
                Box::new(move || Ok(PeerOutcome::Connected(name, listener.accept_within(within)?)))
            }
            PeerAct::Connect { name, to, refused } => {
                let address = match to {
                    Target::Address(address) => *address,
                    Target::Named(target) => self.address(target).map_or_else(|| kernel(target), Ok)?,
                };
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
                    Ok(PeerOutcome::Received(data))
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

    /// Where a peer listens, or the address of its end of a connection.
    pub fn address(&self, name: &str) -> Option<Address> {
        let listener = self.listeners.get(name).map(|listener| listener.address());
        listener.or_else(|| self.connections.get(name)?.address())
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
