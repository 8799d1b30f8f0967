//! Socket addresses, in Rust's terms and in WSK's.

use crate::sys;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address family that sockets can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// `AF_*`.
    #[must_use]
    pub const fn number(self) -> sys::AddressFamily {
        match self {
            Self::V4 => sys::AF_INET,
            Self::V6 => sys::AF_INET6,
        }
    }

    /// Any address and any port.
    #[must_use]
    pub const fn any(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Self::V6 => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        }
    }
}

/// Room for a `SOCKADDR` of either family.
#[repr(C)]
#[derive(Clone, Copy)]
pub union Storage {
    any: sys::SockAddr,
    v4: sys::SockAddrIn,
    v6: sys::SockAddrIn6,
}

impl Storage {
    /// No address.
    #[must_use]
    pub const fn empty() -> Self {
        // The longest member, so that every byte is written.
        Self { v6: sys::SockAddrIn6 { family: 0, port: [0; 2], flow_info: 0, address: [0; 16], scope_id: 0 } }
    }

    /// The address.
    pub fn set(&mut self, address: &SocketAddr) {
        *self = Self::empty();
        match address {
            SocketAddr::V4(address) => {
                self.v4 = sys::SockAddrIn {
                    family: sys::AF_INET,
                    port: address.port().to_be_bytes(),
                    address: address.ip().octets(),
                    zero: [0; 8],
                };
            }
            SocketAddr::V6(address) => {
                self.v6 = sys::SockAddrIn6 {
                    family: sys::AF_INET6,
                    port: address.port().to_be_bytes(),
                    flow_info: address.flowinfo().to_be(),
                    address: address.ip().octets(),
                    scope_id: address.scope_id(),
                };
            }
        }
    }

    /// The address that is there, if it is of a family that this crate knows.
    #[must_use]
    pub fn get(&self) -> Option<SocketAddr> {
        // SAFETY: every byte is initialised (`empty`), and every pattern of bytes is valid for each member.
        match unsafe { self.any.family } {
            sys::AF_INET => {
                // SAFETY: every byte is initialised (`empty`), and every pattern of bytes is valid for each member.
                let address = unsafe { self.v4 };
                let port = u16::from_be_bytes(address.port);
                Some(SocketAddrV4::new(address.address.into(), port).into())
            }
            sys::AF_INET6 => {
                // SAFETY: every byte is initialised (`empty`), and every pattern of bytes is valid for each member.
                let address = unsafe { self.v6 };
                let (ip, port) = (Ipv6Addr::from(address.address), u16::from_be_bytes(address.port));
                Some(SocketAddrV6::new(ip, port, u32::from_be(address.flow_info), address.scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went() {
        let v6 = SocketAddrV6::new("fe80::1:2".parse().unwrap(), 40000, 0x1_2345, 7);
        for address in ["127.0.0.1:80".parse().unwrap(), SocketAddr::V6(v6), Family::V4.any(), Family::V6.any()] {
            let mut storage = Storage::empty();
            storage.set(&address);
            assert_eq!(storage.get(), Some(address));
            // SAFETY: the family is in the same place in each.
            assert_eq!(unsafe { storage.any.family }, Family::of(&address).number());
        }
    }

    #[test]
    fn ports_and_addresses_are_in_network_order() {
        let mut storage = Storage::empty();
        storage.set(&"1.2.3.4:258".parse().unwrap());
        // SAFETY: an IPv4 address was set.
        let address = unsafe { storage.v4 };
        assert_eq!((address.port, address.address, address.zero), ([1, 2], [1, 2, 3, 4], [0; 8]));
    }

    #[test]
    fn no_address_is_none() {
        assert_eq!(Storage::empty().get(), None);
    }

    #[test]
    fn a_shorter_address_leaves_nothing_of_a_longer_one() {
        let mut storage = Storage::empty();
        storage.set(&"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1".parse().unwrap());
        storage.set(&"0.0.0.0:0".parse().unwrap());
        // SAFETY: every byte is initialised.
        assert_eq!(unsafe { storage.v6 }.address, [0; 16]);
    }
}
