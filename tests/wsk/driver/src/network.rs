//! A client with what most cases need.

use crate::Case;
use crate::failure::{Failure, ensure};
use core::net::SocketAddr;
use core::time::Duration;
use wsk::{Accepted, Buffer, Client, Error, Family, Listener, Operation, Outcome, Passive, Socket, Stream, Transfer};

/// How long what must happen may take.
pub const LIMIT: Duration = Duration::from_secs(10);
/// How long something is watched that must not happen.
pub const GLANCE: Duration = Duration::from_millis(20);

/// A client that has captured the provider.
pub struct Network {
    /// The client.
    pub client: Client,
    /// `DriverEntry`'s.
    pub passive: Passive,
}

impl Network {
    /// Registers a client, tries the case, and deregisters the client: whatever the case has dropped must be gone by itself.
    pub fn with(case: Case, passive: Passive) -> Result<(), Failure> {
        let client = Client::register(passive)?;
        let network = Self { client, passive };
        let tried = case(&network);
        let client = network.client;
        let deregistered = client.deregister(LIMIT, passive);
        // One that can't be deregistered keeps the driver's image: nothing else could be safe.
        while client.deregister(LIMIT, passive).is_err() {}
        tried?;
        deregistered?;
        ensure(client.outstanding() == 0)
    }

    /// Captures the provider.
    pub fn capture(&self) -> Result<(), Failure> {
        Ok(self.client.capture(LIMIT, self.passive)?)
    }

    /// Waits for an outcome.
    #[track_caller]
    pub fn outcome<T: Outcome>(&self, operation: Operation<T>) -> Result<T, Failure> {
        match operation.wait(LIMIT, self.passive) {
            Ok(outcome) => Ok(outcome),
            Err(_cancelled) => Err(Failure::from(Error::TimedOut)),
        }
    }

    /// A listener of the loopback interface, and where it listens.
    pub fn listener(&self, family: Family) -> Result<(Listener, SocketAddr), Failure> {
        let listener = Listener::bound(&self.client, &loopback(family), LIMIT, self.passive)?;
        let address = listener.local_address(self.passive)?.finish(LIMIT, self.passive)?;
        Ok((listener, address))
    }

    /// Both ends of a connection: the one that connected, the one that was accepted.
    pub fn connection(&self, family: Family) -> Result<(Stream, Accepted), Failure> {
        let (listener, address) = self.listener(family)?;
        let accept = listener.accept(self.passive)?;
        let stream = Stream::connected(&self.client, &address, LIMIT, self.passive)?;
        Ok((stream, accept.finish(LIMIT, self.passive)?))
    }

    /// Sends all of `bytes`.
    pub fn send(&self, stream: &Stream, bytes: &[u8]) -> Result<(), Failure> {
        let sent = self.outcome(stream.send(Buffer::try_from_bytes(bytes)?, self.passive)?)?;
        ensure(sent.result? == bytes.len())
    }

    /// Receives until all of `bytes` has come.
    pub fn expect(&self, stream: &Stream, bytes: &[u8]) -> Result<(), Failure> {
        let (mut left, mut buffer) = (bytes, Buffer::try_new(64)?);
        while !left.is_empty() {
            let received = self.outcome(stream.receive(buffer, self.passive)?)?;
            ensure(received.result? != 0)?;
            buffer = received.buffer;
            left = left.strip_prefix(buffer.bytes()).ok_or_else(Failure::here)?;
        }
        Ok(())
    }

    /// Lets time go by until `condition` holds.
    #[track_caller]
    pub fn eventually(&self, condition: impl Fn() -> bool) -> Result<(), Failure> {
        for _ in 0..500 {
            if condition() {
                return Ok(());
            }
            self.glance()?;
        }
        Err(Failure::here())
    }

    /// Lets a while go by.
    pub fn glance(&self) -> Result<(), Failure> {
        // A socket that nobody closes meanwhile.
        let idle = Stream::open(&self.client, Family::V4, self.passive)?.finish(LIMIT, self.passive)?;
        ensure(idle.wait_closed(GLANCE, self.passive).is_err())
    }
}

/// Whether a receive has got the begin of `bytes`, as far as TCP likes.
pub fn some_of(bytes: &[u8], received: &Transfer) -> bool {
    matches!(received.result, Ok(1..)) && bytes.starts_with(received.buffer.bytes())
}

/// Any port of the loopback interface.
pub fn loopback(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([127, 0, 0, 1], 0)),
        Family::V6 => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)),
    }
}
