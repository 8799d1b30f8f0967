//! What a client may hold at once: sockets, pending requests, locked bytes (contract: X-6).
//!
//! Each client is charged on counters of its own, without a lock. What it has used up is its own too: others do not notice.

use crate::client::Client;
use crate::irp::Irp;
use crate::table::MAX_SOCKETS;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use wskclient_abi::{Kind, WsaError};

/// The limits of each client: one struct for the driver, which does not change after `DriverEntry`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sockets, at most [`MAX_SOCKETS`]. The next one is `WSAEMFILE`.
    pub sockets: u32,
    /// Requests that are pending: startups that wait, look-ups, and those on sockets. The next one is `WSAENOBUFS`.
    pub requests: u32,
    /// Bytes of callers' buffers that are locked for requests. What goes beyond is `WSAENOBUFS`.
    pub locked_bytes: u64,
}

impl Limits {
    /// As many as any client should need: 10,000 sockets with 100,000 requests of some kilobytes.
    pub const DEFAULT: Self = Self { sockets: MAX_SOCKETS, requests: 262_144, locked_bytes: 1 << 30 };
}

/// What a client is charged for its pending requests.
#[derive(Debug, Default)]
pub struct Charges {
    requests: AtomicU32,
    locked_bytes: AtomicU64,
}

impl Charges {
    /// Nothing.
    pub const fn none() -> Self {
        Self { requests: AtomicU32::new(0), locked_bytes: AtomicU64::new(0) }
    }

    fn add(&self, limits: &Limits, bytes: u64) -> Result<(), WsaError> {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= limits.requests {
            self.take_back(0);
            return Err(WsaError::NoBuffers);
        }
        // Most requests lock nothing.
        if bytes == 0 {
            return Ok(());
        }
        // Added only if it fits: a request that asks for too much is in nobody's way.
        let more = |locked: u64| locked.checked_add(bytes).filter(|&sum| sum <= limits.locked_bytes);
        if self.locked_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            self.take_back(0);
            return Err(WsaError::NoBuffers);
        }
        Ok(())
    }

    fn put(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.locked_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take_back(&self, bytes: u64) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        if bytes != 0 {
            self.locked_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// Whether requests of that kind are charged: startups, look-ups, and those on sockets, but for the ones that give something back and are
/// never refused.
pub const fn is_charged(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Startup
            | Kind::Socket
            | Kind::Bind
            | Kind::Accept
            | Kind::Connect
            | Kind::Send
            | Kind::Receive
            | Kind::SendTo
            | Kind::ReceiveFrom
            | Kind::Address
            | Kind::Shutdown
            | Kind::GetOption
            | Kind::SetOption
            | Kind::IoControl
            | Kind::Events
            | Kind::NameToAddresses
            | Kind::AddressToName
    )
}

/// Bytes that are locked for a request.
fn locked_bytes(irp: &Irp, kind: Kind) -> u64 {
    match kind {
        Kind::Send | Kind::Receive | Kind::SendTo | Kind::ReceiveFrom => irp.device_control().2 as u64,
        _ => 0,
    }
}

/// A request's charge, given back when it is dropped: the request was not taken after all.
#[must_use = "a charge that is dropped is given back"]
pub struct Charge<'a> {
    client: &'a Client,
    kind: Kind,
    bytes: u64,
}

impl Charge<'_> {
    /// The request is taken: the charge is given back by its completion.
    pub fn take(self) {
        self.client.take(self.kind);
        core::mem::forget(self);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.client.charges.take_back(self.bytes);
    }
}

impl Client {
    /// Charges the client for a request that is about to be taken, of a kind that [`is_charged`].
    ///
    /// # Errors
    /// `WSAENOBUFS`: the client has used up what it may.
    pub fn charge(&self, irp: &Irp, kind: Kind) -> Result<Charge<'_>, WsaError> {
        let bytes = locked_bytes(irp, kind);
        self.charges.add(&self.driver().limits, bytes)?;
        Ok(Charge { client: self, kind, bytes })
    }

    /// Takes a request that completes at once, and so takes nothing away from others: it is charged whatever the limits say.
    pub fn take_in_passing(&self, irp: &Irp, kind: Kind) {
        if is_charged(kind) {
            self.charges.put(locked_bytes(irp, kind));
        }
        self.take(kind);
    }

    /// Gives back what a request was charged that completes.
    pub fn discharge(&self, irp: &Irp, kind: Kind) {
        if is_charged(kind) {
            self.charges.take_back(locked_bytes(irp, kind));
        }
    }
}
