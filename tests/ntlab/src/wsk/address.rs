//! SOCKADDR, and the fence around the lab: no address but the host's loopback.
//!
//! One idea: a driver may name the wildcard address or a loopback address; both end at the host's loopback interface, and every
//! other address is unreachable. So a test never leaves the machine that it runs on.
//!
//! Source: *SOCKADDR*, *Transport address* in *Winsock Kernel Sockets*.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use wsk::sys;

use super::status::{self, Status};

/// Bytes of the SOCKADDR of `family`.
#[must_use]
pub fn length(family: sys::AddressFamily) -> usize {
    if family == sys::AF_INET { size_of::<sys::SockAddrIn>() } else { size_of::<sys::SockAddrIn6>() }
}

/// The family that a SOCKADDR says it is of.
///
/// # Errors
/// `STATUS_INVALID_PARAMETER` for a null pointer.
///
/// # Safety
/// `address` is null or points to a readable SOCKADDR.
pub unsafe fn family(address: *const sys::SockAddr) -> Result<sys::AddressFamily, Status> {
    if address.is_null() {
        return Err(status::INVALID_PARAMETER);
    }
    // SAFETY: every SOCKADDR begins with its family.
    Ok(unsafe { address.cast::<sys::AddressFamily>().read_unaligned() })
}

/// Reads the SOCKADDR of a socket of `family`.
///
/// # Errors
/// `STATUS_INVALID_PARAMETER` for a null pointer or another family than the socket's.
///
/// # Safety
/// `address` is null or points to a readable SOCKADDR of its own family.
pub unsafe fn read(address: *const sys::SockAddr, family: sys::AddressFamily) -> Result<SocketAddr, Status> {
    // SAFETY: as the caller's.
    if unsafe { self::family(address) }? != family {
        return Err(status::INVALID_PARAMETER);
    }
    if family == sys::AF_INET {
        // SAFETY: the family says that this is a SOCKADDR_IN, for which the caller vouches.
        let v4 = unsafe { address.cast::<sys::SockAddrIn>().read_unaligned() };
        Ok(SocketAddrV4::new(Ipv4Addr::from(v4.address), u16::from_be_bytes(v4.port)).into())
    } else {
        // SAFETY: the family says that this is a SOCKADDR_IN6, for which the caller vouches.
        let v6 = unsafe { address.cast::<sys::SockAddrIn6>().read_unaligned() };
        let port = u16::from_be_bytes(v6.port);
        Ok(SocketAddrV6::new(Ipv6Addr::from(v6.address), port, u32::from_be(v6.flow_info), v6.scope_id).into())
    }
}

/// Writes `address` as a SOCKADDR, if the caller gave a place for it.
///
/// # Safety
/// `place` is null or has room for the SOCKADDR of `address`'s family.
pub unsafe fn write(place: *mut sys::SockAddr, address: SocketAddr) {
    if place.is_null() {
        return;
    }
    match address {
        SocketAddr::V4(v4) => {
            let found = sys::SockAddrIn {
                family: sys::AF_INET,
                port: v4.port().to_be_bytes(),
                address: v4.ip().octets(),
                zero: [0; 8],
            };
            // SAFETY: the caller vouches for room for a SOCKADDR_IN.
            unsafe { place.cast::<sys::SockAddrIn>().write_unaligned(found) };
        }
        SocketAddr::V6(v6) => {
            let found = sys::SockAddrIn6 {
                family: sys::AF_INET6,
                port: v6.port().to_be_bytes(),
                flow_info: v6.flowinfo().to_be(),
                address: v6.ip().octets(),
                scope_id: v6.scope_id(),
            };
            // SAFETY: the caller vouches for room for a SOCKADDR_IN6.
            unsafe { place.cast::<sys::SockAddrIn6>().write_unaligned(found) };
        }
    }
}

/// Where the lab binds or connects when the driver names `address`: the wildcard becomes the loopback address.
///
/// # Errors
/// `refusal` for an address outside the host's loopback interface.
pub fn inside_the_lab(address: SocketAddr, refusal: Status) -> Result<SocketAddr, Status> {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => Ok(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port())),
        ip if ip.is_loopback() => Ok(address),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback()) => Ok(address),
        _ => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockaddr_reads_back_as_it_was_written() {
        for address in ["127.0.0.1:80", "[::1]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let family = if address.is_ipv4() { sys::AF_INET } else { sys::AF_INET6 };
            let mut place = [0_u64; 4];
            let place: *mut sys::SockAddr = place.as_mut_ptr().cast();
            // SAFETY: 32 bytes hold every SOCKADDR.
            unsafe { write(place, address) };
            // SAFETY: it was just written.
            assert_eq!(unsafe { read(place, family) }, Ok(address));
            // SAFETY: `place` holds a SOCKADDR, written above.
            assert_eq!(unsafe { read(place, family ^ 1) }, Err(status::INVALID_PARAMETER));
        }
    }

    #[test]
    fn nothing_outside_the_loopback_interface_is_reachable() {
        let refused = |text: &str| inside_the_lab(text.parse().unwrap(), status::NETWORK_UNREACHABLE);
        assert_eq!(refused("192.0.2.1:80"), Err(status::NETWORK_UNREACHABLE));
        assert_eq!(refused("[2001:db8::1]:80"), Err(status::NETWORK_UNREACHABLE));
        assert_eq!(refused("0.0.0.0:80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(refused("[::]:80"), Ok("[::1]:80".parse().unwrap()));
        assert_eq!(refused("127.9.9.9:80"), Ok("127.9.9.9:80".parse().unwrap()));
    }
}
