//! Each of the driver's allocations fails once: the request that made it fails, and nothing else happens.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, DNS, PATIENCE, SAN, VERSION,
    abi::{Events, Role, SocketControl, SocketOption, WsaError},
    check::deregistered,
    traffic::{any, local, unused_address},
};
use ntlab::{Judged, NtStatus, Options, Report, Stop, low_resources};
use std::convert::Infallible;
use wskctl::{
    Client, Error, Operation, Reply, Wanted,
    device::lab::LabProcess,
    peer::{Listener, Peer},
};

/// A life in which every kind of request occurs. The first failure ends it.
fn life(client: &Client, peers: &Listener) -> Result<(), Error> {
    let started = client.startup(APPLICATION, VERSION, 0)?;
    let (san, dns) = (client.startup(SAN, VERSION, 0)?, client.startup_namespace(DNS)?);
    let wanted = Wanted { node: Some("localhost"), ..Wanted::default() };
    client.resolve(DNS, &wanted)?;
    client.names_of(DNS, peers.address(), 0)?;
    client.socket(SAN, Role::Connection)?;
    dns.cleanup()?;
    san.cleanup()?;
    let listener = client.socket(APPLICATION, Role::Listen)?;
    let address = unused_address();
    listener.bind(address)?;
    listener.listen(4)?;
    let accepts: Vec<_> = (0..2).map(|_| listener.begin_accept()).collect();
    let socket = client.socket(APPLICATION, Role::Connection)?;
    socket.bind(any())?;
    socket.connect(peers.address())?;
    let mut peer = peers.accept()?;
    socket.send(b"out".to_vec())?;
    peer.send(b"back")?;
    socket.receive(8)?;
    let receives: Vec<_> = (0..12).map(|_| socket.begin_receive(8)).collect();
    let caller = Peer::connect(address)?;
    let mut accepts = accepts.into_iter();
    let taken = accepts.next().map(|mut accept| accept.wait(PATIENCE)).transpose()?;
    taken.map_or(Ok(()), |taken| taken.socket.close_gracefully(None))?;
    drop(caller);
    let datagrams = client.socket(APPLICATION, Role::Datagram)?;
    datagrams.bind(local(0))?;
    datagrams.connect(datagrams.local_address()?)?;
    datagrams.send(b"to itself".to_vec())?;
    datagrams.receive_from(16)?;
    datagrams.set_option(SocketOption::SendBuffer, 100_000)?;
    datagrams.option(SocketOption::SendBuffer)?;
    socket.control(SocketControl::BytesToReceive)?;
    let events = [socket.begin_events(Events::CLOSE), datagrams.begin_events(Events::READ)];
    client.ledger()?;
    started.cleanup()?;
    // The worker has handed it out, or could not.
    accepts.try_for_each(ended)?;
    receives.into_iter().try_for_each(ended)?;
    events.into_iter().try_for_each(ended)
}

/// What was pending at the last cleanup was cancelled by it.
fn ended<R: Reply>(mut operation: Operation<R>) -> Result<(), Error> {
    match operation.wait(PATIENCE) {
        Err(error) if error.winsock() == Some(WsaError::OperationAborted) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::unexpected("a request that was pending at the last cleanup", "it succeeded")),
    }
}

/// A life, and what was wrong with it besides the rules.
struct Lived {
    report: Report,
    wrong: Option<String>,
    /// A look-up failed.
    look_up: bool,
}

impl Judged for Lived {
    fn report(&self) -> &Report {
        &self.report
    }

    fn is_good(&self) -> bool {
        self.report.is_clean() && self.wrong.is_none()
    }
}

/// Whatever fails says that there is no memory, and the rest can be given back.
fn lived(options: Options, peers: &Listener) -> Lived {
    let (mut wrong, mut look_up) = (None, false);
    let (refused, report) = contract::live(options, |machine| {
        let process = LabProcess::over(machine.process());
        let outcome = Client::open(&process).and_then(|client| {
            let outcome = life(&client, peers);
            while client.cleanup(APPLICATION).is_ok() || client.cleanup(SAN).is_ok() {}
            while client.cleanup_namespace(DNS).is_ok() {}
            deregistered(&client);
            outcome
        });
        let Some(error) = outcome.err() else { return };
        // Memory has another name among namespace providers (contract: NSP-2).
        look_up = error.to_string().starts_with("look ");
        let expected = if look_up { WsaError::NotEnoughMemory } else { WsaError::NoBuffers };
        wrong = (error.winsock() != Some(expected)).then(|| error.to_string());
    });
    if let Some(stop) = refused.filter(|stop| !matches!(stop, Stop::Status(NtStatus::INSUFFICIENT_RESOURCES))) {
        wrong = Some(format!("the driver does not start: {stop}"));
    }
    Lived { report, wrong, look_up }
}

/// contract: X-9, NSP-2
#[test]
fn every_allocation_may_fail_and_nothing_is_left_half_done() {
    let peers = Listener::start().unwrap();
    let mut look_ups = 0;
    let Ok(found) = low_resources(&contract::options(), |options| {
        let lived = lived(options, &peers);
        look_ups += u32::from(lived.look_up);
        Ok::<_, Infallible>(lived)
    });
    assert!(found.first.is_good(), "without a failure: {:?}\n{}", found.first.wrong, found.first.report);
    let failed: Vec<_> = found
        .failed
        .iter()
        .map(|(number, run)| format!("allocation {number}: {:?}\n{}", run.wrong, run.report))
        .collect();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), contract::replay_command());
    // A device, a thread, a client, a handle, a table, sockets, requests, a look-up, a mapping, a graceful close: each from where it is made.
    assert!(found.allocations > 30 && found.sites.len() > 12, "{:?}", found.sites);
    assert!(look_ups >= 2, "only {look_ups} look-ups failed");
    println!("{} allocations, made in {} places", found.allocations, found.sites.len());
}
