//! Datagrams: whole, empty, cut.

use crate::failure::{Failure, ensure, refused};
use crate::network::{LIMIT, Network, loopback};
use core::net::SocketAddr;
use wsk::{Buffer, Datagram, Error, Family, Socket};

fn bound(network: &Network, family: Family) -> Result<(Datagram, SocketAddr), Failure> {
    let datagram = Datagram::bound(&network.client, &loopback(family), LIMIT, network.passive)?;
    let address = datagram.local_address(network.passive)?.finish(LIMIT, network.passive)?;
    Ok((datagram, address))
}

fn datagrams(network: &Network, family: Family) -> Result<(), Failure> {
    network.capture()?;
    let passive = network.passive;
    let ((one, here), (other, there)) = (bound(network, family)?, bound(network, family)?);
    let mut buffer = Buffer::try_new(16)?;
    for bytes in [b"a datagram".as_slice(), b"".as_slice(), b"sixteen bytes...".as_slice()] {
        buffer.fill(bytes)?;
        let sent = network.outcome(one.send_to(buffer, &there, passive)?)?;
        ensure(sent.result? == bytes.len() && sent.buffer.bytes() == bytes)?;
        let received = network.outcome(other.receive_from(sent.buffer, passive)?)?;
        ensure(received.result? == bytes.len() && received.buffer.bytes() == bytes)?;
        ensure(received.from == Some(here) && !received.truncated)?;
        buffer = received.buffer;
    }
    buffer.fill(b"more than four")?;
    network.outcome(one.send_to(buffer, &there, passive)?)?.result?;
    let cut = network.outcome(other.receive_from(Buffer::try_new(4)?, passive)?)?;
    ensure(cut.truncated && cut.result? == 4 && cut.buffer.bytes() == b"more" && cut.from == Some(here))?;

    let foreign = loopback(if family == Family::V4 { Family::V6 } else { Family::V4 });
    let Err(not_started) = one.send_to(Buffer::try_from_bytes(b"kept")?, &foreign, passive) else {
        return Err(Failure::here());
    };
    ensure(not_started.error == Error::Family && not_started.buffer.bytes() == b"kept")?;
    let pending = other.receive_from(cut.buffer, passive)?;
    other.close(passive);
    let ended = network.outcome(pending)?;
    ensure(ended.from.is_none() && ended.buffer.bytes().is_empty())?;
    refused(ended.result, Error::Cancelled)?;
    refused(other.receive_from(ended.buffer, passive), Error::Closed)?;
    refused(other.send_to(Buffer::try_new(1)?, &here, passive), Error::Closed)
}

pub fn datagrams_v4(network: &Network) -> Result<(), Failure> {
    datagrams(network, Family::V4)
}

pub fn datagrams_v6(network: &Network) -> Result<(), Failure> {
    datagrams(network, Family::V6)
}
