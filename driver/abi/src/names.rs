//! The structs of name requests, after `GetAddrInfoExW` and `GetNameInfoW` (contract: NSP-4).
//!
//! Texts are UTF-16 without a terminator, in places of a fixed length; what lies after a text's length is not read, and zero in replies.

use crate::{Address, Guid};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Values of the fields of [`NameToAddresses`] and [`AddressToName`].
pub mod hints {
    /// `AI_PASSIVE`: without a node, the addresses to bind to.
    pub const PASSIVE: u32 = 0x1;
    /// `AI_CANONNAME`: tell the canonical name. Needs a node.
    pub const CANONICAL_NAME: u32 = 0x2;
    /// `AI_NUMERICHOST`: the node is a number; nobody is asked.
    pub const NUMERIC_HOST: u32 = 0x4;
    /// `AI_NUMERICSERV`: the service is a number.
    pub const NUMERIC_SERVICE: u32 = 0x8;
    /// `AI_ALL`.
    pub const ALL: u32 = 0x100;
    /// `AI_ADDRCONFIG`.
    pub const ADDRESS_CONFIGURED: u32 = 0x400;
    /// `AI_V4MAPPED`.
    pub const V4_MAPPED: u32 = 0x800;
    /// Every flag of a look-up of addresses.
    pub const NAME_FLAGS: u32 =
        PASSIVE | CANONICAL_NAME | NUMERIC_HOST | NUMERIC_SERVICE | ALL | ADDRESS_CONFIGURED | V4_MAPPED;

    /// `SOCK_STREAM`.
    pub const STREAM: u16 = 1;
    /// `SOCK_DGRAM`.
    pub const DATAGRAM: u16 = 2;
    /// `IPPROTO_TCP`.
    pub const TCP: u32 = 6;
    /// `IPPROTO_UDP`.
    pub const UDP: u32 = 17;

    /// `NI_NOFQDN`: of a local host only its own name.
    pub const NO_DOMAIN: u32 = 0x1;
    /// `NI_NUMERICHOST`: the address as a number; nobody is asked.
    pub const NUMBER_OF_HOST: u32 = 0x2;
    /// `NI_NAMEREQD`: an address without a name is an error.
    pub const NAME_REQUIRED: u32 = 0x4;
    /// `NI_NUMERICSERV`: the port as a number.
    pub const NUMBER_OF_SERVICE: u32 = 0x8;
    /// `NI_DGRAM`: the service is a datagram service.
    pub const OF_DATAGRAMS: u32 = 0x10;
    /// Every flag of a look-up of names.
    pub const ADDRESS_FLAGS: u32 = NO_DOMAIN | NUMBER_OF_HOST | NAME_REQUIRED | NUMBER_OF_SERVICE | OF_DATAGRAMS;
}

/// Longest name of a host, UTF-16 units: one more than DNS has.
const NODE: usize = 256;
/// Longest name of a service, UTF-16 units.
const SERVICE: usize = 32;

/// Input of `NameToAddresses`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NameToAddresses {
    /// The namespace provider that is asked.
    pub provider: Guid,
    /// Some of [`hints::NAME_FLAGS`]; others are `WSAEINVAL`.
    pub flags: u32,
    /// `AF_INET`, `AF_INET6`, or 0 for both; another one is `WSAEAFNOSUPPORT`.
    pub family: u16,
    /// `SOCK_STREAM`, `SOCK_DGRAM`, or 0 for any; another one, or one that does not go with the protocol, is `WSAESOCKTNOSUPPORT`.
    pub socket_type: u16,
    /// `IPPROTO_TCP`, `IPPROTO_UDP`, or 0 for any; another one is `WSAEPROTONOSUPPORT`.
    pub protocol: u32,
    /// UTF-16 units of `node`; 0 for none. More than there is room for is `WSAEINVAL`, and so is a name with a zero in it.
    pub node_length: u16,
    /// The same of `service`. Without both there is nothing to find: `WSAHOST_NOT_FOUND`.
    pub service_length: u16,
    /// The host's name, or an address as a number.
    pub node: [u16; NODE],
    /// The service's name, or a port as a number.
    pub service: [u16; SERVICE],
}
const _: () = assert!(size_of::<NameToAddresses>() == 608);

/// Output of `NameToAddresses`, before the addresses. A buffer that holds all of them has
/// `size_of::<AddressList>() + found * size_of::<ResolvedAddress>()` bytes; into a shorter one goes what fits, and `found` tells of
/// the rest. One that does not hold this struct is `WSAEFAULT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressList {
    /// Addresses that the look-up found.
    pub found: u32,
    /// Of those, how many follow: all, or as many as fit.
    pub returned: u32,
    /// UTF-16 units of `canonical_name`; 0 unless it was asked for.
    pub canonical_name_length: u16,
    /// Zero.
    pub reserved: [u16; 3],
    /// The host's canonical name.
    pub canonical_name: [u16; NODE],
}
const _: () = assert!(size_of::<AddressList>() == 528);

/// An address that a look-up found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResolvedAddress {
    /// The address, with the service's port.
    pub address: Address,
    /// `SOCK_*`, or 0.
    pub socket_type: u16,
    /// Zero.
    pub reserved: u16,
    /// `IPPROTO_*`, or 0.
    pub protocol: u32,
}
const _: () = assert!(size_of::<ResolvedAddress>() == 36);

/// Input of `AddressToName`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressToName {
    /// The namespace provider that is asked.
    pub provider: Guid,
    /// The address and the port.
    pub address: Address,
    /// Some of [`hints::ADDRESS_FLAGS`]; others are `WSAEINVAL`, and so is a name that is required where none is asked for.
    pub flags: u32,
}
const _: () = assert!(size_of::<AddressToName>() == 48);

/// Output of `AddressToName`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressToNameReply {
    /// UTF-16 units of `node`.
    pub node_length: u16,
    /// UTF-16 units of `service`.
    pub service_length: u16,
    /// The host's name, or its address as a number.
    pub node: [u16; NODE],
    /// The service's name, or the port as a number.
    pub service: [u16; SERVICE],
}
const _: () = assert!(size_of::<AddressToNameReply>() == 580);
