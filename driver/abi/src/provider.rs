//! What can be started and cleaned up, and the protocols that a transport provider manages.

use crate::{AF_INET, AF_INET6, WinsockVersion};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A provider, as a request names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum Provider {
    /// Models `WSAStartup` and `WSACleanup`.
    Application = 0,
    /// Models `WSPStartup` and `WSPCleanup`.
    Transport = 1,
}

impl Provider {
    /// Every provider that the driver serves.
    pub const ALL: [Self; 2] = [Self::Application, Self::Transport];

    /// The provider with this number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Application),
            1 => Some(Self::Transport),
            _ => None,
        }
    }

    /// Its name, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Transport => "transport",
        }
    }

    /// Whether a teardown lets sockets that were closed before it finish sending (contract: WSP-6), or cuts them short.
    #[must_use]
    pub const fn lingers_at_teardown(self) -> bool {
        match self {
            Self::Application => false,
            Self::Transport => true,
        }
    }

    /// The lowest version that it can be started with: service providers exist since 2.0.
    #[must_use]
    pub const fn lowest_version(self) -> WinsockVersion {
        match self {
            Self::Application => WinsockVersion::new(1, 0),
            Self::Transport => WinsockVersion::new(2, 0),
        }
    }
}

/// An entry of the protocol catalog, after `WSAPROTOCOL_INFO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CatalogEntry {
    /// The entry's identifier; 0 in no entry.
    pub id: u32,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// `SOCK_STREAM` = 1.
    pub socket_type: u16,
    /// `IPPROTO_TCP` = 6.
    pub protocol: u32,
    /// `SOCKADDR` lengths, bytes.
    pub address_length: u32,
    /// The protocol's name, zero-filled.
    pub name: [u8; 32],
}

const fn name(text: &str) -> [u8; 32] {
    let mut name = [0; 32];
    name.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
    name
}

/// The protocols that the transport provider manages.
pub const CATALOG: [CatalogEntry; 2] = [
    CatalogEntry { address_length: 16, ..tcp(1001, AF_INET, "WSK TCP/IPv4") },
    CatalogEntry { address_length: 28, ..tcp(1002, AF_INET6, "WSK TCP/IPv6") },
];

const fn tcp(id: u32, family: u16, text: &str) -> CatalogEntry {
    CatalogEntry { id, family, socket_type: 1, protocol: 6, address_length: 0, name: name(text) }
}

impl CatalogEntry {
    /// The entry with this identifier.
    #[must_use]
    pub fn find(id: u32) -> Option<&'static Self> {
        CATALOG.iter().find(|entry| entry.id == id)
    }
}
