//! What requests, references, sockets and cancels cost.

use super::Bench;
use crate::{
    Error, Started,
    abi::{Address, Provider, Role, WinsockVersion},
    peer::Listener,
    standing::{Connection, PATIENCE, connect_to},
};
use std::time::Instant;

const APPLICATION: Provider = Provider::Application;
/// Sockets with a receive pending, at a teardown.
const PENDING: usize = 64;

impl Bench<'_> {
    pub(super) fn start_up(&self) -> Result<Started, Error> {
        self.client.startup(APPLICATION, WinsockVersion::new(2, 2), 0)
    }
}

/// One request after the other, each answered in the dispatch routine.
pub(super) fn requests(bench: &Bench<'_>) -> Result<f64, Error> {
    bench.rate(|| bench.client.version().map(drop))
}

/// Startup and cleanup that only count.
pub(super) fn counted(bench: &Bench<'_>) -> Result<f64, Error> {
    let first = bench.start_up()?;
    let rate = bench.rate(|| bench.start_up()?.cleanup());
    first.cleanup()?;
    rate
}

/// Startup and cleanup that register with WSK and deregister.
pub(super) fn restart(bench: &Bench<'_>) -> Result<f64, Error> {
    bench.latency(|| {
        let begun = Instant::now();
        bench.start_up()?.cleanup()?;
        Ok(begun.elapsed())
    })
}

pub(super) fn teardown(bench: &Bench<'_>) -> Result<f64, Error> {
    bench.latency(|| {
        let started = bench.start_up()?;
        let listener = Listener::start()?;
        let mut connections = Vec::new();
        for _ in 0..PENDING {
            connections.push(connect_to(bench.client, APPLICATION, &listener)?);
        }
        let held: Vec<_> = connections.iter().map(Connection::receive).collect();
        let begun = Instant::now();
        started.cleanup()?;
        let took = begun.elapsed();
        for mut held in held {
            let _how = held.operation.completion(PATIENCE)?;
        }
        Ok(took)
    })
}

pub(super) fn sockets(bench: &Bench<'_>) -> Result<f64, Error> {
    let started = bench.start_up()?;
    let rate = bench.rate(|| {
        let socket = bench.client.socket(APPLICATION, Role::Connection)?;
        socket.bind(Address::v4([127, 0, 0, 1], 0))?;
        socket.close()
    });
    started.cleanup()?;
    rate
}

/// From `CancelIoEx` to the completion.
pub(super) fn cancel(bench: &Bench<'_>) -> Result<f64, Error> {
    let started = bench.start_up()?;
    let connection = connect_to(bench.client, APPLICATION, &Listener::start()?)?;
    let latency = bench.latency(|| {
        let mut receive = connection.socket.begin_receive(4096).untyped();
        let begun = Instant::now();
        receive.cancel();
        let _how = receive.completion(PATIENCE)?;
        Ok(begun.elapsed())
    });
    started.cleanup()?;
    latency
}
