//! Peer programs: ordinary TCP programs on 127.0.0.1, over the standard library's sockets, for kernel sockets to talk to.

use crate::{Cause, Error, abi::Address};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a peer waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often a waiting listener looks.
const POLL: Duration = Duration::from_millis(2);

/// A peer program's listener, on a port that the host chose.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// An address as the standard library has it; of an address family that it does not know, the unspecified one.
#[must_use]
pub fn host_address(address: Address) -> SocketAddr {
    let ip = match (address.as_v4(), address.as_v6()) {
        (Some(octets), _) => IpAddr::from(octets),
        (None, Some(octets)) => IpAddr::from(octets),
        (None, None) => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, address.port())
}

impl Listener {
    /// Listens on 127.0.0.1.
    ///
    /// # Errors
    /// The host has no socket or port left.
    pub fn start() -> Result<Self, Error> {
        Self::start_on(Ipv4Addr::LOCALHOST.into())
    }

    /// Listens on an address of this host.
    ///
    /// # Errors
    /// The address is not this host's, or it has no socket or port left.
    pub fn start_on(address: IpAddr) -> Result<Self, Error> {
        let failed = |error| Error::host(format!("a peer's listener on {address}"), error);
        let listener = TcpListener::bind((address, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address.into()
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// None came within [`PATIENCE`].
    pub fn accept(&self) -> Result<Peer, Error> {
        self.accept_within(PATIENCE)
    }

    /// Waits so long for a connection.
    ///
    /// # Errors
    /// None came.
    pub fn accept_within(&self, patience: Duration) -> Result<Peer, Error> {
        let what = || format!("a peer's listener on {} waiting for a connection", self.address);
        let started = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Peer::over(stream).map_err(|error| Error::host(what(), error)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && started.elapsed() < patience => {
                    thread::sleep(POLL);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Error::new(what(), Cause::TimedOut(patience)));
                }
                Err(error) => return Err(Error::host(what(), error)),
            }
        }
    }

    /// Turns into a program that takes one connection and sends back every byte, in a thread of its own.
    #[must_use]
    pub fn echo(self) -> Echo {
        let address = self.address();
        Echo { address, thread: thread::spawn(move || self.accept()?.echo()) }
    }
}

/// An echo program. It ends with its connection.
#[derive(Debug)]
pub struct Echo {
    address: Address,
    thread: JoinHandle<Result<u64, Error>>,
}

impl Echo {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// Waits for the connection's end, and tells how many bytes were sent back.
    ///
    /// # Errors
    /// No connection came, or the host's sockets failed.
    pub fn join(self) -> Result<u64, Error> {
        self.thread.join().unwrap_or_else(|_| Err(Error::unexpected("the echo peer", "its thread panicked")))
    }
}

/// How a peer's connection ended, as its read saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `ECONNRESET`: the other end was closed abortively.
    Reset,
    /// End of file: the other end was shut down.
    EndOfFile,
}

/// One end of a connection, held by a peer program.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// Connects to a listener on this host.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn connect(address: Address) -> Result<Self, Error> {
        let address = host_address(address);
        TcpStream::connect_timeout(&address, PATIENCE)
            .and_then(Self::over)
            .map_err(|error| Error::host(format!("a peer connecting to {address}"), error))
    }

    /// This end's address.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.stream.local_addr().ok().map(Address::from)
    }

    /// The other end's address.
    #[must_use]
    pub fn remote(&self) -> Option<Address> {
        self.stream.peer_addr().ok().map(Address::from)
    }

    /// The same end, for another thread.
    ///
    /// # Errors
    /// The host has no handle left.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let stream =
            self.stream.try_clone().map_err(|error| Error::host("a second handle of a peer's socket", error))?;
        Ok(Self { stream })
    }

    /// Has the end of the last handle reset the connection.
    ///
    /// # Errors
    /// The host refuses.
    pub fn reset_at_close(&self) -> Result<(), Error> {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .map_err(|error| Error::host("a peer resetting its connection", error))
    }

    /// Ends whatever threads do with this end.
    pub fn interrupt(&self) {
        // One that has ended has nothing to interrupt.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Sends all of `data`.
    ///
    /// # Errors
    /// The connection ended, or the other end takes nothing for [`PATIENCE`].
    pub fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        self.stream.write_all(data).map_err(|error| Error::host(format!("a peer sending {} bytes", data.len()), error))
    }

    /// Receives exactly `length` bytes.
    ///
    /// # Errors
    /// The connection ended before, or nothing comes for [`PATIENCE`].
    pub fn receive(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let mut data = vec![0; length];
        match self.stream.read_exact(&mut data) {
            Ok(()) => Ok(data),
            Err(error) => Err(Error::host(format!("a peer receiving {length} bytes"), error)),
        }
    }

    /// Receives until the other end has sent all it will.
    ///
    /// # Errors
    /// The connection is reset, or nothing comes for [`PATIENCE`].
    pub fn receive_to_end(&mut self) -> Result<Vec<u8>, Error> {
        let mut data = Vec::new();
        match self.stream.read_to_end(&mut data) {
            Ok(_) => Ok(data),
            Err(error) => Err(Error::host(format!("a peer receiving, after {} bytes", data.len()), error)),
        }
    }

    /// Ends the sending direction: the other end reads the end of the stream.
    ///
    /// # Errors
    /// The connection ended before.
    pub fn shut_down(&self) -> Result<(), Error> {
        self.stream.shutdown(Shutdown::Write).map_err(|error| Error::host("a peer shutting down", error))
    }

    /// Reads, and forgets, what is left of the stream until it ends.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`].
    pub fn ending(&mut self) -> Result<Ending, Error> {
        let mut scrap = vec![0; 1 << 16];
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            match self.stream.read(&mut scrap) {
                Ok(0) => return Ok(Ending::EndOfFile),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => return Ok(Ending::Reset),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => break,
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(Error::host("a peer reading to the end of its connection", error)),
                },
            }
        }
        Err(Error::new("a peer reading to the end of its connection", Cause::TimedOut(PATIENCE)))
    }

    /// Sends back every byte until the connection ends, and tells how many they were.
    fn echo(mut self) -> Result<u64, Error> {
        let mut chunk = vec![0; 1 << 16];
        let mut echoed = 0;
        loop {
            let length = match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(echoed),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(echoed),
                Err(error) => return Err(Error::host("the echo peer reading", error)),
            };
            self.send(chunk.get(..length).unwrap_or_default())?;
            echoed += length as u64;
        }
    }
}

/// A port on 127.0.0.1 that nobody listens on: taken from the host and given back. Somebody else may take it at any time.
///
/// # Errors
/// The host has no socket or port left.
pub fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Error::host("look for a free port", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_peer_sends_back_what_it_gets_and_counts_it() {
        let echo = Listener::start().unwrap().echo();
        let mut peer = Peer::connect(echo.address()).unwrap();
        peer.send(b"hello").unwrap();
        assert_eq!(peer.receive(5).unwrap(), b"hello");
        drop(peer);
        assert_eq!(echo.join().unwrap(), 5);
    }

    #[test]
    fn a_peer_tells_the_end_of_the_stream_from_a_reset() {
        let listener = Listener::start().unwrap();
        let mut left = Peer::connect(listener.address()).unwrap();
        let right = listener.accept().unwrap();
        right.shut_down().unwrap();
        assert_eq!(left.ending().unwrap(), Ending::EndOfFile);

        let mut left = Peer::connect(listener.address()).unwrap();
        let right = listener.accept().unwrap();
        left.send(b"never read").unwrap();
        thread::sleep(Duration::from_millis(20));
        drop(right); // with unread data: the host resets the connection
        assert_eq!(left.ending().unwrap(), Ending::Reset);
    }

    #[test]
    fn connecting_to_a_free_port_is_refused() {
        let port = free_port().unwrap();
        let error = Peer::connect(Address::v4([127, 0, 0, 1], port)).unwrap_err();
        assert!(error.to_string().starts_with(&format!("a peer connecting to 127.0.0.1:{port}: ")), "{error}");
    }
}
