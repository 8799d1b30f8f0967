//! A client's registration, from `WskRegister` to `WskDeregister`.

use crate::{Passive, Provider, sys};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, Ordering};

/// A registration with the WSK provider, and its capture of the provider's NPI.
///
/// One thread at a time drives it; any thread may read [`provider`](Self::provider) while whoever drives it keeps the capture.
///
/// # Invariants
/// - It does not move from `register` to `deregister`: the block, the NPI and the dispatch table are the WSK provider's to read.
/// - `provider` is written only by `capture`, while the state is [`REGISTERED`].
#[derive(Debug)]
pub struct Registration {
    block: UnsafeCell<sys::Registration>,
    npi: UnsafeCell<sys::ClientNpi>,
    provider: UnsafeCell<sys::ProviderNpi>,
    state: AtomicU8,
    _pinned: PhantomPinned,
}

const IDLE: u8 = 0;
const REGISTERED: u8 = 1;
const CAPTURED: u8 = 2;

/// No client events are asked for.
static DISPATCH: sys::ClientDispatch =
    sys::ClientDispatch { version: sys::VERSION_1_0, reserved: 0, client_event: None };

// SAFETY: the raw pointers inside belong to the WSK provider, which may be called on any thread; `state` orders the accesses.
unsafe impl Send for Registration {}
// SAFETY: as for `Send`; what other threads may read does not change while they may read it (`provider`).
unsafe impl Sync for Registration {}

impl Registration {
    /// Not registered.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            block: UnsafeCell::new(sys::Registration { state: 0, context: null_mut(), lock: 0 }),
            npi: UnsafeCell::new(sys::ClientNpi { client_context: null_mut(), dispatch: &raw const DISPATCH }),
            provider: UnsafeCell::new(sys::ProviderNpi { client: null_mut(), dispatch: core::ptr::null() }),
            state: AtomicU8::new(IDLE),
            _pinned: PhantomPinned,
        }
    }

    /// Registers the client; nothing if it is registered.
    ///
    /// # Errors
    /// What `WskRegister` answers.
    ///
    /// # Safety
    /// One thread drives the registration, and calls [`deregister`](Self::deregister) before the driver is unloaded.
    pub unsafe fn register(self: Pin<&Self>, _: Passive) -> Result<(), sys::NtStatus> {
        if self.state.load(Ordering::Acquire) != IDLE {
            return Ok(());
        }
        // SAFETY: PASSIVE_LEVEL by the token; NPI and block are pinned until `deregister`, and the block is not registered.
        let status = unsafe { sys::WskRegister(self.npi.get(), self.block.get()) };
        success(status)?;
        self.state.store(REGISTERED, Ordering::Release);
        Ok(())
    }

    /// Captures the provider's NPI, waiting at most `milliseconds` for the provider to be ready; nothing if it is captured.
    ///
    /// # Errors
    /// What `WskCaptureProviderNPI` answers: it is not ready, or does not serve our version.
    ///
    /// # Safety
    /// As for [`register`](Self::register), which came before.
    pub unsafe fn capture(self: Pin<&Self>, milliseconds: u32, _: Passive) -> Result<(), sys::NtStatus> {
        if self.state.load(Ordering::Acquire) != REGISTERED {
            return Ok(());
        }
        // SAFETY: PASSIVE_LEVEL by the token; the block is registered; nobody reads `provider` before the state says CAPTURED.
        let status = unsafe { sys::WskCaptureProviderNPI(self.block.get(), milliseconds, self.provider.get()) };
        success(status)?;
        self.state.store(CAPTURED, Ordering::Release);
        Ok(())
    }

    /// Whether the provider that is captured is still there: whether it can be captured once more, without waiting. The second
    /// capture is given back at once. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// The caller keeps the capture during the call.
    #[must_use]
    pub unsafe fn is_served(self: Pin<&Self>) -> bool {
        let mut npi = sys::ProviderNpi { client: null_mut(), dispatch: core::ptr::null() };
        // SAFETY: registered, since it is captured; it does not wait.
        let status = unsafe { sys::WskCaptureProviderNPI(self.block.get(), sys::NO_WAIT, &raw mut npi) };
        if status == 0 {
            // SAFETY: one release for the one successful capture.
            unsafe { sys::WskReleaseProviderNPI(self.block.get()) };
        }
        status == 0
    }

    /// The captured provider.
    #[must_use]
    pub fn provider(&self) -> Option<Provider> {
        if self.state.load(Ordering::Acquire) != CAPTURED {
            return None;
        }
        // SAFETY: by the type's invariant nothing writes `provider` in this state.
        let npi = unsafe { &*self.provider.get() };
        Some(Provider { client: npi.client, dispatch: npi.dispatch })
    }

    /// Whether the client is registered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.state.load(Ordering::Acquire) != IDLE
    }

    /// Gives the capture back, if there is one, and deregisters the client, if it is registered. Waits until the WSK provider has
    /// nothing of the client's left.
    ///
    /// # Safety
    /// As for [`register`](Self::register). No socket is open, no call is under way, no [`Provider`] of this capture is used again.
    pub unsafe fn deregister(self: Pin<&Self>, _: Passive) {
        let before = self.state.swap(IDLE, Ordering::AcqRel);
        if before == CAPTURED {
            // SAFETY: one release for the one successful capture.
            unsafe { sys::WskReleaseProviderNPI(self.block.get()) };
        }
        if before != IDLE {
            // SAFETY: PASSIVE_LEVEL by the token; registered; the caller promises that nothing is outstanding.
            unsafe { sys::WskDeregister(self.block.get()) };
        }
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self::new()
    }
}

/// `STATUS_SUCCESS` and nothing else: `STATUS_TIMEOUT`, for one, passes `NT_SUCCESS`.
const fn success(status: sys::NtStatus) -> Result<(), sys::NtStatus> {
    if status == 0 { Ok(()) } else { Err(status) }
}
