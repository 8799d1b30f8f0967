//! What WSK's sockets are made of: the host's, or ends of the network in memory.
//!
//! One idea: both never block and answer alike, so that the provider does not know which it has.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::buffers::{Buffer, Segment};
use super::host::{Host as Socket, rest};
use super::memory::End;

/// A socket of the host, or an end of the network in memory.
pub enum Host {
    Socket(Socket),
    Memory(End),
}

impl Host {
    /// What the network thread waits on; an end in memory tells its news itself.
    pub fn fd(&self) -> Option<RawFd> {
        if let Self::Socket(socket) = self { Some(socket.fd()) } else { None }
    }

    /// Names the driver's socket whose news an end's are.
    pub fn belongs_to(&self, number: usize) {
        if let Self::Memory(end) = self {
            end.belongs_to(number);
        }
    }

    /// The host's socket, for its options.
    pub fn options(&self) -> Option<&socket2::Socket> {
        if let Self::Socket(socket) = self { Some(socket.options()) } else { None }
    }

    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.options().map_or(Ok(None), socket2::Socket::take_error)
    }

    pub fn bind(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        match self {
            Self::Socket(socket) => socket.bind(address),
            Self::Memory(end) => end.bind(address),
        }
    }

    pub fn listen(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.listen(),
            Self::Memory(end) => end.listen(),
        }
    }

    pub fn accept(&self) -> io::Result<(Self, SocketAddr)> {
        match self {
            Self::Socket(socket) => socket.accept().map(|(socket, from)| (Self::Socket(socket), from)),
            Self::Memory(end) => end.accept().map(|(end, from)| (Self::Memory(end), from)),
        }
    }

    pub fn connect(&self, address: SocketAddr) -> io::Result<bool> {
        match self {
            Self::Socket(socket) => socket.connect(address),
            Self::Memory(end) => end.connect(address),
        }
    }

    /// Undoes what a connection of a datagram socket has fixed.
    pub fn disconnect(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.disconnect(),
            Self::Memory(end) => end.disconnect(),
        }
    }

    pub fn local(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Socket(socket) => socket.local(),
            Self::Memory(end) => end.local(),
        }
    }

    /// As the host's receive.
    ///
    /// # Safety
    /// The segments are memory that nobody else uses during the call.
    pub unsafe fn receive(&self, segments: &[Segment], skip: usize, most: usize) -> io::Result<usize> {
        match self {
            // SAFETY: the caller vouches for the memory.
            Self::Socket(socket) => unsafe { socket.receive(segments, skip, most) },
            Self::Memory(end) => {
                let room: Vec<_> = rest(segments, skip).map(|(start, length)| Segment { start, length }).collect();
                let length: usize = room.iter().map(|segment| segment.length).sum();
                let bytes = end.read(length.min(most), true)?;
                // SAFETY: the caller vouches for the memory.
                Ok(unsafe { Buffer { segments: room, length }.fill(&bytes) })
            }
        }
    }

    pub fn discard(&self) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.discard(),
            Self::Memory(end) => end.read(usize::MAX, true).map(|bytes| bytes.len()),
        }
    }

    pub fn peek(&self, most: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Socket(socket) => socket.peek(most),
            Self::Memory(end) => end.read(most, false),
        }
    }

    pub fn waiting(&self) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.waiting(),
            Self::Memory(end) => end.waiting(),
        }
    }

    pub fn drop_bytes(&self, count: usize) {
        match self {
            Self::Socket(socket) => socket.drop_bytes(count),
            Self::Memory(end) => {
                let _ = end.read(count, true); // nobody else reads, so they are there, or the connection is reset
            }
        }
    }

    pub fn datagram(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        match self {
            Self::Socket(socket) => socket.datagram(),
            Self::Memory(end) => end.receive_from(),
        }
    }

    pub fn peer_ended(&self, shut: bool) -> Option<bool> {
        match self {
            Self::Socket(socket) => socket.peer_ended(shut),
            Self::Memory(end) => end.peer_ended(),
        }
    }

    /// As the host's receive of one datagram.
    ///
    /// # Safety
    /// As [`Host::receive`].
    pub unsafe fn receive_from(&self, buffer: &Buffer) -> io::Result<(usize, SocketAddr, bool)> {
        match self {
            // SAFETY: the caller vouches for the memory.
            Self::Socket(socket) => unsafe { socket.receive_from(&buffer.segments) },
            Self::Memory(end) => {
                let (bytes, from) = end.receive_from()?;
                // SAFETY: the caller vouches for the memory.
                let count = unsafe { buffer.fill(&bytes) };
                Ok((count, from, count < bytes.len()))
            }
        }
    }

    /// As the host's send.
    ///
    /// # Safety
    /// The segments are memory that nobody writes during the call.
    pub unsafe fn send(&self, segments: &[Segment], skip: usize) -> io::Result<usize> {
        match self {
            // SAFETY: the caller vouches for the memory.
            Self::Socket(socket) => unsafe { socket.send(segments, skip) },
            // SAFETY: the caller vouches for the memory.
            Self::Memory(end) => end.write(&unsafe { copy(segments, skip) }),
        }
    }

    /// As the host's send of one datagram.
    ///
    /// # Safety
    /// As [`Host::send`].
    pub unsafe fn send_to(&self, segments: &[Segment], address: SocketAddr) -> io::Result<usize> {
        match self {
            // SAFETY: the caller vouches for the memory.
            Self::Socket(socket) => unsafe { socket.send_to(segments, address) },
            // SAFETY: the caller vouches for the memory.
            Self::Memory(end) => end.send_to(&unsafe { copy(segments, 0) }, address),
        }
    }

    pub fn shut_down(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.shut_down(),
            Self::Memory(end) => {
                end.shut_down();
                Ok(())
            }
        }
    }

    pub fn fin_acknowledged(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.fin_acknowledged(),
            Self::Memory(end) => end.fin_acknowledged(),
        }
    }

    pub fn both_shut(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.both_shut(),
            Self::Memory(end) => end.both_shut(),
        }
    }

    pub fn reset(self) {
        match self {
            Self::Socket(socket) => socket.reset(),
            Self::Memory(end) => end.reset(),
        }
    }
}

/// # Safety
/// The segments are memory that nobody writes during the call.
unsafe fn copy(segments: &[Segment], skip: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (start, length) in rest(segments, skip) {
        // SAFETY: the caller vouches for the segments' memory.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(start, length) });
    }
    bytes
}
