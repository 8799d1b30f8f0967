//! What can be started and cleaned up, by which rules, and the protocols that a transport provider manages.

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
    /// Models `WSPStartupEx` and `WSPCleanup` of a SAN provider, whose one caller is the Windows Sockets switch.
    San = 2,
    /// Models `NSPStartup` and `NSPCleanup`. A request names the provider by its GUID: see [`NAMESPACES`](crate::NAMESPACES).
    Namespace = 3,
}

/// Whose startups are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CountedPer {
    /// Those of a client (a process).
    Client,
    /// Those of every client: one count for the driver.
    Driver,
    /// Those of a client that name the same provider GUID.
    ClientAndGuid,
}

/// The rules by which a provider is started, cleaned up and torn down: providers differ by this table, not by code.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a table of rules, each of which holds for a provider or does not")]
pub struct Policy {
    /// Its name, lower case.
    pub name: &'static str,
    /// Whose startups are counted together.
    pub counted_per: CountedPer,
    /// The lowest version that it can be started with: service providers exist since 2.0. None if a startup negotiates none.
    pub lowest_version: Option<WinsockVersion>,
    /// Whether a startup names an entry of the [`CATALOG`].
    pub takes_catalog_id: bool,
    /// Whether sockets belong to it.
    pub has_sockets: bool,
    /// Whether a teardown lets sockets that were closed before it finish sending (contract: WSP-6), or cuts them short.
    pub lingers_at_teardown: bool,
    /// Whether a malformed cleanup is `WSAEINVAL`, or, where that code does not exist, `WSAEFAULT` (contract: SAN-2).
    pub cleanup_knows_invalid: bool,
}

/// By [`Provider`].
const POLICIES: [Policy; 4] = [
    Policy {
        name: "application",
        counted_per: CountedPer::Client,
        lowest_version: Some(WinsockVersion::new(1, 0)),
        takes_catalog_id: false,
        has_sockets: true,
        lingers_at_teardown: false,
        cleanup_knows_invalid: true,
    },
    Policy {
        name: "transport",
        counted_per: CountedPer::Client,
        lowest_version: Some(WinsockVersion::new(2, 0)),
        takes_catalog_id: true,
        has_sockets: true,
        lingers_at_teardown: true,
        cleanup_knows_invalid: true,
    },
    Policy {
        name: "san",
        counted_per: CountedPer::Driver,
        lowest_version: Some(WinsockVersion::new(2, 0)),
        takes_catalog_id: false,
        has_sockets: true,
        lingers_at_teardown: false,
        cleanup_knows_invalid: false,
    },
    Policy {
        name: "namespace",
        counted_per: CountedPer::ClientAndGuid,
        lowest_version: None,
        takes_catalog_id: false,
        has_sockets: false,
        lingers_at_teardown: false,
        cleanup_knows_invalid: true,
    },
];

impl Provider {
    /// Every provider that the driver serves, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Application, Self::Transport, Self::San, Self::Namespace];

    /// The provider with this number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Application),
            1 => Some(Self::Transport),
            2 => Some(Self::San),
            3 => Some(Self::Namespace),
            _ => None,
        }
    }

    /// Its rules.
    #[must_use]
    pub const fn policy(self) -> &'static Policy {
        let [application, transport, san, namespace] = &POLICIES;
        match self {
            Self::Application => application,
            Self::Transport => transport,
            Self::San => san,
            Self::Namespace => namespace,
        }
    }

    /// Its name, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.policy().name
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
    /// `SOCK_STREAM` = 1, `SOCK_DGRAM` = 2.
    pub socket_type: u16,
    /// `IPPROTO_TCP` = 6, `IPPROTO_UDP` = 17.
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
pub const CATALOG: [CatalogEntry; 4] = [
    CatalogEntry { address_length: 16, ..tcp(1001, AF_INET, "WSK TCP/IPv4") },
    CatalogEntry { address_length: 28, ..tcp(1002, AF_INET6, "WSK TCP/IPv6") },
    CatalogEntry { address_length: 16, ..udp(1003, AF_INET, "WSK UDP/IPv4") },
    CatalogEntry { address_length: 28, ..udp(1004, AF_INET6, "WSK UDP/IPv6") },
];

const fn tcp(id: u32, family: u16, text: &str) -> CatalogEntry {
    CatalogEntry { id, family, socket_type: 1, protocol: 6, address_length: 0, name: name(text) }
}

const fn udp(id: u32, family: u16, text: &str) -> CatalogEntry {
    CatalogEntry { socket_type: 2, protocol: 17, ..tcp(id, family, text) }
}

impl CatalogEntry {
    /// The entry with this identifier.
    #[must_use]
    pub fn find(id: u32) -> Option<&'static Self> {
        CATALOG.iter().find(|entry| entry.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_its_own_number_and_rules() {
        for (number, provider) in (0..).zip(Provider::ALL) {
            assert_eq!(provider as u32, number);
            assert_eq!(Provider::from_number(number), Some(provider));
            assert!(Provider::ALL.iter().all(|other| other == &provider || other.name() != provider.name()));
        }
        assert_eq!(Provider::from_number(4), None);
    }

    #[test]
    fn only_what_is_counted_per_guid_negotiates_no_version() {
        for provider in Provider::ALL {
            let policy = provider.policy();
            assert_eq!(
                policy.lowest_version.is_none(),
                policy.counted_per == CountedPer::ClientAndGuid,
                "{}",
                policy.name
            );
        }
    }
}
