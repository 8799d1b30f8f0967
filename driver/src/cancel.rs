//! Why the driver cancels a request, and what its caller is told.

use core::sync::atomic::{AtomicU8, Ordering};
use wdk_sys::NTSTATUS;
use wskclient_abi::{Kind, WsaError};

/// Why a request is cancelled.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// What it belongs to goes: its handle, its socket, its provider.
    Aborted = 1,
    /// A 1.1 client cancels its blocking calls (contract: WSA-7).
    Interrupted = 2,
}

/// Whether a request was cancelled by the driver, and the first reason.
pub struct Cancelled(AtomicU8);

impl Cancelled {
    /// It was not.
    pub const fn no() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Makes the value that of a new request.
    pub fn renew(&mut self) {
        *self.0.get_mut() = 0;
    }

    /// It is cancelled now. False if it was before.
    pub fn set(&self, why: Why) -> bool {
        self.0.compare_exchange(0, why as u8, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether it was cancelled.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The status that its caller is told: a blocking call that ends cancelled after it was interrupted was interrupted.
    pub fn name(&self, status: NTSTATUS) -> NTSTATUS {
        let interrupted = self.0.load(Ordering::Relaxed) == Why::Interrupted as u8;
        if interrupted && status == WsaError::OperationAborted.status() {
            WsaError::Interrupted.status()
        } else {
            status
        }
    }
}

/// Whether a call of this kind is a blocking one in a client that knows no overlapped I/O.
pub const fn blocks(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Accept
            | Kind::Connect
            | Kind::Send
            | Kind::SendTo
            | Kind::Receive
            | Kind::ReceiveFrom
            | Kind::NameToAddresses
            | Kind::AddressToName
    )
}
