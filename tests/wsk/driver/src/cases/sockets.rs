//! The rules that sockets keep by themselves.

use crate::failure::{Failure, ensure, refused};
use crate::network::{LIMIT, Network, loopback};
use wsk::{Buffer, Datagram, Error, Family, Listener, Shutdown, Socket, SocketOption, Stream};

/// A close ends what is out, and refuses what comes later.
pub fn closed_with_operations_out(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let (stream, _accepted) = network.connection(Family::V4)?;
    let receives = [(); 3].map(|()| Buffer::try_new(8).map(|buffer| stream.receive(buffer, passive)));
    stream.close(passive);
    stream.close(passive);
    for receive in receives {
        refused(network.outcome(receive??)?.result, Error::Cancelled)?;
    }
    stream.wait_closed(LIMIT, passive)?;
    let Err(not_started) = stream.send(Buffer::try_from_bytes(b"kept")?, passive) else { return Err(Failure::here()) };
    ensure(not_started.error == Error::Closed && not_started.buffer.bytes() == b"kept")?;
    refused(stream.receive(not_started.buffer, passive), Error::Closed)?;
    refused(stream.bind(&loopback(Family::V4), passive), Error::Closed)?;
    refused(stream.connect(&loopback(Family::V4), passive), Error::Closed)?;
    refused(stream.shut_down(Shutdown::Abort, passive), Error::Closed)?;
    refused(stream.local_address(passive), Error::Closed)?;
    refused(stream.peer_address(passive), Error::Closed)?;
    refused(stream.set_option(SocketOption::NO_DELAY, 1, passive), Error::Closed)?;
    refused(stream.option(SocketOption::NO_DELAY, passive), Error::Closed)?;
    refused(stream.enable_events(passive), Error::Closed)?;
    let (listener, _) = network.listener(Family::V4)?;
    let accept = listener.accept(passive)?;
    listener.close(passive);
    refused(accept.finish(LIMIT, passive), Error::Cancelled)?;
    refused(listener.accept(passive), Error::Closed)
}

/// A second accept is refused until the first is back.
pub fn one_accept(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let (listener, address) = network.listener(Family::V4)?;
    let accept = listener.accept(passive)?;
    refused(listener.accept(passive), Error::Busy)?;
    let stream = Stream::connected(&network.client, &address, LIMIT, passive)?;
    let accepted = accept.finish(LIMIT, passive)?;
    drop((stream, accepted));
    drop(listener.accept(passive)?);
    network.eventually(|| listener.accept(passive).is_ok())
}

/// What is wrong is refused before WSK hears of it.
pub fn refusals(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (client, passive) = (&network.client, network.passive);
    for capacity in [0, Buffer::LONGEST + 1, u32::MAX] {
        refused(Buffer::try_new(capacity), Error::Length)?;
    }
    refused(Buffer::try_from_bytes(b""), Error::Length)?;
    let mut buffer = Buffer::try_from_bytes(b"four")?;
    refused(buffer.fill(b"more than four"), Error::Length)?;
    refused(buffer.set_len(5), Error::Length)?;
    ensure(buffer.bytes() == b"four" && buffer.capacity() == 4)?;
    buffer.set_len(2)?;
    buffer.bytes_mut()[1] = b'a';
    ensure(buffer.bytes() == b"fa")?;
    buffer.set_len(0)?;
    let (stream, _accepted) = network.connection(Family::V4)?;
    let Err(not_started) = stream.send(buffer, passive) else { return Err(Failure::here()) };
    ensure(not_started.error == Error::Length && not_started.buffer.capacity() == 4)?;
    let foreign = loopback(Family::V6);
    refused(stream.connect(&foreign, passive), Error::Family)?;
    refused(stream.bind(&foreign, passive), Error::Family)?;
    // Events that nobody was given for are told to nobody.
    stream.enable_events(passive)?;
    // An address that another listens at.
    let (_listener, address) = network.listener(Family::V4)?;
    ensure(Listener::bound(client, &address, LIMIT, passive).is_err())
}

/// Options that are numbers are set and read.
pub fn options(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let (stream, _accepted) = network.connection(Family::V4)?;
    for option in [SocketOption::NO_DELAY, SocketOption::KEEP_ALIVE] {
        for value in [1, 0] {
            stream.set_option(option, value, passive)?.finish(LIMIT, passive)?;
            ensure(stream.option(option, passive)?.finish(LIMIT, passive)? == value)?;
        }
    }
    let unknown = SocketOption { level: 4711, name: 4711 };
    ensure(stream.option(unknown, passive)?.finish(LIMIT, passive).is_err())?;
    ensure(stream.set_option(unknown, 1, passive)?.finish(LIMIT, passive).is_err())
}

/// The provider is lost when it gets an IRP (the test says which): nothing hangs.
pub fn provider_lost(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    ensure(network.client.is_served())?;
    let lost = network.connection(Family::V4).and_then(|(stream, accepted)| {
        network.send(&stream, b"there")?;
        network.expect(&accepted.stream, b"there")
    });
    ensure(lost.is_err() && !network.client.is_served())
}

/// What a provider does not implement (stock Wine's: its functions answer so, and leave the IRP alone) is an error like others.
pub fn lacks_functions(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (client, passive) = (&network.client, network.passive);
    let missing = Error::NotImplemented;
    refused(Datagram::open(client, Family::V4, passive)?.finish(LIMIT, passive), missing)?;
    let stream = Stream::open(client, Family::V4, passive)?.finish(LIMIT, passive)?;
    stream.bind(&loopback(Family::V4), passive)?.finish(LIMIT, passive)?;
    refused(stream.local_address(passive)?.finish(LIMIT, passive), missing)?;
    refused(stream.peer_address(passive)?.finish(LIMIT, passive), missing)?;
    refused(stream.shut_down(Shutdown::Abort, passive)?.finish(LIMIT, passive), missing)?;
    refused(stream.set_option(SocketOption::NO_DELAY, 1, passive)?.finish(LIMIT, passive), missing)?;
    refused(stream.option(SocketOption::NO_DELAY, passive)?.finish(LIMIT, passive), missing)?;
    refused(stream.enable_events(passive), missing)
}
