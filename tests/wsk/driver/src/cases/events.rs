//! Event callbacks.

use crate::failure::{Failure, ensure};
use crate::network::{LIMIT, Network, loopback};
use core::sync::atomic::{AtomicU32, Ordering};
use wsk::{Buffer, Datagram, Error, Event, Family, Ref, Shutdown, Socket, Stream};

const READABLE: u32 = 1;
const ENDED: u32 = 2;
const RESET: u32 = 4;
const LOST: u32 = 8;

/// What was told.
fn told() -> Result<(Ref<AtomicU32>, impl Fn(Event) + Send + Sync + 'static), Failure> {
    let told = Ref::try_new(AtomicU32::new(0)).map_err(Error::from)?;
    let events = told.clone();
    let note = move |event| {
        let bit = match event {
            Event::Readable => READABLE,
            Event::Disconnected { abortive: false } => ENDED,
            Event::Disconnected { abortive: true } => RESET,
            Event::Lost => LOST,
        };
        events.fetch_or(bit, Ordering::SeqCst);
    };
    Ok((told, note))
}

pub fn stream_events(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (client, passive) = (&network.client, network.passive);
    let (told, note) = told()?;
    let (listener, address) = network.listener(Family::V4)?;
    let accept = listener.accept(passive)?;
    let stream = Stream::open_with_events(client, Family::V4, note, passive)?.finish(LIMIT, passive)?;
    stream.bind(&loopback(Family::V4), passive)?.finish(LIMIT, passive)?;
    stream.connect(&address, passive)?.finish(LIMIT, passive)?;
    let accepted = accept.finish(LIMIT, passive)?;
    stream.enable_events(passive)?;
    ensure(told.load(Ordering::SeqCst) == 0)?;
    network.send(&accepted.stream, b"news")?;
    network.eventually(|| told.load(Ordering::SeqCst) == READABLE)?;
    // What was told of is still there.
    network.expect(&stream, b"news")?;
    let end = accepted.stream.shut_down(Shutdown::Sending, passive)?;
    network.eventually(|| told.load(Ordering::SeqCst) & ENDED != 0)?;
    drop(end);
    Ok(())
}

pub fn accepted_events(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let (told, note) = told()?;
    let (listener, address) = network.listener(Family::V4)?;
    let accept = listener.accept_with_events(note, passive)?;
    let stream = Stream::connected(&network.client, &address, LIMIT, passive)?;
    let accepted = accept.finish(LIMIT, passive)?;
    accepted.stream.enable_events(passive)?;
    stream.shut_down(Shutdown::Abort, passive)?.finish(LIMIT, passive)?;
    network.eventually(|| told.load(Ordering::SeqCst) & RESET != 0)
}

pub fn datagram_events(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (client, passive) = (&network.client, network.passive);
    let (told, note) = told()?;
    let datagram = Datagram::open_with_events(client, Family::V4, note, passive)?.finish(LIMIT, passive)?;
    datagram.bind(&loopback(Family::V4), passive)?.finish(LIMIT, passive)?;
    datagram.enable_events(passive)?;
    let address = datagram.local_address(passive)?.finish(LIMIT, passive)?;
    network.outcome(datagram.send_to(Buffer::try_from_bytes(b"to itself")?, &address, passive)?)?.result?;
    network.eventually(|| told.load(Ordering::SeqCst) == READABLE)?;
    let received = network.outcome(datagram.receive_from(Buffer::try_new(16)?, passive)?)?;
    ensure(received.buffer.bytes() == b"to itself")
}
