//! The host's sockets: what WSK's TCP and UDP are made of.
//!
//! One idea: every operation is tried at once and never blocks; an operation that would block is tried again when the host says
//! that the socket has changed. Data goes between the host and the memory of the driver's MDLs without a copy in between.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, MaybeUninitSlice, MsgHdr, MsgHdrMut, Protocol, SockAddr, Socket, Type};

use super::buffers::Segment;

/// Segments given to the host at once; a longer chain takes several turns.
const SEGMENTS: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// TCP states of the host (`tcpi_state`) in which this side's FIN has been acknowledged, or the connection is over.
const FIN_ACKNOWLEDGED: [u8; 3] = [TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE];
/// TCP states of the host in which both sides have sent their FIN.
const BOTH_SHUT: [u8; 4] = [TCP_TIME_WAIT, TCP_CLOSE, TCP_LAST_ACK, TCP_CLOSING];
const TCP_FIN_WAIT2: u8 = 5;
const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LAST_ACK: u8 = 9;
const TCP_CLOSING: u8 = 11;

/// One socket of the host, never blocking.
#[derive(Debug)]
pub struct Host {
    socket: Socket,
}

impl Host {
    /// A socket for `stream` (TCP) or datagrams (UDP), over IPv6 or IPv4.
    pub fn new(stream: bool, v6: bool) -> io::Result<Self> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let (kind, protocol) = if stream { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
        let socket = Socket::new(domain, kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        if stream {
            // Windows lets an address be bound again while its old connections are in TIME_WAIT; the host only so.
            socket.set_reuse_address(true)?;
        }
        if v6 {
            socket.set_only_v6(true)?; // the default of Windows
        }
        Ok(Self { socket })
    }

    /// What the network thread waits on.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The socket, for its options.
    pub fn options(&self) -> &Socket {
        &self.socket
    }

    /// Binds, and says where.
    pub fn bind(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.socket.bind(&address.into())?;
        self.local()
    }

    /// Starts to listen.
    pub fn listen(&self) -> io::Result<()> {
        self.socket.listen(BACKLOG)
    }

    /// The next connection that has arrived, and where it came from.
    pub fn accept(&self) -> io::Result<(Self, SocketAddr)> {
        loop {
            match self.socket.accept() {
                Ok((socket, peer)) => {
                    socket.set_nonblocking(true)?;
                    let peer = peer.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
                    return Ok((Self { socket }, peer));
                }
                // A connection that was reset before it was accepted is not the listener's error.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ECONNABORTED)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects: true once the connection stands, false while it does not. The host wants to be asked until it does, or has said
    /// why not; then the socket can connect again.
    pub fn connect(&self, address: SocketAddr) -> io::Result<bool> {
        match self.socket.connect(&address.into()) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINPROGRESS | libc::EALREADY) => Ok(false),
                Some(libc::EISCONN) => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// Lets a datagram socket that was connected hear everybody again.
    pub fn disconnect(&self) -> io::Result<()> {
        let local = self.local()?;
        let nobody =
            libc::sockaddr { sa_family: libc::AF_UNSPEC.cast_unsigned().try_into().unwrap_or(0), sa_data: [0; 14] };
        let length = libc::socklen_t::try_from(size_of_val(&nobody)).unwrap_or(0);
        // SAFETY: the address is there for the call, and as long as it says.
        if unsafe { libc::connect(self.fd(), &raw const nobody, length) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The host keeps a port that the driver chose, and gives one back that it chose itself.
        if self.local()?.port() == local.port() { Ok(()) } else { self.socket.bind(&local.into()) }
    }

    /// Where the socket is bound.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Receives at most `most` bytes into `segments`, leaving out their first `skip` bytes. Zero: the peer has shut its side
    /// down.
    ///
    /// # Safety
    /// The segments are memory that nobody else uses during the call.
    pub unsafe fn receive(&self, segments: &[Segment], skip: usize, most: usize) -> io::Result<usize> {
        // SAFETY: the caller vouches for the memory.
        let mut slices = unsafe { writable(segments, skip, most) };
        retry(|| self.socket.recv_vectored(&mut slices).map(|(count, _)| count))
    }

    /// Takes what has arrived and drops it. Zero: the peer has shut its side down.
    pub fn discard(&self) -> io::Result<usize> {
        let mut scratch = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        retry(|| self.socket.recv(&mut scratch))
    }

    /// What has arrived, at most `most` bytes, left where it is. Empty: the peer has shut its side down.
    pub fn peek(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(most);
        let count = retry(|| self.socket.recv_with_flags(bytes.spare_capacity_mut(), libc::MSG_PEEK))?;
        // SAFETY: the host has written the first `count` bytes.
        unsafe { bytes.set_len(count) };
        Ok(bytes)
    }

    /// How many bytes have arrived and are not received.
    pub fn waiting(&self) -> io::Result<usize> {
        let mut count: libc::c_int = 0;
        // SAFETY: the host writes one int.
        if unsafe { libc::ioctl(self.fd(), libc::FIONREAD, &raw mut count) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Drops `count` bytes that were peeked at.
    pub fn drop_bytes(&self, mut count: usize) {
        let mut scratch = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        while count != 0 {
            let most = count.min(scratch.len());
            match retry(|| self.socket.recv(&mut scratch[..most])) {
                Ok(0) | Err(_) => return, // nobody else reads, so the peer has reset the connection
                Ok(dropped) => count -= dropped,
            }
        }
    }

    /// The next datagram, whole, and its sender.
    pub fn datagram(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut bytes = Vec::with_capacity(64 * 1024);
        let (count, from) = retry(|| self.socket.recv_from(bytes.spare_capacity_mut()))?;
        // SAFETY: the host has written the first `count` bytes.
        unsafe { bytes.set_len(count) };
        from.as_socket().map(|from| (bytes, from)).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Whether the peer has ended the connection: gracefully (false) or with a reset (true). `shut`: so has this side.
    pub fn peer_ended(&self, shut: bool) -> Option<bool> {
        match self.tcp_state() {
            TCP_CLOSE => Some(!shut),
            TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING | TCP_TIME_WAIT => Some(false),
            _ => None,
        }
    }

    /// Receives one datagram: its length in the segments, its sender, and whether some of it did not fit.
    ///
    /// # Safety
    /// As [`Host::receive`].
    pub unsafe fn receive_from(&self, segments: &[Segment]) -> io::Result<(usize, SocketAddr, bool)> {
        // SAFETY: the caller vouches for the memory.
        let mut slices = unsafe { writable(segments, 0, usize::MAX) };
        // The host writes no more of the sender's address than this one's length: as long as any.
        let nowhere = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
        retry(|| {
            let mut sender = SockAddr::from(nowhere);
            let mut message = MsgHdrMut::new().with_addr(&mut sender).with_buffers(&mut slices);
            let count = self.socket.recvmsg(&mut message, 0)?;
            let truncated = message.flags().is_truncated();
            Ok((count, sender.as_socket().unwrap_or(nowhere), truncated))
        })
    }

    /// Hands `segments`, without their first `skip` bytes, to the host's TCP; says how much it took.
    ///
    /// # Safety
    /// The segments are memory that nobody writes during the call.
    pub unsafe fn send(&self, segments: &[Segment], skip: usize) -> io::Result<usize> {
        // SAFETY: the caller vouches for the memory.
        let slices = unsafe { readable(segments, skip) };
        retry(|| self.socket.send_vectored_with_flags(&slices, libc::MSG_NOSIGNAL))
    }

    /// Sends `segments` as one datagram.
    ///
    /// # Safety
    /// As [`Host::send`].
    pub unsafe fn send_to(&self, segments: &[Segment], address: SocketAddr) -> io::Result<usize> {
        // SAFETY: the caller vouches for the memory.
        let slices = unsafe { readable(segments, 0) };
        let address = SockAddr::from(address);
        let message = MsgHdr::new().with_addr(&address).with_buffers(&slices);
        retry(|| self.socket.sendmsg(&message, libc::MSG_NOSIGNAL))
    }

    /// Sends the FIN.
    pub fn shut_down(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Whether the peer has acknowledged this side's FIN, and with it every byte before.
    pub fn fin_acknowledged(&self) -> bool {
        FIN_ACKNOWLEDGED.contains(&self.tcp_state())
    }

    /// Whether both sides have sent their FIN.
    pub fn both_shut(&self) -> bool {
        BOTH_SHUT.contains(&self.tcp_state())
    }

    /// Closes the connection with a reset.
    pub fn reset(self) {
        // Without the option the host would still close, only gracefully; a socket that is not connected does not care.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    fn tcp_state(&self) -> u8 {
        let mut state = MaybeUninit::<[u8; 8]>::zeroed();
        let mut length: libc::socklen_t = 8;
        // SAFETY: the host writes at most `length` bytes of its tcp_info, of which the state is the first.
        let failed = unsafe {
            libc::getsockopt(self.fd(), libc::IPPROTO_TCP, libc::TCP_INFO, state.as_mut_ptr().cast(), &raw mut length)
        };
        if failed != 0 {
            return TCP_CLOSE;
        }
        // SAFETY: every byte was set to zero, then perhaps written by the host.
        let state = unsafe { state.assume_init() };
        state[0]
    }
}

/// Lets the process open as many sockets as its hard limit permits.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 && limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid request; if it is refused the old limit stays.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

fn retry<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// What is left of `segments` after `skip` bytes.
pub fn rest(segments: &[Segment], mut skip: usize) -> impl Iterator<Item = (*mut u8, usize)> {
    segments
        .iter()
        .filter_map(move |segment| {
            let left_out = skip.min(segment.length);
            skip -= left_out;
            let length = segment.length - left_out;
            (length != 0).then(|| (segment.start.wrapping_add(left_out), length))
        })
        .take(SEGMENTS)
}

unsafe fn writable(segments: &[Segment], skip: usize, mut most: usize) -> Vec<MaybeUninitSlice<'_>> {
    rest(segments, skip)
        .map_while(|(start, length)| {
            let length = length.min(most);
            most -= length;
            (length != 0).then_some((start, length))
        })
        .map(|(start, length)| {
            // SAFETY: the caller of this function vouches for the segments' memory.
            MaybeUninitSlice::new(unsafe { std::slice::from_raw_parts_mut(start.cast(), length) })
        })
        .collect()
}

unsafe fn readable(segments: &[Segment], skip: usize) -> Vec<io::IoSlice<'_>> {
    rest(segments, skip)
        .map(|(start, length)| {
            // SAFETY: the caller of this function vouches for the segments' memory.
            io::IoSlice::new(unsafe { std::slice::from_raw_parts(start, length) })
        })
        .collect()
}
