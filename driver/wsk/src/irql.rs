//! IRQL in types.

use core::marker::PhantomData;

/// Proof that the code runs at `PASSIVE_LEVEL`.
///
/// It is made only where the system guarantees that level (a dispatch routine called by the I/O manager, a system thread's routine,
/// `DriverEntry`, `DriverUnload`) and is asked for by every function that may wait, touch paged memory or call a routine that is
/// documented for `PASSIVE_LEVEL` only. It can't be sent to another thread, and a spin lock's guard hands out none.
///
/// # Invariants
/// - While a value exists, its thread runs at `PASSIVE_LEVEL`, except within the guard of a spin lock that the holder takes itself.
#[derive(Clone, Copy, Debug)]
pub struct Passive(PhantomData<*const ()>);

impl Passive {
    /// Takes the system's word for it.
    ///
    /// # Safety
    /// The caller runs at `PASSIVE_LEVEL`, and goes on to as long as the value is in use.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        // INVARIANT: the caller's promise.
        Self(PhantomData)
    }
}
