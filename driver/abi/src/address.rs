//! Socket addresses on the wire: the bytes of a `SOCKADDR_IN` or `SOCKADDR_IN6`, so that the driver passes them on where they lie.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 23;

/// A `SOCKADDR` of either family in 28 bytes: family, port (network order), then for IPv4 the address and zeros, for IPv6 flow
/// information, address and scope.
#[derive(Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Address {
    /// [`AF_INET`] or [`AF_INET6`].
    pub family: u16,
    port: [u8; 2],
    rest: [u8; 24],
}

impl Address {
    /// An IPv4 address.
    #[must_use]
    pub const fn v4(octets: [u8; 4], port: u16) -> Self {
        let mut rest = [0; 24];
        [rest[0], rest[1], rest[2], rest[3]] = octets;
        Self { family: AF_INET, port: port.to_be_bytes(), rest }
    }

    /// An IPv6 address.
    #[must_use]
    pub const fn v6(octets: [u8; 16], port: u16, scope_id: u32) -> Self {
        let mut rest = [0; 24];
        let (before_scope, scope) = rest.split_at_mut(20);
        before_scope.split_at_mut(4).1.copy_from_slice(&octets);
        scope.copy_from_slice(&scope_id.to_le_bytes());
        Self { family: AF_INET6, port: port.to_be_bytes(), rest }
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    /// The address, if it is an IPv4 one.
    #[must_use]
    pub const fn as_v4(&self) -> Option<[u8; 4]> {
        match self.family {
            AF_INET => Some([self.rest[0], self.rest[1], self.rest[2], self.rest[3]]),
            _ => None,
        }
    }

    /// The address, if it is an IPv6 one.
    #[must_use]
    pub fn as_v6(&self) -> Option<[u8; 16]> {
        let octets = self.rest.get(4..20)?;
        if self.family == AF_INET6 { octets.try_into().ok() } else { None }
    }

    /// Whether it is all zeros, and so names nothing.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this is a well-formed address of its family: zeros where nothing is defined.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match self.family {
            AF_INET => self.rest.iter().skip(4).all(|&byte| byte == 0),
            AF_INET6 => true,
            _ => false,
        }
    }
}

impl From<core::net::SocketAddr> for Address {
    fn from(address: core::net::SocketAddr) -> Self {
        match address {
            core::net::SocketAddr::V4(address) => address.into(),
            core::net::SocketAddr::V6(address) => Self::v6(address.ip().octets(), address.port(), address.scope_id()),
        }
    }
}

impl From<core::net::SocketAddrV4> for Address {
    fn from(address: core::net::SocketAddrV4) -> Self {
        Self::v4(address.ip().octets(), address.port())
    }
}

impl core::fmt::Debug for Address {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.as_v4() {
            Some([a, b, c, d]) => write!(formatter, "{a}.{b}.{c}.{d}:{}", self.port()),
            None => match self.as_v6() {
                Some(octets) => write!(formatter, "[{}]:{}", core::net::Ipv6Addr::from(octets), self.port()),
                None => write!(formatter, "family {} port {}", self.family, self.port()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_has_the_bytes_of_a_sockaddr_in() {
        let address = Address::v4([127, 0, 0, 1], 0x1F90);
        assert_eq!(&address.as_bytes()[..8], &[2, 0, 0x1F, 0x90, 127, 0, 0, 1]);
        assert!(address.is_valid());
        assert_eq!(address.port(), 8080);
    }

    #[test]
    fn an_ipv6_address_has_the_bytes_of_a_sockaddr_in6() {
        let octets = core::net::Ipv6Addr::LOCALHOST.octets();
        let address = Address::v6(octets, 0x1F90, 0x0102_0304);
        assert_eq!(&address.as_bytes()[..8], &[23, 0, 0x1F, 0x90, 0, 0, 0, 0]);
        assert_eq!(&address.as_bytes()[8..24], &octets);
        assert_eq!(&address.as_bytes()[24..], &[4, 3, 2, 1]);
        assert_eq!(address.as_v6(), Some(octets));
        assert!(address.is_valid());
    }

    #[test]
    fn an_ipv4_address_with_bytes_where_nothing_is_defined_is_not_valid() {
        let mut address = Address::v4([127, 0, 0, 1], 80);
        address.rest[23] = 1;
        assert!(!address.is_valid());
    }
}
