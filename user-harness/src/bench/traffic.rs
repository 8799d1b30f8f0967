//! Round trips and throughput, through kernel sockets and through the host's.

use super::Bench;
use crate::{
    Error,
    abi::Provider,
    peer::{Listener, Peer},
    standing::connect_to,
};
use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
    time::Instant,
};

/// Bytes of one round trip.
const PING: usize = 64;
/// Bytes of one request where throughput is measured.
const CHUNK: usize = 64 << 10;

/// A peer that sends back what it gets, by `length` bytes, until its connection ends.
fn echo(mut peer: Peer, length: usize) {
    while let Ok(data) = peer.receive(length) {
        if peer.send(&data).is_err() {
            break;
        }
    }
}

/// A peer that forgets what it gets.
fn sink(mut peer: Peer) {
    // It ends with its connection.
    let _ = peer.ending();
}

/// A peer that sends without end.
fn source(mut peer: Peer) {
    let data = vec![0x5A; CHUNK];
    while peer.send(&data).is_ok() {}
}

/// Measures with a kernel socket whose peer does `behave`.
fn through_the_driver(
    bench: &Bench<'_>,
    behave: impl FnOnce(Peer) + Send,
    measure: impl FnOnce(&crate::Socket) -> Result<f64, Error>,
) -> Result<f64, Error> {
    let started = bench.start_up()?;
    let connection = connect_to(bench.client, Provider::Application, &Listener::start()?)?;
    thread::scope(|scope| {
        let crate::standing::Connection { socket, peer, .. } = connection;
        scope.spawn(move || behave(peer));
        let measured = measure(&socket);
        // The peer ends with the connection.
        socket.close()?;
        started.cleanup()?;
        measured
    })
}

/// Measures with a socket of the host's whose peer does `behave`.
fn through_the_host(
    behave: impl FnOnce(Peer) + Send,
    measure: impl FnOnce(&mut Peer) -> Result<f64, Error>,
) -> Result<f64, Error> {
    let listener = Listener::start()?;
    let mut near = Peer::connect(listener.address())?;
    let far = listener.accept()?;
    thread::scope(|scope| {
        scope.spawn(move || behave(far));
        let measured = measure(&mut near);
        drop(near);
        measured
    })
}

#[expect(clippy::cast_precision_loss, reason = "a rate is for a person to read")]
fn mebibytes(requests_a_second: f64) -> f64 {
    requests_a_second * CHUNK as f64 / f64::from(1 << 20)
}

pub(super) fn round_trip(bench: &Bench<'_>) -> Result<f64, Error> {
    through_the_driver(
        bench,
        |peer| echo(peer, PING),
        |socket| {
            bench.latency(|| {
                let begun = Instant::now();
                socket.send(vec![0x5A; PING])?;
                socket.begin_receive_all(PING).wait(bench.client.patience())?;
                Ok(begun.elapsed())
            })
        },
    )
}

pub(super) fn host_round_trip(bench: &Bench<'_>) -> Result<f64, Error> {
    through_the_host(
        |peer| echo(peer, PING),
        |peer| {
            bench.latency(|| {
                let begun = Instant::now();
                peer.send(&[0x5A; PING])?;
                peer.receive(PING)?;
                Ok(begun.elapsed())
            })
        },
    )
}

pub(super) fn send(bench: &Bench<'_>) -> Result<f64, Error> {
    through_the_driver(bench, sink, |socket| {
        let mut buffer = vec![0x5A; CHUNK];
        let rate = bench.rate(|| {
            buffer = socket.send(std::mem::take(&mut buffer))?.buffer;
            Ok(())
        });
        rate.map(mebibytes)
    })
}

pub(super) fn host_send(bench: &Bench<'_>) -> Result<f64, Error> {
    through_the_host(sink, |peer| {
        let buffer = vec![0x5A; CHUNK];
        bench.rate(|| peer.send(&buffer)).map(mebibytes)
    })
}

pub(super) fn receive(bench: &Bench<'_>) -> Result<f64, Error> {
    through_the_driver(bench, source, |socket| {
        let rate = bench.rate(|| socket.begin_receive_all(CHUNK).wait(bench.client.patience()).map(drop));
        rate.map(mebibytes)
    })
}

pub(super) fn host_receive(bench: &Bench<'_>) -> Result<f64, Error> {
    through_the_host(source, |peer| bench.rate(|| peer.receive(CHUNK).map(drop)).map(mebibytes))
}

/// Socket, bind, close: on the host a listener is what the standard library binds.
pub(super) fn host_sockets(bench: &Bench<'_>) -> Result<f64, Error> {
    bench.rate(|| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop).map_err(|error| Error::host("bind a socket", error))
    })
}
