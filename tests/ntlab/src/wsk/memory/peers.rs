//! The other ends of the network in memory, in the hands of a test.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{End, Net, Weather, os};

/// How long a peer waits for what must come, by the host's clock.
const PATIENCE: Duration = Duration::from_mins(1);

/// The other side of the network.
#[derive(Clone)]
pub struct Peers {
    pub(in crate::wsk) net: Net,
}

/// An end in the hands of a test. Dropping it ends it gracefully.
pub struct Peer(End);

impl Net {
    /// Tries until the result is another than "not now".
    fn wait<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt() {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    let mut state = self.0.state.lock();
                    // What has changed since the attempt is seen after this at the latest.
                    self.0.change.wait_for(&mut state, Duration::from_millis(2));
                }
                result => return result,
            }
        }
    }
}

impl Peers {
    /// Changes the weather for what is sent from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.net.stir().weather = weather;
    }

    /// Virtual time: how much has passed.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.net.0.state.lock().now)
    }

    /// A listener.
    ///
    /// # Errors
    /// The address is taken.
    pub fn listen(&self, address: SocketAddr) -> io::Result<Peer> {
        let end = self.net.end(true);
        end.bind(address)?;
        end.listen()?;
        Ok(Peer(end))
    }

    /// A connection to the driver.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Peer> {
        let end = self.net.end(true);
        end.bind(SocketAddr::new(address.ip(), 0))?;
        self.net.wait(|| if end.connect(address)? { Ok(()) } else { Err(os(libc::EAGAIN)) })?;
        Ok(Peer(end))
    }

    /// Something at `address` that sends back what it gets, over streams and datagrams, until it is dropped.
    ///
    /// # Errors
    /// The address is taken.
    pub fn echo(&self, address: SocketAddr) -> io::Result<Echo> {
        let (listener, datagrams) = (self.listen(address)?, self.bind(address)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, net) = (Arc::clone(&stop), self.net.clone());
        let thread = std::thread::Builder::new().name("echo in memory".into()).spawn(move || {
            let mut connections = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                while let Ok((end, _)) = listener.0.accept() {
                    connections.push((end, Vec::new()));
                }
                connections.retain_mut(|(end, back)| send_back(end, back).is_ok());
                while let Some((bytes, from)) = datagrams.receive_from() {
                    let _ = datagrams.send_to(&bytes, from); // a datagram may be lost
                }
                net.0.change.wait_for(&mut net.0.state.lock(), Duration::from_millis(2));
            }
        })?;
        Ok(Echo { stop, thread: Some(thread) })
    }

    /// An end for datagrams.
    ///
    /// # Errors
    /// The address is taken.
    pub fn bind(&self, address: SocketAddr) -> io::Result<Peer> {
        let end = self.net.end(false);
        end.bind(address)?;
        Ok(Peer(end))
    }
}

/// What sends back what it gets.
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic of it has been told
        }
    }
}

/// Sends back what has come over one connection, as far as that goes now. An error: the connection is over.
fn send_back(end: &End, back: &mut Vec<u8>) -> io::Result<()> {
    const MOST: usize = 4096;
    let later = |result: io::Result<usize>| match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    };
    if back.is_empty() {
        match end.read(MOST, true) {
            Ok(bytes) if bytes.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => *back = bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let count = later(end.write(back))?;
    back.drain(..count);
    Ok(())
}

impl Peer {
    /// Where it is bound.
    ///
    /// # Errors
    /// It is not.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.0.local()
    }

    /// The next connection of the driver.
    ///
    /// # Errors
    /// None comes.
    pub fn accept(&self) -> io::Result<Self> {
        self.0.net().wait(|| self.0.accept()).map(|(end, _)| Self(end))
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The connection is reset.
    pub fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.0.net().wait(|| self.0.write(bytes))?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// At most `most` bytes of the next piece; none at the end.
    ///
    /// # Errors
    /// The connection is reset.
    pub fn receive(&self, most: usize) -> io::Result<Vec<u8>> {
        self.0.net().wait(|| self.0.read(most, true))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// It is not bound.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.0.send_to(bytes, to).map(drop)
    }

    /// The next datagram, if one has arrived.
    #[must_use]
    pub fn receive_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        self.0.receive_from().ok()
    }

    /// The next datagram.
    ///
    /// # Errors
    /// None comes.
    pub fn await_datagram(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        self.0.net().wait(|| self.0.receive_from())
    }

    /// Sends the FIN.
    pub fn shut_down(&self) {
        self.0.shut_down();
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.0.reset();
    }
}
