//! Each of the driver's allocations fails once: the request that made it fails, and nothing else happens.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, DNS, Lab, PATIENCE, SAN, VERSION,
    abi::{Role, WsaError},
    check::deregistered,
    traffic::{any, unused_address},
};
use wskctl::{
    Client, Error, Wanted,
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
    for mut accept in accepts.into_iter().take(1) {
        accept.wait(PATIENCE)?.socket.close()?;
    }
    drop(caller);
    client.ledger()?;
    started.cleanup()?;
    for mut receive in receives {
        match receive.wait(PATIENCE) {
            Err(error) if error.winsock() == Some(WsaError::OperationAborted) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::unexpected("a receive at the last cleanup", "it succeeded")),
        }
    }
    Ok(())
}

/// contract: X-9, NSP-2
#[test]
fn every_allocation_may_fail_and_nothing_is_left_half_done() {
    const ENOUGH: u64 = 200;
    let peers = Listener::start().unwrap();
    let mut failures = 0;
    let mut unharmed = 0;
    let mut look_ups = 0;
    for index in 0..ENOUGH {
        let Some(lab) = Lab::start_failing(index) else {
            failures += 1;
            continue;
        };
        let process = lab.process();
        let lived = Client::open(process.device()).and_then(|client| {
            let lived = life(&client, &peers);
            // Whatever failed: the rest can be given back.
            while client.cleanup(APPLICATION).is_ok() || client.cleanup(SAN).is_ok() {}
            while client.cleanup_namespace(DNS).is_ok() {}
            deregistered(&client);
            lived
        });
        match lived {
            Ok(()) => unharmed += 1,
            Err(error) => {
                failures += 1;
                // Memory has another name among namespace providers (contract: NSP-2).
                let look_up = error.to_string().starts_with("look ");
                let expected = if look_up { WsaError::NotEnoughMemory } else { WsaError::NoBuffers };
                assert_eq!(error.winsock(), Some(expected), "allocation {index}: {error}");
                look_ups += u32::from(look_up);
            }
        }
        drop(lab);
        if unharmed == 20 {
            break;
        }
    }
    assert!(failures > 5, "only {failures} allocations could fail");
    assert!(look_ups >= 2, "only {look_ups} look-ups failed");
    assert!(unharmed > 0, "every life failed");
}
