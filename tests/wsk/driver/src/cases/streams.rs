//! Connections: both ways, both families, both ends.

use crate::failure::{Failure, ensure, refused};
use crate::network::{LIMIT, Network, loopback};
use wsk::{Buffer, Error, Family, Shutdown, Socket, Stream};

fn streams(network: &Network, family: Family) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let (listener, address) = network.listener(family)?;
    ensure(address.port() != 0 && address.ip() == loopback(family).ip())?;
    let accept = listener.accept(passive)?;
    let stream = Stream::connected(&network.client, &address, LIMIT, passive)?;
    let accepted = accept.finish(LIMIT, passive)?;
    let local = stream.local_address(passive)?.finish(LIMIT, passive)?;
    ensure(accepted.peer == Some(local) && accepted.local == Some(address))?;
    ensure(stream.peer_address(passive)?.finish(LIMIT, passive)? == address)?;
    ensure(accepted.stream.peer_address(passive)?.finish(LIMIT, passive)? == local)?;
    network.send(&stream, b"there")?;
    network.expect(&accepted.stream, b"there")?;
    network.send(&accepted.stream, b"and back again")?;
    network.expect(&stream, b"and back again")
}

pub fn streams_v4(network: &Network) -> Result<(), Failure> {
    streams(network, Family::V4)
}

pub fn streams_v6(network: &Network) -> Result<(), Failure> {
    streams(network, Family::V6)
}

/// One side ends its stream, and the other still sends.
pub fn shut_down(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let (stream, accepted) = network.connection(Family::V4)?;
    network.send(&stream, b"last words")?;
    let shut_down = stream.shut_down(Shutdown::Sending, passive)?;
    network.expect(&accepted.stream, b"last words")?;
    let end = network.outcome(accepted.stream.receive(Buffer::try_new(8)?, passive)?)?;
    ensure(end.result? == 0 && end.buffer.bytes().is_empty())?;
    network.send(&accepted.stream, b"heard")?;
    network.expect(&stream, b"heard")?;
    shut_down.finish(LIMIT, passive)?;
    accepted.stream.shut_down(Shutdown::Sending, passive)?.finish(LIMIT, passive)?;
    ensure(network.outcome(stream.receive(Buffer::try_new(8)?, passive)?)?.result? == 0)
}

/// One side resets the connection: its own receive ends, and the other's fails.
pub fn aborted(network: &Network) -> Result<(), Failure> {
    const CONNECTION_RESET: i32 = 0xC000_020D_u32.cast_signed();
    network.capture()?;
    let passive = network.passive;
    let (stream, accepted) = network.connection(Family::V4)?;
    let own = stream.receive(Buffer::try_new(8)?, passive)?;
    let other = accepted.stream.receive(Buffer::try_new(8)?, passive)?;
    stream.shut_down(Shutdown::Abort, passive)?.finish(LIMIT, passive)?;
    ensure(network.outcome(own)?.result.is_err())?;
    refused(network.outcome(other)?.result, Error::Failed(CONNECTION_RESET))
}

/// Nobody listens there; and a socket that is not bound can't connect.
pub fn connection_refused(network: &Network) -> Result<(), Failure> {
    const CONNECTION_REFUSED: i32 = 0xC000_0236_u32.cast_signed();
    const INVALID_DEVICE_STATE: i32 = 0xC000_0184_u32.cast_signed();
    network.capture()?;
    let passive = network.passive;
    let (listener, address) = network.listener(Family::V4)?;
    listener.close(passive);
    listener.wait_closed(LIMIT, passive)?;
    refused(Stream::connected(&network.client, &address, LIMIT, passive), Error::Failed(CONNECTION_REFUSED))?;
    let unbound = Stream::open(&network.client, Family::V4, passive)?.finish(LIMIT, passive)?;
    refused(unbound.connect(&address, passive)?.finish(LIMIT, passive), Error::Failed(INVALID_DEVICE_STATE))?;
    refused(unbound.local_address(passive)?.finish(LIMIT, passive), Error::Failed(INVALID_DEVICE_STATE))
}
