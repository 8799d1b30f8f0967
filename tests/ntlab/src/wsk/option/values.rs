//! Options that are a number: whom each applies to, when it can be set, what it may be, and what it is at the start.
//!
//! One idea: a socket remembers what was set, so that an option reads back as it was written; where the host has the like it is
//! told, and where it has not, the loopback interface would show no difference.
//!
//! Source: *WSK Socket Options* and the page of each; *`SOL_SOCKET` Socket Options*, *`IPPROTO_TCP` Socket Options*, *`IPPROTO_IP`
//! Socket Options*, *`IPPROTO_IPV6` Socket Options*, *`IPPROTO_UDP` Socket Options* for the transports' own.

use std::collections::BTreeMap;
use std::io;

use socket2::{Socket as HostSocket, TcpKeepalive};
use wsk::sys;

use super::super::socket::{Category, Inner, Phase, Socket};
use super::super::status::{self, Status};
use super::codes::{
    IP_DONTFRAGMENT, IP_MULTICAST_LOOP, IP_MULTICAST_TTL, IP_TOS, IP_TTL, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP,
    IPPROTO_UDP, IPV6_DONTFRAG, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_UNICAST_HOPS, IPV6_V6ONLY, SO_BROADCAST,
    SO_CONDITIONAL_ACCEPT, SO_ERROR, SO_EXCLUSIVEADDRUSE, SO_KEEPALIVE, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF, SO_TYPE,
    SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_MAXRT, TCP_NODELAY, UDP_NOCHECKSUM,
};

/// A level and a code.
pub type Name = (u32, u32);

/// What was set on a socket.
#[derive(Clone, Default)]
pub struct Values(BTreeMap<Name, u32>);

impl Values {
    /// Those of a listening socket that accepted ones have too.
    pub fn inherited(&self) -> Self {
        const INHERITED: [Name; 2] = [(SOL_SOCKET, SO_KEEPALIVE), (SOL_SOCKET, SO_RCVBUF)];
        let kept = |(name, value): (&Name, &u32)| INHERITED.contains(name).then_some((*name, *value));
        Self(self.0.iter().filter_map(kept).collect())
    }

    /// Whether the flag `name` is set.
    pub fn is_set(&self, name: Name) -> bool {
        self.0.get(&name).is_some_and(|&value| value != 0)
    }
}

/// Sockets that an option applies to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Applies {
    /// Those that are bound one day.
    NotBasic,
    Listen,
    Datagram,
    /// TCP, connected or listening.
    Tcp,
    Udp,
    V4,
    V6,
}

impl Applies {
    fn to(self, socket: &Socket) -> bool {
        match self {
            Self::NotBasic => socket.category != Category::Basic,
            Self::Listen => socket.category == Category::Listen,
            Self::Datagram => socket.category == Category::Datagram,
            Self::Tcp => socket.tcp,
            Self::Udp => !socket.tcp,
            Self::V4 => socket.family == sys::AF_INET,
            Self::V6 => socket.family == sys::AF_INET6,
        }
    }
}

/// An option.
struct Known {
    name: Name,
    applies: Applies,
    /// It cannot be set on a bound socket.
    before_bind: bool,
    /// The least and the most that it may be; none for one that is only read.
    range: Option<(u32, u32)>,
    start: u32,
}

const FLAG: Option<(u32, u32)> = Some((0, 1));
const BYTE: Option<(u32, u32)> = Some((0, 255));
const HOPS: Option<(u32, u32)> = Some((1, 255));
const SECONDS: Option<(u32, u32)> = Some((1, 32_767));
const ANY: Option<(u32, u32)> = Some((0, u32::MAX));

const fn known(name: Name, applies: Applies, range: Option<(u32, u32)>, start: u32) -> Known {
    Known { name, applies, before_bind: false, range, start }
}

const fn early(name: Name, applies: Applies, start: u32) -> Known {
    Known { name, applies, before_bind: true, range: FLAG, start }
}

const TABLE: &[Known] = &[
    early((SOL_SOCKET, SO_REUSEADDR), Applies::NotBasic, 0),
    early((SOL_SOCKET, SO_EXCLUSIVEADDRUSE), Applies::NotBasic, 0),
    early((SOL_SOCKET, SO_CONDITIONAL_ACCEPT), Applies::Listen, 0),
    early((IPPROTO_IPV6, IPV6_V6ONLY), Applies::V6, 1),
    known((SOL_SOCKET, SO_KEEPALIVE), Applies::Tcp, FLAG, 0),
    known((SOL_SOCKET, SO_BROADCAST), Applies::Datagram, FLAG, 0),
    known((SOL_SOCKET, SO_RCVBUF), Applies::NotBasic, ANY, 64 * 1024),
    known((SOL_SOCKET, SO_SNDBUF), Applies::NotBasic, ANY, 64 * 1024),
    known((SOL_SOCKET, SO_TYPE), Applies::NotBasic, None, 0),
    known((SOL_SOCKET, SO_ERROR), Applies::NotBasic, None, 0),
    known((IPPROTO_TCP, TCP_NODELAY), Applies::Tcp, FLAG, 0),
    known((IPPROTO_TCP, TCP_KEEPIDLE), Applies::Tcp, SECONDS, 7200),
    known((IPPROTO_TCP, TCP_KEEPINTVL), Applies::Tcp, SECONDS, 1),
    known((IPPROTO_TCP, TCP_KEEPCNT), Applies::Tcp, BYTE, 10),
    known((IPPROTO_TCP, TCP_MAXRT), Applies::Tcp, ANY, u32::MAX),
    known((IPPROTO_IP, IP_TTL), Applies::V4, HOPS, 128),
    known((IPPROTO_IP, IP_TOS), Applies::V4, BYTE, 0),
    known((IPPROTO_IP, IP_DONTFRAGMENT), Applies::V4, FLAG, 0),
    known((IPPROTO_IP, IP_MULTICAST_TTL), Applies::V4, BYTE, 1),
    known((IPPROTO_IP, IP_MULTICAST_LOOP), Applies::V4, FLAG, 1),
    known((IPPROTO_IPV6, IPV6_UNICAST_HOPS), Applies::V6, HOPS, 128),
    known((IPPROTO_IPV6, IPV6_MULTICAST_HOPS), Applies::V6, BYTE, 1),
    known((IPPROTO_IPV6, IPV6_MULTICAST_LOOP), Applies::V6, FLAG, 1),
    known((IPPROTO_IPV6, IPV6_DONTFRAG), Applies::V6, FLAG, 0),
    known((IPPROTO_UDP, UDP_NOCHECKSUM), Applies::Udp, FLAG, 0),
];

fn find(socket: &Socket, name: Name) -> Result<&'static Known, Status> {
    TABLE.iter().find(|known| known.name == name && known.applies.to(socket)).ok_or(status::NOT_SUPPORTED)
}

/// Sets an option.
pub fn set(socket: &Socket, inner: &mut Inner, name: Name, value: u32) -> Result<(), Status> {
    let known = find(socket, name)?;
    let (least, most) = known.range.ok_or(status::NOT_SUPPORTED)?;
    if let Phase::Failed(status) = inner.phase {
        return Err(status);
    }
    if known.before_bind && inner.phase != Phase::Unbound {
        return Err(status::INVALID_DEVICE_STATE);
    }
    if !(least..=most).contains(&value) {
        return Err(status::INVALID_PARAMETER);
    }
    if value != 0 && excludes(inner, name) {
        return Err(status::INVALID_PARAMETER);
    }
    if let Some(host) = inner.host.as_ref().and_then(super::super::transport::Host::options) {
        tell(socket, host, name, value).map_err(|error| status::of_host(&error))?;
    }
    if name == (SOL_SOCKET, SO_CONDITIONAL_ACCEPT) {
        inner.events.conditional = value != 0;
    }
    inner.options.0.insert(name, value);
    Ok(())
}

/// An address is shared or exclusive.
fn excludes(inner: &Inner, name: Name) -> bool {
    match name {
        (SOL_SOCKET, SO_REUSEADDR) => inner.options.is_set((SOL_SOCKET, SO_EXCLUSIVEADDRUSE)),
        (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => inner.options.is_set((SOL_SOCKET, SO_REUSEADDR)),
        _ => false,
    }
}

/// Reads an option.
pub fn get(socket: &Socket, inner: &Inner, name: Name) -> Result<u32, Status> {
    let known = find(socket, name)?;
    match (name, inner.phase) {
        ((SOL_SOCKET, SO_TYPE), _) => Ok(if socket.tcp { sys::SOCK_STREAM } else { sys::SOCK_DGRAM }.into()),
        ((SOL_SOCKET, SO_ERROR), Phase::Failed(status)) => Ok(status.cast_unsigned()),
        (_, Phase::Failed(status)) => Err(status),
        _ => Ok(inner.options.0.get(&name).copied().unwrap_or(known.start)),
    }
}

/// Tells the host.
fn tell(socket: &Socket, host: &HostSocket, name: Name, value: u32) -> io::Result<()> {
    let (flag, size) = (value != 0, usize::try_from(value).unwrap_or(usize::MAX));
    let seconds = std::time::Duration::from_secs(value.into());
    match name {
        (SOL_SOCKET, SO_REUSEADDR) if socket.tcp => host.set_reuse_port(flag),
        (SOL_SOCKET, SO_REUSEADDR) => host.set_reuse_address(flag),
        (SOL_SOCKET, SO_KEEPALIVE) => host.set_keepalive(flag),
        (SOL_SOCKET, SO_BROADCAST) => host.set_broadcast(flag),
        (SOL_SOCKET, SO_RCVBUF) => host.set_recv_buffer_size(size),
        (SOL_SOCKET, SO_SNDBUF) => host.set_send_buffer_size(size),
        (IPPROTO_TCP, TCP_NODELAY) => host.set_tcp_nodelay(flag),
        (IPPROTO_TCP, TCP_KEEPIDLE) => keep_alive(host, &TcpKeepalive::new().with_time(seconds)),
        (IPPROTO_TCP, TCP_KEEPINTVL) => keep_alive(host, &TcpKeepalive::new().with_interval(seconds)),
        (IPPROTO_IPV6, IPV6_V6ONLY) => host.set_only_v6(flag),
        (IPPROTO_IP, IP_TTL) => host.set_ttl_v4(value),
        (IPPROTO_IPV6, IPV6_UNICAST_HOPS) => host.set_unicast_hops_v6(value),
        _ => Ok(()),
    }
}

/// The host turns keep-alives on when it is told their times; the driver has not.
fn keep_alive(host: &HostSocket, times: &TcpKeepalive) -> io::Result<()> {
    let on = host.keepalive()?;
    host.set_tcp_keepalive(times)?;
    host.set_keepalive(on)
}
