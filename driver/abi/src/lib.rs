//! What `wskclient.sys` and its callers agree on, and nothing else.
//!
//! One idea: a request is a control code ([`Ioctl`]), one input struct of an exact length, and at most one output struct; its
//! outcome is an NTSTATUS from which the Winsock code can be read exactly ([`WsaError`]). Integers are little-endian, structs have
//! no padding, reserved fields are zero.
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod error;
mod ioctl;
mod ledger;
mod names;
mod namespace;
mod option;
mod outstanding;
mod provider;
mod request;
mod version;

pub use address::{AF_INET, AF_INET6, Address};
pub use error::{NtStatus, STATUS_PENDING, STATUS_SUCCESS, WsaError, is_error};
pub use ioctl::{DEVICE_TYPE, Ioctl, Kind, Method};
pub use ledger::{Ledger, SocketCounts, Tally};
pub use names::{AddressList, AddressToName, AddressToNameReply, NameToAddresses, ResolvedAddress, hints};
pub use namespace::{Guid, NAMESPACES, NS_DNS, Namespace, NamespaceEntry};
pub use option::{LEVEL_IPV6, LEVEL_TCP, SOL_SOCKET, SocketControl, SocketOption};
pub use outstanding::{Awaited, Outstanding, PendingList, PendingQuery, Waiter};
pub use provider::{CATALOG, CatalogEntry, CountedPer, Policy, Provider};
pub use request::{
    Accept, AcceptReply, AddressOf, AddressReply, Bind, Cleanup, Close, Connect, Events, EventsReply, GetOption,
    IoControl, Linger, Listen, MAX_DATAGRAM, OptionValue, ReceivedFrom, Role, SendTo, SetOption, Shutdown,
    SocketHandle, SocketOpen, SocketReply, Startup, StartupReply, Transfer, VersionReply,
};
pub use version::{HIGHEST_VERSION, WinsockVersion};

/// The device's name for `CreateFile`.
pub const DEVICE_PATH: &str = r"\\.\WskClient";

/// The protocol that this crate describes: major in the high word, minor in the low word. Callers and driver must agree on the
/// major; a newer minor only adds.
pub const PROTOCOL_VERSION: u32 = 0x0001_0000;
