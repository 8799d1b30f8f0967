//! IRQL in types.

use core::marker::PhantomData;

/// Proof that the code runs at `PASSIVE_LEVEL`.
///
/// It is made only where the system guarantees that level (a dispatch routine called by the I/O manager, a system thread's routine,
/// `DriverEntry`, `DriverUnload`) and is asked for by every function that may wait, touch paged memory or call a routine that is
/// documented for `PASSIVE_LEVEL` only. It can't be sent to another thread, and a spin lock's guard hands out none.
///
/// ```compile_fail,E0277
/// fn completion_closure(_: impl FnOnce() + Send) {}
/// fn dispatch(passive: wsk::Passive) {
///     completion_closure(move || drop(passive));
/// }
/// ```
///
/// # Invariants
/// - While a value exists, its thread runs at `PASSIVE_LEVEL`, except within the guard of a spin lock that the holder takes itself, and
///   inside no completion routine or event callback of WSK.
#[derive(Clone, Copy, Debug)]
pub struct Passive(PhantomData<*const ()>);

impl Passive {
    /// Takes the system's word for it.
    ///
    /// # Safety
    /// The caller runs at `PASSIVE_LEVEL`, inside no completion routine or event callback of WSK, and goes on to as long as the value
    /// is in use.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        // INVARIANT: the caller's promise.
        Self(PhantomData)
    }
}

/// Proof that WSK may be called: at `DISPATCH_LEVEL` or below, inside no completion routine of WSK's and no event callback.
///
/// A WSK function that is called in a completion routine may complete its IRP at once and so call the next, until the kernel stack is
/// used up; `WskCloseSocket` in an event callback waits for that callback. [`Passive`] is such a proof; closures that this crate calls
/// from completions and callbacks get none, and can't bring one along. Source: *Using IRPs with Winsock Kernel Functions*.
///
/// ```compile_fail,E0277
/// fn completion_closure(_: impl FnOnce() + Send) {}
/// fn timer(call: wsk::MayCall) {
///     completion_closure(move || drop(call));
/// }
/// ```
///
/// # Invariants
/// - While a value exists, its thread is inside no completion routine or event callback of WSK, and not above `DISPATCH_LEVEL`.
#[derive(Clone, Copy, Debug)]
pub struct MayCall(PhantomData<*const ()>);

impl MayCall {
    /// Takes the caller's word for it: in a timer's DPC, for one.
    ///
    /// # Safety
    /// The caller is inside no completion routine or event callback of WSK, and not above `DISPATCH_LEVEL`, as long as the value is in
    /// use.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        // INVARIANT: the caller's promise.
        Self(PhantomData)
    }
}

impl From<Passive> for MayCall {
    fn from(_: Passive) -> Self {
        // INVARIANT: by that of `Passive`.
        Self(PhantomData)
    }
}
