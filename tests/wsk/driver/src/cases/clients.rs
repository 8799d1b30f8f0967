//! Registration, capture, and the end.

use crate::failure::{Failure, ensure, refused};
use crate::network::{GLANCE, LIMIT, Network, some_of};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use wsk::{Client, Datagram, Error, Family, Listener, Ref, Running, Stream};

/// Nothing opens before a capture.
pub fn not_captured(network: &Network) -> Result<(), Failure> {
    let (client, passive) = (&network.client, network.passive);
    refused(Stream::open(client, Family::V4, passive), Error::NotCaptured)?;
    refused(Listener::open(client, Family::V4, passive), Error::NotCaptured)?;
    refused(Datagram::open(client, Family::V4, passive), Error::NotCaptured)?;
    ensure(!client.is_served() && client.outstanding() == 0)?;
    network.capture()?;
    network.capture()?;
    ensure(client.is_served())
}

/// The provider is not ready (the test sees to it): each capture takes as long as it may, and no longer.
pub fn capture_not_ready(network: &Network) -> Result<(), Failure> {
    for limit in [Duration::ZERO, GLANCE] {
        refused(network.client.capture(limit, network.passive), Error::TimedOut)?;
    }
    refused(Stream::open(&network.client, Family::V4, network.passive), Error::NotCaptured)
}

/// There is no provider for this version (the test sees to it).
pub fn capture_refused(network: &Network) -> Result<(), Failure> {
    const NOINTERFACE: i32 = 0xC000_02B9_u32.cast_signed();
    refused(network.client.capture(LIMIT, network.passive), Error::Failed(NOINTERFACE))
}

/// The provider is not ready (the test sees to it), and two threads capture: the second is told that one is.
pub fn capture_twice_at_once(network: &Network) -> Result<(), Failure> {
    let (client, passive) = (&network.client, network.passive);
    let timed_out = Ref::try_new(AtomicBool::new(false)).map_err(Error::from)?;
    let (over, other) = (timed_out.clone(), client.clone());
    let capture = move |passive| {
        let mut captured = Err(Error::Busy);
        while captured == Err(Error::Busy) {
            captured = other.capture(Duration::from_millis(500), passive);
        }
        over.store(captured == Err(Error::TimedOut), Ordering::SeqCst);
    };
    client.spawn(capture, passive)?;
    let mut busy = false;
    while !timed_out.load(Ordering::SeqCst) {
        match client.capture(Duration::ZERO, passive) {
            Err(Error::Busy) => busy = true,
            other => refused(other, Error::TimedOut)?,
        }
    }
    ensure(busy)
}

/// Nothing begins after the deregistration, which may be asked for again.
pub fn deregistered(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (client, passive) = (&network.client, network.passive);
    drop(network.connection(Family::V4)?);
    client.deregister(LIMIT, passive)?;
    client.deregister(LIMIT, passive)?;
    refused(client.capture(LIMIT, passive), Error::Deregistered)?;
    refused(Stream::open(client, Family::V4, passive), Error::Deregistered)?;
    refused(client.spawn(|_| (), passive), Error::Deregistered)?;
    ensure(!client.is_served())
}

/// Whatever is left holds the client, until it goes.
pub fn outstanding(network: &Network) -> Result<(), Failure> {
    network.capture()?;
    let (client, passive) = (&network.client, network.passive);
    let (stream, accepted) = network.connection(Family::V4)?;
    let receive = stream.receive(wsk::Buffer::try_new(8)?, passive)?;
    refused(client.deregister(GLANCE, passive), Error::TimedOut)?;
    // What is there goes on; nothing new begins.
    network.send(&accepted.stream, b"still")?;
    ensure(some_of(b"still", &network.outcome(receive)?))?;
    refused(Stream::open(client, Family::V4, passive), Error::Deregistered)?;
    refused(client.deregister(GLANCE, passive), Error::TimedOut)?;
    ensure(client.outstanding() != 0)?;
    drop((stream, accepted));
    Ok(client.deregister(LIMIT, passive)?)
}

/// A thread holds the client until it has ended.
pub fn threads(network: &Network) -> Result<(), Failure> {
    let (client, passive) = (&network.client, network.passive);
    let go = Ref::try_new(AtomicBool::new(false)).map_err(Error::from)?;
    for _ in 0..4 {
        let (go, client) = (go.clone(), client.clone());
        let wait = move |passive| {
            while !go.load(Ordering::SeqCst) {
                // Another's capture may be under way.
                let _either = client.capture(Duration::from_millis(1), passive);
            }
        };
        network.client.spawn(wait, passive)?;
    }
    ensure(client.outstanding() >= 4)?;
    go.store(true, Ordering::SeqCst);
    Ok(client.deregister(LIMIT, passive)?)
}

/// A client is not deregistered while a routine of the image is running, be it another client's.
pub fn routines(network: &Network) -> Result<(), Failure> {
    const RUNNING: u32 = 1;
    const OVER: u32 = 2;
    let passive = network.passive;
    let another = Client::register(passive)?;
    let stage = Ref::try_new(AtomicU32::new(0)).map_err(Error::from)?;
    let (told, client) = (stage.clone(), another.clone());
    let routine = move |passive| {
        let running = Running::enter(core::ptr::from_ref::<AtomicU32>(&told));
        told.store(RUNNING, Ordering::SeqCst);
        // Nobody can deregister the client within: this thread holds it.
        let _timed_out = client.deregister(GLANCE, passive);
        told.store(OVER, Ordering::SeqCst);
        drop(running);
    };
    let spawned = another.spawn(routine, passive);
    if spawned.is_ok() {
        while stage.load(Ordering::SeqCst) < RUNNING {}
    }
    let deregistered = network.client.deregister(LIMIT, passive);
    let over = stage.load(Ordering::SeqCst);
    while another.deregister(LIMIT, passive).is_err() {}
    spawned?;
    deregistered?;
    ensure(over == OVER)
}
