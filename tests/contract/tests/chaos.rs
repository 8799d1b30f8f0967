//! Delays, requests that pend or are cancelled, processes that are killed, a network that is lost: whatever the seed has happen, the
//! driver breaks no rule and keeps nothing.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, PATIENCE, TRANSPORT, VERSION,
    abi::{Provider, Role},
    traffic::{any, unused_address},
};
use ntlab::{Chaos, Options};
use std::thread;
use wskctl::{
    Client, Error,
    device::lab::LabProcess,
    peer::{Listener, Peer},
};

/// Some traffic. The first failure ends it.
fn traffic(client: &Client, provider: Provider, peers: &Listener) -> Result<(), Error> {
    let catalog_id = if provider == TRANSPORT { contract::abi::CATALOG[0].id } else { 0 };
    let started = client.startup(provider, VERSION, catalog_id)?;
    let listener = client.socket(provider, Role::Listen)?;
    let address = unused_address();
    listener.bind(address)?;
    listener.listen(4)?;
    let mut accept = listener.begin_accept();
    let socket = client.socket(provider, Role::Connection)?;
    socket.bind(any())?;
    socket.connect(peers.address())?;
    let receives: Vec<_> = (0..4).map(|_| socket.begin_receive(64)).collect();
    socket.send(b"out".to_vec())?;
    let caller = Peer::connect(address)?;
    accept.wait(PATIENCE)?.socket.close()?;
    drop((caller, receives));
    started.cleanup()
}

/// contract: X-9, CARD-6, WSP-8
#[test]
fn nothing_that_the_seed_has_happen_breaks_a_rule() {
    const ROUNDS: u64 = 8;
    let asked = contract::options();
    let chaos = if asked.chaos == Chaos::default() { Chaos::STORM } else { asked.chaos };
    for round in 0..ROUNDS {
        let seed = asked.seed.wrapping_mul(ROUNDS).wrapping_add(round);
        let (refused, report) = contract::live(Options { seed, chaos, ..asked.clone() }, |machine| {
            thread::scope(|scope| {
                for provider in [APPLICATION, TRANSPORT, APPLICATION] {
                    scope.spawn(move || {
                        let peers = Listener::start().unwrap();
                        for _ in 0..3 {
                            let process = LabProcess::over(machine.process());
                            // What fails may fail: the rules judge.
                            let _ = Client::open(&process).and_then(|client| traffic(&client, provider, &peers));
                            process.process().kill();
                        }
                    });
                }
            });
        });
        assert!(refused.is_none(), "{refused:?}");
        assert!(report.is_clean(), "round {round}: {report}\n{}", contract::replay_command());
    }
}
