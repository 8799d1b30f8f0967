//! The rows of IP Helper's tables, as netioapi.h lays them out, and what the lab's one interface has in them.
//!
//! Source: `MIB_IF_ROW2`, `MIB_IPINTERFACE_ROW`, `MIB_UNICASTIPADDRESS_ROW`, `MIB_IPFORWARD_ROW2`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wsk::sys::{AF_INET, AF_INET6, AddressFamily};

/// `NET_LUID` of the loopback interface: `IF_TYPE_SOFTWARE_LOOPBACK` in its top 16 bits.
pub const LUID: u64 = 24 << 48;
/// `NET_IFINDEX` of the loopback interface.
pub const INDEX: u32 = 1;
/// `IF_TYPE_SOFTWARE_LOOPBACK`.
const LOOPBACK: u32 = 24;
const INFINITE: u32 = u32::MAX;
const MTU: u32 = u32::MAX;

/// `SOCKADDR_INET`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Address {
    pub family: AddressFamily,
    port: u16,
    /// For IPv4 the address and zeros; for IPv6 flow information, address and scope.
    rest: [u8; 24],
}

impl Address {
    pub fn of(ip: IpAddr) -> Self {
        let mut rest = [0; 24];
        match ip {
            IpAddr::V4(ip) => rest[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => rest[4..20].copy_from_slice(&ip.octets()),
        }
        Self { family: if ip.is_ipv4() { AF_INET } else { AF_INET6 }, port: 0, rest }
    }

    /// None if it is of another family than IPv4 and IPv6.
    pub fn ip(&self) -> Option<IpAddr> {
        let v4: [u8; 4] = self.rest[..4].try_into().ok()?;
        let v6: [u8; 16] = self.rest[4..20].try_into().ok()?;
        match self.family {
            AF_INET => Some(Ipv4Addr::from(v4).into()),
            AF_INET6 => Some(Ipv6Addr::from(v6).into()),
            _ => None,
        }
    }

    fn any(family: AddressFamily) -> Self {
        Self { family, port: 0, rest: [0; 24] }
    }
}

/// `MIB_UNICASTIPADDRESS_ROW`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UnicastRow {
    pub address: Address,
    pub luid: u64,
    pub index: u32,
    origins: [u32; 2],
    lifetimes: [u32; 2],
    prefix_length: u8,
    skip_as_source: u8,
    duplicate_state: u32,
    scope: u32,
    created: i64,
}
const _: () = assert!(size_of::<UnicastRow>() == 80);

impl UnicastRow {
    pub fn of(family: AddressFamily) -> Self {
        const WELL_KNOWN: u32 = 2;
        const PREFERRED: u32 = 4;
        Self {
            address: Address::of(loopback(family)),
            luid: LUID,
            index: INDEX,
            origins: [WELL_KNOWN; 2],
            lifetimes: [INFINITE; 2],
            prefix_length: if family == AF_INET { 8 } else { 128 },
            skip_as_source: 0,
            duplicate_state: PREFERRED,
            scope: 0,
            created: 0,
        }
    }
}

/// `MIB_IPFORWARD_ROW2`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ForwardRow {
    pub luid: u64,
    pub index: u32,
    destination: Address,
    prefix_length: u8,
    next_hop: Address,
    site_prefix_length: u8,
    lifetimes: [u32; 2],
    metric: u32,
    protocol: u32,
    loopback: u8,
    autoconfigured: u8,
    publish: u8,
    immortal: u8,
    age: u32,
    origin: u32,
}
const _: () = assert!(size_of::<ForwardRow>() == 104);

impl ForwardRow {
    pub fn of(family: AddressFamily) -> Self {
        const LOCAL: u32 = 2;
        Self {
            luid: LUID,
            index: INDEX,
            destination: Address::of(if family == AF_INET {
                Ipv4Addr::new(127, 0, 0, 0).into()
            } else {
                loopback(family)
            }),
            prefix_length: if family == AF_INET { 8 } else { 128 },
            next_hop: Address::any(family),
            site_prefix_length: 0,
            lifetimes: [INFINITE; 2],
            metric: 256,
            protocol: LOCAL,
            loopback: 1,
            autoconfigured: 0,
            publish: 0,
            immortal: 1,
            age: 0,
            origin: 0,
        }
    }
}

/// `MIB_IPINTERFACE_ROW`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InterfaceRow {
    pub family: AddressFamily,
    pub luid: u64,
    pub index: u32,
    max_reassembly: u32,
    identifier: u64,
    advertisement_intervals: [u32; 2],
    flags: [u8; 9],
    router_discovery: u32,
    times: [u32; 4],
    link_local: [u32; 2],
    zones: [u32; 16],
    site_prefix_length: u32,
    metric: u32,
    mtu: u32,
    connected: u8,
    supports: [u8; 3],
    reachable: u32,
    offloads: [u8; 2],
    disable_default_routes: u8,
}
const _: () = assert!(size_of::<InterfaceRow>() == 168);

impl InterfaceRow {
    pub fn of(family: AddressFamily) -> Self {
        Self {
            family,
            luid: LUID,
            index: INDEX,
            max_reassembly: 65_535,
            identifier: 0,
            advertisement_intervals: [200, 600],
            flags: [0; 9],
            router_discovery: 0,
            times: [0, 30_000, 1000, 600_000],
            link_local: [0; 2],
            zones: [INDEX; 16],
            site_prefix_length: 64,
            metric: 75,
            mtu: MTU,
            connected: 1,
            supports: [0; 3],
            reachable: 30_000,
            offloads: [0; 2],
            disable_default_routes: 0,
        }
    }
}

/// `MIB_IF_ROW2`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IfRow {
    pub luid: u64,
    pub index: u32,
    guid: [u8; 16],
    alias: [u16; 257],
    description: [u16; 257],
    physical_length: u32,
    physical: [[u8; 32]; 2],
    mtu: u32,
    kind: u32,
    tunnel: u32,
    medium: u32,
    physical_medium: u32,
    access: u32,
    direction: u32,
    flags: u8,
    operational: u32,
    administrative: u32,
    media: u32,
    network: [u32; 4],
    connection: u32,
    link_speeds: [u64; 2],
    counters: [u64; 18],
}
const _: () = assert!(size_of::<IfRow>() == 1352);

impl IfRow {
    pub fn new() -> Self {
        const UP: u32 = 1;
        const CONNECTED: u32 = 1;
        const DEDICATED: u32 = 1;
        let mut alias = [0; 257];
        for (place, unit) in alias.iter_mut().zip("Loopback Pseudo-Interface 1".encode_utf16()) {
            *place = unit;
        }
        Self {
            luid: LUID,
            index: INDEX,
            guid: *b"loopbackloopback",
            alias,
            description: alias,
            physical_length: 0,
            physical: [[0; 32]; 2],
            mtu: 1500,
            kind: LOOPBACK,
            tunnel: 0,
            medium: 17, // NdisMediumLoopback
            physical_medium: 0,
            access: 1,
            direction: 0,
            flags: 0,
            operational: UP,
            administrative: UP,
            media: CONNECTED,
            network: [0; 4],
            connection: DEDICATED,
            link_speeds: [1_073_741_824; 2],
            counters: [0; 18],
        }
    }
}

/// The address of the interface.
pub fn loopback(family: AddressFamily) -> IpAddr {
    if family == AF_INET { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}
