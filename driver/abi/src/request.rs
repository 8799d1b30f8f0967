//! The structs of each request, in [`Ioctl`](crate::Ioctl)'s order.
//!
//! Inputs have exactly the struct's length (otherwise `WSAEFAULT`); output buffers at least that (otherwise `WSAEFAULT`).

use crate::{Address, CatalogEntry, Guid, NamespaceEntry, WinsockVersion};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident, $size:literal { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    )*};
}

/// A socket's handle: slot and generation. A stale one is refused, and never names another socket (contract: X-5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SocketHandle(pub u64);

/// What a socket is for. WSK decides it at creation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum Role {
    /// Accepts connections.
    Listen = 1,
    /// Connects, or was accepted; carries a stream of bytes.
    Connection = 2,
    /// Sends and receives datagrams.
    Datagram = 3,
}

impl Role {
    /// The role with this number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Listen),
            2 => Some(Self::Connection),
            3 => Some(Self::Datagram),
            _ => None,
        }
    }
}

wire! {
    /// Output of `Version`.
    VersionReply, 8 {
        /// [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION) of the driver.
        protocol: u32,
        /// The driver's own version: major, minor, patch in bytes 3, 2 and 1.
        driver: u32,
    }
    /// Input of `Startup`.
    Startup, 32 {
        /// A [`Provider`](crate::Provider)'s number; another one is `WSAEINVAL`.
        provider: u32,
        /// The highest version that the caller can use. `namespace`: zero.
        version: WinsockVersion,
        /// Zero.
        reserved: u16,
        /// `transport`: an identifier from the [`CATALOG`](crate::CATALOG), otherwise `WSAEINVAL`. Other providers: zero.
        catalog_id: u32,
        /// Zero.
        reserved2: u32,
        /// `namespace`: the provider's GUID; one that is in no entry of the [`NAMESPACES`](crate::NAMESPACES) is `WSAEINVAL`, one
        /// that is not served `WSAEOPNOTSUPP`. Other providers: zero.
        guid: Guid,
    }
    /// Output of `Startup`, after `WSADATA`.
    StartupReply, 184 {
        /// The version to use. `namespace`: the highest version that the driver serves.
        version: WinsockVersion,
        /// The highest version that the driver serves.
        highest_version: WinsockVersion,
        /// How many sockets the client may have.
        max_sockets: u32,
        /// Largest datagram, bytes: [`MAX_DATAGRAM`].
        max_datagram: u32,
        /// References on the provider, this one included: those that are counted together ([`CountedPer`](crate::CountedPer)).
        references: u32,
        /// `transport`: the catalog entry. Other providers: zeros.
        entry: CatalogEntry,
        /// What serves the provider, zero-filled text.
        description: [u8; 64],
        /// `namespace`: the provider's entry. Other providers: zeros.
        namespace: NamespaceEntry,
    }
    /// Input of `Cleanup`. What is `WSAEINVAL` for another provider is `WSAEFAULT` for `san`, whose cleanup knows no `WSAEINVAL`.
    Cleanup, 24 {
        /// A [`Provider`](crate::Provider)'s number; another one is `WSAEINVAL`.
        provider: u32,
        /// Zero.
        reserved: u32,
        /// As in [`Startup`].
        guid: Guid,
    }
    /// Input of `Socket`.
    SocketOpen, 16 {
        /// The provider that the socket belongs to: its teardown ends the socket. `namespace` has none: `WSAEOPNOTSUPP`.
        provider: u32,
        /// `AF_INET` or `AF_INET6`; another one is `WSAEAFNOSUPPORT`.
        family: u16,
        /// A [`Role`]'s number; another one is `WSAESOCKTNOSUPPORT`.
        role: u16,
        /// 0 or what the role takes: `IPPROTO_TCP` to listen or connect, `IPPROTO_UDP` for datagrams. The other one of the two is
        /// `WSAEPROTOTYPE`, any third is `WSAEPROTONOSUPPORT`.
        protocol: u32,
        /// Zero.
        reserved: u32,
    }
    /// Output of `Socket`.
    SocketReply, 8 {
        /// The new socket.
        socket: SocketHandle,
    }
    /// Input of `Bind`.
    Bind, 40 {
        /// The socket.
        socket: SocketHandle,
        /// The local address; port 0 lets the stack choose.
        address: Address,
        /// Zero.
        reserved: u32,
    }
    /// Input of `Listen`.
    Listen, 16 {
        /// A bound socket whose role is to listen.
        socket: SocketHandle,
        /// How many connections may wait, at least 1. WSK has its own limit: a hint.
        backlog: u32,
        /// Zero.
        reserved: u32,
    }
    /// Input of `Accept`.
    Accept, 8 {
        /// A listening socket.
        socket: SocketHandle,
    }
    /// Output of `Accept`.
    AcceptReply, 64 {
        /// The connection's socket.
        socket: SocketHandle,
        /// This end's address.
        local: Address,
        /// The peer's address.
        remote: Address,
    }
    /// Input of `Connect`.
    Connect, 40 {
        /// A bound socket whose role is to connect; or one for datagrams, which has the address as its peer from then on: it sends
        /// there and receives from there only. It may be connected again.
        socket: SocketHandle,
        /// The peer's address; port 0 is `WSAEADDRNOTAVAIL`.
        address: Address,
        /// Zero.
        reserved: u32,
    }
    /// Input of `Send`, `Receive` and `ReceiveFrom`.
    Transfer, 16 {
        /// A connected socket; to receive datagrams, a bound one.
        socket: SocketHandle,
        /// [`Transfer::WAIT_ALL`] for a receive of a connection, otherwise zero.
        flags: u32,
        /// Zero.
        reserved: u32,
    }
    /// Input of `Address`.
    AddressOf, 16 {
        /// A bound socket, for the peer's address a connected one.
        socket: SocketHandle,
        /// [`AddressOf::LOCAL`] or [`AddressOf::PEER`].
        end: u32,
        /// Zero.
        reserved: u32,
    }
    /// Output of `Address`.
    AddressReply, 32 {
        /// The address.
        address: Address,
        /// Zero.
        reserved: u32,
    }
    /// Input of `Shutdown`.
    Shutdown, 16 {
        /// A connected socket.
        socket: SocketHandle,
        /// [`Shutdown::SEND`] or [`Shutdown::ABORT`].
        how: u32,
        /// Zero.
        reserved: u32,
    }
    /// Input of `SendTo`.
    SendTo, 40 {
        /// A bound socket for datagrams.
        socket: SocketHandle,
        /// Where the datagram goes; port 0 is `WSAEADDRNOTAVAIL`. Zeros: to the peer that the socket is connected to, otherwise
        /// `WSAEDESTADDRREQ`.
        address: Address,
        /// Zero.
        reserved: u32,
    }
    /// What a `ReceiveFrom` writes before the data.
    ReceivedFrom, 32 {
        /// Where the datagram came from.
        address: Address,
        /// Any of [`ReceivedFrom::TRUNCATED`], [`ReceivedFrom::BROADCAST`] and [`ReceivedFrom::MULTICAST`].
        flags: u32,
    }
    /// Input of `GetOption`.
    GetOption, 16 {
        /// The socket.
        socket: SocketHandle,
        /// The option's level. Of a [`SocketOption`](crate::SocketOption); another one is `WSAENOPROTOOPT`.
        level: u32,
        /// The option's name, as `level`.
        name: u32,
    }
    /// Input of `SetOption`.
    SetOption, 24 {
        /// The socket.
        socket: SocketHandle,
        /// The option's level. Of a [`SocketOption`](crate::SocketOption); another one is `WSAENOPROTOOPT`.
        level: u32,
        /// The option's name, as `level`.
        name: u32,
        /// The value's length, bytes: [`SocketOption::LENGTH`](crate::SocketOption::LENGTH), otherwise `WSAEFAULT`.
        length: u32,
        /// The value.
        value: [u8; 4],
    }
    /// Input of `IoControl`.
    IoControl, 16 {
        /// The socket.
        socket: SocketHandle,
        /// A [`SocketControl`](crate::SocketControl)'s code; another one is `WSAEOPNOTSUPP`.
        code: u32,
        /// Zero.
        reserved: u32,
    }
    /// Output of `GetOption` and `IoControl`.
    OptionValue, 16 {
        /// The value's length, bytes.
        length: u32,
        /// Zero.
        reserved: u32,
        /// The value, then zeros.
        value: [u8; 8],
    }
    /// Input of `Events`.
    Events, 16 {
        /// The socket.
        socket: SocketHandle,
        /// What to wait for: any of [`Events::READ`], [`Events::ACCEPT`], [`Events::CONNECT`], [`Events::CLOSE`]. None, or another
        /// one, is `WSAEINVAL`; one that sockets of this role do not have is `WSAEOPNOTSUPP`.
        mask: u32,
        /// Zero.
        reserved: u32,
    }
    /// Output of `Events`, after `WSANETWORKEVENTS`.
    EventsReply, 32 {
        /// What has happened, of what was waited for: at least one.
        events: u32,
        /// Zero.
        reserved: u32,
        /// For each event's bit its Winsock code; 0 for success.
        codes: [u32; 6],
    }
    /// Input of `Close`.
    Close, 16 {
        /// The socket.
        socket: SocketHandle,
        /// Zero: as the option [`Linger`](crate::SocketOption::Linger) says. [`Close::LINGER`]: graceful.
        flags: u32,
        /// Milliseconds that a graceful close may take, at most [`Close::LONGEST_LINGER`]; 0 for the driver's `LingerDeadline`.
        /// Otherwise zero.
        linger: u32,
    }
}

/// What the option [`Linger`](crate::SocketOption::Linger) holds, after `LINGER`: what a `Close` without flags does.
///
/// | `l_onoff` | `l_linger` | the close |
/// |---|---|---|
/// | 0 | any | is graceful and completes at once, as with [`Close::LINGER`] and its default time |
/// | other | 0 | is abortive: a connected peer sees a reset |
/// | other | seconds | is graceful and completes when it is over; at the end of that time (at most [`Close::LONGEST_LINGER`]) it aborts |
///
/// A new socket has the second row's, as WSK has: the one difference to Winsock, whose sockets begin with the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Linger {
    /// Zero or not.
    pub l_onoff: u16,
    /// Seconds.
    pub l_linger: u16,
}

impl Linger {
    /// Every close aborts.
    pub const ABORTIVE: Self = Self { l_onoff: 1, l_linger: 0 };
}

impl Close {
    /// The close completes at once; what was sent before it still arrives, then the peer sees the end of the stream. At the deadline
    /// the close aborts. A teardown of `transport` waits for it, one of `application` does not.
    pub const LINGER: u32 = 1;
    /// Milliseconds, unless the service's parameter `LingerDeadline` says otherwise.
    pub const DEFAULT_LINGER: u32 = 30_000;
    /// Milliseconds.
    pub const LONGEST_LINGER: u32 = 600_000;
}

impl AddressOf {
    /// This end's address.
    pub const LOCAL: u32 = 1;
    /// The other end's address.
    pub const PEER: u32 = 2;
}

impl Shutdown {
    /// Nothing more is sent: what has been sent before still arrives, then the peer sees the end of the stream. Receives go on.
    pub const SEND: u32 = 1;
    /// The connection is reset.
    pub const ABORT: u32 = 2;
}

/// Largest datagram, bytes: what UDP over IPv4 leaves of 65,535. A longer one is `WSAEMSGSIZE`.
pub const MAX_DATAGRAM: u32 = 65_507;

impl Events {
    /// `FD_READ`: a receive has data, or had: another receive may have taken it meanwhile. It is told again after a receive.
    pub const READ: u32 = 1;
    /// `FD_ACCEPT`: an accept has a connection.
    pub const ACCEPT: u32 = 8;
    /// `FD_CONNECT`: a connect has ended. Told once for each connect.
    pub const CONNECT: u32 = 0x10;
    /// `FD_CLOSE`: the peer sends nothing more, or has reset the connection (`WSAECONNRESET`).
    pub const CLOSE: u32 = 0x20;
    /// Every event.
    pub const EVERY: u32 = Self::READ | Self::ACCEPT | Self::CONNECT | Self::CLOSE;
}

impl ReceivedFrom {
    /// Bytes before the data.
    pub const LENGTH: u32 = 32;
    /// `MSG_TRUNC`: the datagram was longer than the buffer.
    pub const TRUNCATED: u32 = 0x100;
    /// `MSG_BCAST`: it was sent to a broadcast address.
    pub const BROADCAST: u32 = 0x400;
    /// `MSG_MCAST`: it was sent to a multicast address.
    pub const MULTICAST: u32 = 0x800;
}

impl Transfer {
    /// A receive that completes when its buffer is full (`MSG_WAITALL`).
    pub const WAIT_ALL: u32 = 8;
}
