//! What commands have in common that hold a reference while they work: whatever becomes of the work, it is given back.

use crate::{
    Cause, Client, Error,
    abi::{Address, Provider, WinsockVersion},
    backend::{Backend, Choice},
    inbox::Inbox,
    interrupt::Interrupt,
};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The provider whose sockets commands use.
pub(super) const PROVIDER: Provider = Provider::Application;

/// A client with a reference on `application`.
pub(super) struct Session {
    pub backend: Backend,
    pub client: Client,
}

/// Does `work` between a startup and its cleanup, which ends whatever the work left pending.
pub(super) fn with_session(
    choice: &Choice,
    work: impl FnOnce(&Session, &mut Inbox) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut inbox = Inbox::new(Interrupt::watch()?);
    let backend = choice.open()?;
    let session = Session { client: Client::open(backend.device())?, backend };
    let started = session.client.startup(PROVIDER, WinsockVersion::new(2, 2), 0)?;
    let worked = work(&session, &mut inbox);
    let cleaned = started.cleanup();
    session.client.close();
    // A broken rule explains whatever failed with it.
    session.backend.finish_clean().and(worked).and(cleaned)
}

/// The first address that a host's name, or its address as text, stands for, as this system's resolver knows it.
pub(super) fn resolve(host: &str, port: u16, v6: bool) -> Result<SocketAddr, Error> {
    let what = || format!("find the address of {host}");
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    let mut found = (host, port).to_socket_addrs().map_err(|error| Error::host(what(), error))?;
    found.find(|address| address.is_ipv6() == v6).ok_or_else(|| {
        let family = if v6 { "IPv6 address: leave -6 out" } else { "IPv4 address: try -6" };
        Error::new(what(), Cause::Usage(format!("it has no {family}")))
    })
}

/// Any local address of the same family as `address`.
pub(super) fn any_like(address: SocketAddr) -> Address {
    match address {
        SocketAddr::V4(_) => Address::v4([0; 4], 0),
        SocketAddr::V6(_) => Address::v6([0; 16], 0, 0),
    }
}
