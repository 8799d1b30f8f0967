//! What a look-up asks for, and the answer.
//!
//! Source: *`GetAddrInfoExW`* for hints and flags, *`GetNameInfoW`* for flags.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wsk::sys;

use super::super::status::{self, Status};
use super::services;

/// `AI_*`.
pub mod hint {
    pub const PASSIVE: i32 = 0x1;
    pub const CANONNAME: i32 = 0x2;
    pub const NUMERICHOST: i32 = 0x4;
    pub const NUMERICSERV: i32 = 0x8;
    pub const ALL: i32 = 0x100;
    pub const ADDRCONFIG: i32 = 0x400;
    pub const V4MAPPED: i32 = 0x800;
    pub const FQDN: i32 = 0x2_0000;
    pub const KNOWN: i32 =
        PASSIVE | CANONNAME | NUMERICHOST | NUMERICSERV | ALL | ADDRCONFIG | V4MAPPED | FQDN | 0xf_c000;
}

/// `NI_*`.
mod flag {
    pub const NOFQDN: u32 = 0x1;
    pub const NUMERICHOST: u32 = 0x2;
    pub const NAMEREQD: u32 = 0x4;
    pub const NUMERICSERV: u32 = 0x8;
    pub const DGRAM: u32 = 0x10;
    pub const KNOWN: u32 = 0x1f;
}

/// `NS_ALL` and `NS_DNS`: the namespaces that are here.
pub const NAMESPACES: [u32; 2] = [0, 12];

/// Names and their addresses.
pub type Known = HashMap<String, Vec<IpAddr>>;

/// What `WskGetAddressInfo` asks for.
#[derive(Clone, Debug)]
pub struct Question {
    pub node: Option<String>,
    pub service: Option<String>,
    pub flags: i32,
    pub family: i32,
    pub kind: i32,
    pub protocol: i32,
}

impl Question {
    /// Whether anything can be asked so.
    pub fn is_valid(&self) -> bool {
        let families = [0, i32::from(sys::AF_INET), i32::from(sys::AF_INET6)];
        let streams = self.kind == i32::from(sys::SOCK_STREAM);
        let agrees = match u32::try_from(self.protocol) {
            Ok(0) => true,
            Ok(sys::IPPROTO_TCP) => self.kind == 0 || streams,
            Ok(sys::IPPROTO_UDP) => !streams,
            _ => false,
        };
        (self.node.is_some() || self.service.is_some())
            && families.contains(&self.family)
            && [0, i32::from(sys::SOCK_STREAM), i32::from(sys::SOCK_DGRAM)].contains(&self.kind)
            && agrees
            && self.flags & !hint::KNOWN == 0
            && (self.flags & hint::CANONNAME == 0 || self.node.is_some())
    }

    fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }

    fn port(&self) -> Result<u16, Status> {
        let Some(service) = &self.service else {
            return Ok(0);
        };
        if let Ok(port) = service.parse() {
            return Ok(port);
        }
        if self.has(hint::NUMERICSERV) {
            return Err(status::NO_MATCH);
        }
        let datagram = if self.kind == i32::from(sys::SOCK_DGRAM) || self.protocol == 17 {
            Some(true)
        } else if self.kind == i32::from(sys::SOCK_STREAM) || self.protocol == 6 {
            Some(false)
        } else {
            None
        };
        services::port(service, datagram).ok_or(status::NO_MATCH)
    }

    fn addresses(&self, known: &Known) -> Result<Vec<IpAddr>, Status> {
        let Some(node) = &self.node else {
            return Ok(if self.has(hint::PASSIVE) {
                vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()]
            } else {
                vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
            });
        };
        match node.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) if self.has(hint::NUMERICHOST) => Err(status::NO_MATCH),
            Err(_) => known.get(&node.to_lowercase()).cloned().ok_or(status::NO_MATCH),
        }
    }

    /// The addresses that it asks for.
    pub fn answer(&self, known: &Known) -> Result<Vec<SocketAddr>, Status> {
        let port = self.port()?;
        let mut addresses = self.addresses(known)?;
        if self.family == i32::from(sys::AF_INET) {
            addresses.retain(IpAddr::is_ipv4);
        } else if self.family == i32::from(sys::AF_INET6) {
            let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
            let mapped = self.has(hint::V4MAPPED) && (v6.is_empty() || self.has(hint::ALL));
            addresses = v6;
            if mapped {
                addresses.extend(v4.into_iter().filter_map(|ip| match ip {
                    IpAddr::V4(ip) => Some(IpAddr::V6(ip.to_ipv6_mapped())),
                    IpAddr::V6(_) => None,
                }));
            }
        }
        let found: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if found.is_empty() { Err(status::NO_MATCH) } else { Ok(found) }
    }

    /// The name that the first result has, if it was asked for.
    pub fn canonical_name(&self) -> Option<&str> {
        let wanted = self.has(hint::CANONNAME) || self.has(hint::FQDN);
        self.node.as_deref().filter(|_| wanted)
    }
}

/// Whether the flags of `WskGetNameInfo` mean something.
pub const fn are_flags(flags: u32) -> bool {
    flags & !flag::KNOWN == 0
}

/// The names of an address and of its port.
pub fn names_of(known: &Known, found: SocketAddr, flags: u32) -> Result<(String, String), Status> {
    let has = |flag: u32| flags & flag != 0;
    let mut names: Vec<_> =
        known.iter().filter(|(_, addresses)| addresses.contains(&found.ip())).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let host = match names.first().filter(|_| !has(flag::NUMERICHOST)) {
        Some(name) if has(flag::NOFQDN) => name.split('.').next().unwrap_or(name).to_owned(),
        Some(name) => (*name).to_owned(),
        None if has(flag::NAMEREQD) => return Err(status::NO_MATCH),
        None => found.ip().to_string(),
    };
    let service = if has(flag::NUMERICSERV) { None } else { services::name(found.port(), has(flag::DGRAM)) };
    Ok((host, service.map_or_else(|| found.port().to_string(), str::to_owned)))
}
