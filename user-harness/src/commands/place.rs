//! Hosts and ports as they are typed, and their addresses as the driver's namespace provider knows them.

use super::session::Session;
use crate::{
    Cause, Error, Wanted,
    abi::{AF_INET, AF_INET6, Address, Namespace, Role, hints},
};
use clap::Args;
use std::{net::IpAddr, str::FromStr};

/// How many addresses of a name are tried.
const ROOM: usize = 16;

/// A port, or the name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port(String);

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name {
            return Err("a port is a number, or the name of a service".into());
        }
        if is_number && text.parse::<u16>().is_err() {
            return Err("a port is a number from 0 to 65535".into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Port {
    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its number, where that was typed.
    pub fn number(&self) -> Option<u16> {
        self.0.parse().ok()
    }
}

/// IPv4 or IPv6.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Family {
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
}

impl Family {
    /// `AF_INET`, `AF_INET6`, or 0 for both.
    pub fn number(self) -> u16 {
        match (self.ipv4, self.ipv6) {
            (true, _) => AF_INET,
            (_, true) => AF_INET6,
            _ => 0,
        }
    }

    /// Any local address of the family; of IPv4 unless IPv6 was asked for.
    fn any(self) -> IpAddr {
        if self.ipv6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() }
    }

    fn admits(self, address: IpAddr) -> bool {
        !(self.ipv4 && address.is_ipv6() || self.ipv6 && address.is_ipv4())
    }
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Stream,
    Datagrams,
}

impl Over {
    pub fn of(udp: bool) -> Self {
        if udp { Self::Datagrams } else { Self::Stream }
    }

    /// The role of a socket that connects.
    pub fn role(self) -> Role {
        match self {
            Self::Stream => Role::Connection,
            Self::Datagrams => Role::Datagram,
        }
    }

    /// `SOCK_*`.
    pub fn socket_type(self) -> u16 {
        match self {
            Self::Stream => hints::STREAM,
            Self::Datagrams => hints::DATAGRAM,
        }
    }

    /// `IPPROTO_*`.
    pub fn protocol(self) -> u32 {
        match self {
            Self::Stream => hints::TCP,
            Self::Datagrams => hints::UDP,
        }
    }
}

/// The addresses of a host, the best first; without one, those of this machine to listen on. Numbers are nobody's to look up.
///
/// # Errors
/// The name or the service is not known, or has no address of the family; Ctrl-C was pressed.
pub(super) fn addresses(
    session: &mut Session,
    host: Option<&str>,
    port: &Port,
    family: Family,
    over: Over,
) -> Result<Vec<Address>, Error> {
    let number = match host {
        Some(host) => host.trim_matches(['[', ']']).parse().ok(),
        None => Some(family.any()),
    };
    if let Some(ip) = number
        && !family.admits(ip)
    {
        let (is, option) = if ip.is_ipv6() { ("IPv6", "-4") } else { ("IPv4", "-6") };
        let why = format!("it is an {is} address: leave {option} out");
        return Err(Error::new(format!("use the address {ip}"), Cause::Usage(why)));
    }
    if let (Some(ip), Some(port)) = (number, port.number()) {
        return Ok(vec![std::net::SocketAddr::new(ip, port).into()]);
    }
    let node = number.map(|ip| ip.to_string()).or_else(|| host.map(str::to_owned));
    let wanted = Wanted {
        node: node.as_deref(),
        service: Some(&port.0),
        family: family.number(),
        socket_type: over.socket_type(),
        protocol: over.protocol(),
        ..Wanted::default()
    };
    let dns = Namespace::Dns.guid();
    let _started = session.client.startup_namespace(dns)?;
    let resolved = session.finish(session.client.begin_resolve(dns, &wanted, ROOM), None)?;
    Ok(resolved.addresses.into_iter().map(|found| found.address).collect())
}

/// Any local address of the same family as `address`.
pub(super) fn any_like(address: Address) -> Address {
    if address.as_v6().is_some() { Address::v6([0; 16], 0, 0) } else { Address::v4([0; 4], 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_that_fits_or_a_name() {
        for right in ["0", "80", "65535", "http", "ms-sql_m"] {
            assert!(right.parse::<Port>().is_ok(), "{right}");
        }
        for wrong in ["", "65536", "-1", "80/tcp", "a b", "\u{fc}"] {
            assert!(wrong.parse::<Port>().is_err(), "{wrong}");
        }
    }
}
