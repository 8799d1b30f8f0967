//! Operations: dropped, waited for, cancelled, told to closures.

use crate::failure::{Failure, ensure, refused};
use crate::network::{GLANCE, LIMIT, Network, some_of};
use core::sync::atomic::{AtomicU32, Ordering};
use wsk::{Accepted, Buffer, Error, Family, Ref, Shutdown, Stream, Transfer};

/// Receives that are dropped take nothing with them, and are freed when WSK has given them back (the client is deregistered after).
pub fn dropped(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (stream, accepted) = network.connection(Family::V4)?;
    for _ in 0..20 {
        drop(stream.receive(Buffer::try_new(4)?, network.passive)?);
    }
    // Those that were cancelled are out of the way of the next one.
    network.glance()?;
    network.send(&accepted.stream, b"whole")?;
    network.expect(&stream, b"whole")?;
    let (listener, _) = network.listener(Family::V4)?;
    drop(listener.accept(network.passive)?);
    drop(Stream::open(&network.client, Family::V4, network.passive)?);
    Ok(())
}

/// A wait that times out changes nothing.
pub fn timed_out(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (stream, accepted) = network.connection(Family::V4)?;
    let mut receive = stream.receive(Buffer::try_new(4)?, network.passive)?;
    for _ in 0..3 {
        receive = match receive.wait(GLANCE, network.passive) {
            Ok(_) => return Err(Failure::here()),
            Err(pending) => pending,
        };
        ensure(!receive.is_over())?;
    }
    network.send(&accepted.stream, b"late")?;
    ensure(some_of(b"late", &network.outcome(receive)?))?;
    let (listener, _) = network.listener(Family::V4)?;
    refused(listener.accept(network.passive)?.finish(GLANCE, network.passive), Error::TimedOut)
}

/// A cancelled operation ends, and gives its buffer back; cancelling one that is over changes nothing.
pub fn cancelled(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (stream, accepted) = network.connection(Family::V4)?;
    let receive = stream.receive(Buffer::try_from_bytes(b"old")?, network.passive)?;
    receive.cancel();
    receive.cancel();
    let ended = network.outcome(receive)?;
    refused(ended.result, Error::Cancelled)?;
    ensure(ended.buffer.bytes().is_empty() && ended.buffer.capacity() == 3)?;
    network.send(&accepted.stream, b"abc")?;
    let receive = stream.receive(ended.buffer, network.passive)?;
    network.eventually(|| receive.is_over())?;
    receive.cancel();
    ensure(some_of(b"abc", &network.outcome(receive)?))
}

fn counter() -> Result<Ref<AtomicU32>, Failure> {
    Ref::try_new(AtomicU32::new(0)).map_err(|_| Failure::from(Error::OutOfMemory))
}

/// A closure that is left before the completion.
pub fn closure_later(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (stream, accepted) = network.connection(Family::V4)?;
    let told = counter()?;
    let teller = told.clone();
    let receive = stream.receive(Buffer::try_new(8)?, network.passive)?;
    let then = move |received: Transfer| {
        if some_of(b"hello", &received) {
            teller.fetch_add(1, Ordering::SeqCst);
        }
    };
    receive.then(then).map_err(|(error, _)| error)?;
    ensure(told.load(Ordering::SeqCst) == 0)?;
    network.send(&accepted.stream, b"hello")?;
    network.eventually(|| told.load(Ordering::SeqCst) == 1)?;
    // Nobody has the next one but its socket: the close ends it.
    let (stream, _accepted) = network.connection(Family::V4)?;
    let teller = told.clone();
    let receive = stream.receive(Buffer::try_new(8)?, network.passive)?;
    let then = move |received: Transfer| {
        if received.result == Err(Error::Cancelled) {
            teller.fetch_add(1, Ordering::SeqCst);
        }
    };
    receive.then(then).map_err(|(error, _)| error)?;
    drop(stream);
    network.eventually(|| told.load(Ordering::SeqCst) == 2)
}

/// A closure that is left when the operation is over.
pub fn closure_at_once(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (stream, _accepted) = network.connection(Family::V4)?;
    let told = counter()?;
    let teller = told.clone();
    let send = stream.send(Buffer::try_from_bytes(b"hello")?, network.passive)?;
    network.eventually(|| send.is_over())?;
    let then = move |sent: Transfer| {
        if matches!(sent.result, Ok(5)) {
            teller.fetch_add(1, Ordering::SeqCst);
        }
    };
    send.then(then).map_err(|(error, _)| error)?;
    ensure(told.load(Ordering::SeqCst) == 1)
}

/// A socket that a closure drops is closed all the same, and not in the completion.
pub fn closure_drops_sockets(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (listener, address) = network.listener(Family::V4)?;
    let accept = listener.accept(network.passive)?;
    accept.then(drop::<Result<Accepted, Error>>).map_err(|(error, _)| error)?;
    // The reset may come before the connect is over.
    if let Ok(stream) = Stream::connected(&network.client, &address, LIMIT, network.passive) {
        let end = network.outcome(stream.receive(Buffer::try_new(1)?, network.passive)?)?;
        ensure(end.result.is_err())?;
    }
    Ok(())
}

/// An operation outlives the owner of its socket, and gives back what it has.
pub fn outlives_its_socket(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (stream, accepted) = network.connection(Family::V4)?;
    let receive = stream.receive(Buffer::try_new(8)?, network.passive)?;
    drop(stream);
    let ended = network.outcome(receive)?;
    refused(ended.result, Error::Cancelled)?;
    ensure(ended.buffer.capacity() == 8)?;
    // The other side may find out at once, or when it sends.
    accepted
        .stream
        .shut_down(Shutdown::Abort, network.passive)?
        .wait(LIMIT, network.passive)
        .map_or_else(|_| Err(Failure::here()), |_either| Ok(()))
}
