//! Several threads at once: the rules judge.

use crate::failure::{Failure, ensure};
use crate::network::{LIMIT, Network};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use wsk::{Buffer, Error, Family, Passive, Ref, Shutdown, Socket, Stream};

const THREADS: u32 = 3;

/// Runs `body` on several threads at once, and waits for them.
fn together(
    network: &Network,
    shared: &Ref<Stream>,
    body: fn(&Stream, u32, Passive) -> Result<(), Error>,
) -> Result<(), Failure> {
    let done = Ref::try_new(AtomicU32::new(0)).map_err(Error::from)?;
    for number in 0..THREADS {
        let (done, stream) = (done.clone(), shared.clone());
        let run = move |passive| {
            // A socket that is closed meanwhile is one of the things to happen.
            let _either = body(&stream, number, passive);
            drop(stream);
            done.fetch_add(1, Ordering::SeqCst);
        };
        network.client.spawn(run, network.passive)?;
    }
    network.eventually(|| done.load(Ordering::SeqCst) == THREADS)
}

/// Receives are dropped, cancelled and given to closures while data comes for them.
pub fn drops_race_completions(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (stream, accepted) = network.connection(Family::V4)?;
    let stream = Ref::try_new(stream).map_err(Error::from)?;
    let sender = accepted.stream;
    let feed = move |passive| {
        for _ in 0..60 {
            let Ok(buffer) = Buffer::try_from_bytes(b"0123456789") else { return };
            let Ok(send) = sender.send(buffer, passive) else { return };
            let _sent_or_cancelled = send.wait(Duration::from_millis(1), passive);
        }
    };
    network.client.spawn(feed, network.passive)?;
    together(network, &stream, |stream, number, passive| {
        for round in 0..40 {
            let receive = stream.receive(Buffer::try_new(4)?, passive)?;
            match (round + number) % 4 {
                0 => drop(receive),
                1 => receive.cancel(),
                2 => receive.then(drop).map_err(|(error, _)| error)?,
                _ => drop(receive.wait(Duration::from_millis(1), passive)),
            }
        }
        Ok(())
    })
}

/// A socket is closed while several threads are in calls on it.
pub fn closes_race_calls(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    for _ in 0..8 {
        let (stream, _accepted) = network.connection(Family::V4)?;
        let stream = Ref::try_new(stream).map_err(Error::from)?;
        together(network, &stream, |stream, number, passive| {
            for round in 0..20 {
                if round == 10 + number {
                    stream.close(passive);
                }
                drop(stream.receive(Buffer::try_new(4)?, passive)?);
                drop(stream.local_address(passive)?);
            }
            Ok(())
        })?;
        stream.wait_closed(LIMIT, network.passive)?;
    }
    Ok(())
}

/// A life in which every kind of call occurs; for failing allocations. What fails says that there is no memory.
pub fn everything(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let (stream, accepted) = network.connection(Family::V4)?;
    network.send(&stream, b"there")?;
    network.expect(&accepted.stream, b"there")?;
    let receive = stream.receive(Buffer::try_new(8)?, passive)?;
    receive.then(drop).map_err(|(error, _)| error)?;
    stream.set_option(wsk::SocketOption::NO_DELAY, 1, passive)?.finish(LIMIT, passive)?;
    stream.option(wsk::SocketOption::NO_DELAY, passive)?.finish(LIMIT, passive)?;
    stream.peer_address(passive)?.finish(LIMIT, passive)?;
    super::events::datagram_events(network)?;
    let client = network.client.clone();
    network.client.spawn(move |_| drop(client), passive)?;
    stream.shut_down(Shutdown::Abort, passive)?.finish(LIMIT, passive)?;
    ensure(network.client.is_served())
}
