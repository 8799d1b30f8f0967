//! Spin locks.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use wdk_sys::{KIRQL, KSPIN_LOCK, ntddk};

/// A value that is used under a spin lock, at `DISPATCH_LEVEL`.
///
/// At most one is held at a time, and none across a WSK call or a completion. The memory is nonpaged: everything this driver
/// allocates is.
///
/// # Invariants
/// - `value` is touched only through a [`Guard`], of which there is at most one.
pub struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: whoever holds the lock has the value alone.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// An unlocked value.
    pub const fn new(value: T) -> Self {
        Self { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Acquires the lock. `<= DISPATCH_LEVEL`; the code runs at `DISPATCH_LEVEL` until the guard is dropped.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: an initialised spin lock (zero) in nonpaged memory.
        let irql = unsafe { ntddk::KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        Guard { lock: self, irql, _not_send: PhantomData }
    }
}

/// The right to use the value; releases the lock when dropped.
///
/// # Invariants
/// - This processor holds the lock, and `irql` is the level at which it was acquired.
pub struct Guard<'a, T> {
    lock: &'a SpinLock<T>,
    irql: KIRQL,
    _not_send: PhantomData<*const ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held (invariant).
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held (invariant), and this guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: held, and acquired at `irql` (invariant).
        unsafe { ntddk::KeReleaseSpinLock(self.lock.lock.get(), self.irql) };
    }
}
