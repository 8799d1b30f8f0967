//! The ledger: what the driver holds, in numbers that add up, how long it has been pending, and what the driver itself waits for
//! (contract, CARD-3).

use crate::{Kind, Outstanding, Provider};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many kinds the ledger has room for.
const KINDS: usize = 32;
/// How many providers the ledger has room for.
const PROVIDERS: usize = 4;
/// How many waits the ledger names.
const WAITS: usize = 8;
const _: () = assert!(Kind::ALL.len() <= KINDS && Provider::ALL.len() <= PROVIDERS);

/// Requests of one kind since the client opened the device (or since the driver was loaded). `taken` requests had their input
/// accepted for work; a refused request counts nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tally {
    /// Taken.
    pub taken: u64,
    /// Completed, whatever the status.
    pub completed: u64,
    /// Of those, completed with `STATUS_CANCELLED`.
    pub cancelled: u64,
}

impl Tally {
    /// Taken and not completed.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.taken.saturating_sub(self.completed)
    }
}

/// Sockets by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SocketCounts {
    /// Created and not closed.
    pub open: u32,
    /// Being closed: their requests are ending.
    pub closing: u32,
    /// Being closed gracefully: what was sent is still on its way.
    pub lingering: u32,
    /// Zero.
    pub reserved: u32,
}

/// Output of `Ledger`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ledger {
    /// This client's references by [`Provider`]: of `namespace` those of every GUID, of `san` every client's, which are one count.
    pub references: [u32; PROVIDERS],
    /// Every client's references by [`Provider`].
    pub driver_references: [u32; PROVIDERS],
    /// This client's sockets.
    pub sockets: SocketCounts,
    /// Clients: processes with an open handle, and those whose teardown is not over.
    pub clients: u32,
    /// 1 while the driver is registered as a WSK client.
    pub registered: u32,
    /// Teardowns finished since the driver was loaded.
    pub teardowns: u64,
    /// Graceful closes that were cut short, by their deadline or a teardown, since the driver was loaded.
    pub lingers_cut: u64,
    /// Sockets of every client that have not been given back to WSK.
    pub driver_sockets: u64,
    /// This client's requests, by [`Kind`].
    pub requests: [Tally; KINDS],
    /// Every client's requests, by [`Kind`].
    pub driver_requests: [Tally; KINDS],
    /// How long this client's oldest pending request has been pending, milliseconds, by [`Kind`]; 0 where there is none.
    pub oldest: [u32; KINDS],
    /// As `oldest`, of every client.
    pub driver_oldest: [u32; KINDS],
    /// Waits that have lasted for more than a second, since the driver was loaded: counted when they were noticed.
    pub long_waits: u64,
    /// What the driver itself waits for now: for how many things. Not for a caller's peer, but to be able to end something.
    pub waiting: u32,
    /// Zero.
    pub reserved: u32,
    /// Of those, as many as there is room for; the rest is zero.
    pub waits: [Outstanding; WAITS],
}

impl Ledger {
    /// This client's requests of one kind.
    #[must_use]
    pub fn tally(&self, kind: Kind) -> Tally {
        self.requests.get(kind as usize).copied().unwrap_or_default()
    }

    /// This client's requests that are pending, of every kind.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.requests.iter().map(Tally::pending).sum()
    }

    /// What the driver itself waits for, as far as it is named.
    #[must_use]
    pub fn waits(&self) -> &[Outstanding] {
        let named = usize::try_from(self.waiting).unwrap_or(WAITS).min(WAITS);
        self.waits.get(..named).unwrap_or_default()
    }

    /// This client's references on a provider.
    #[must_use]
    pub fn references(&self, provider: Provider) -> u32 {
        self.references.get(provider as usize).copied().unwrap_or_default()
    }
}
