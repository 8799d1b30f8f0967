//! Nonpaged pool that can run out, and counted pointers to what lives there.
//!
//! Memory comes from the image's global allocator, which must give nonpaged pool aligned to 16 bytes, as `wdk-alloc`'s does.

use crate::sync::{AtomicUsize, Ordering, fence};
use alloc::alloc::alloc;
use alloc::boxed::Box;
use core::alloc::Layout;
use core::ops::Deref;
use core::ptr::NonNull;

/// Pool ran out.
#[derive(Clone, Copy, Debug)]
pub struct OutOfPool;

/// Moves `value` into nonpaged pool. `<= DISPATCH_LEVEL`.
///
/// # Errors
/// There is none: the value is dropped.
pub fn try_box<T>(value: T) -> Result<Box<T>, OutOfPool> {
    const { assert!(align_of::<T>() <= 16, "what pool gives is aligned to 16 bytes") };
    if size_of::<T>() == 0 {
        core::mem::forget(value);
        // SAFETY: a value without a size needs no memory.
        return Ok(unsafe { Box::from_raw(NonNull::dangling().as_ptr()) });
    }
    // SAFETY: the size is not zero.
    let memory = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return Err(OutOfPool);
    }
    // SAFETY: fresh memory of the type's size and alignment.
    unsafe { memory.write(value) };
    // SAFETY: allocated by the global allocator with the type's layout, and initialised.
    Ok(unsafe { Box::from_raw(memory) })
}

struct Counted<T> {
    count: AtomicUsize,
    value: T,
}

/// A counted pointer into nonpaged pool; the value is dropped with the last one. `<= DISPATCH_LEVEL`.
///
/// # Invariants
/// - The pointer is to a live `Counted<T>` from [`try_box`], in whose count this one is included.
pub struct Ref<T>(NonNull<Counted<T>>);

// SAFETY: as for `Arc`.
unsafe impl<T: Send + Sync> Send for Ref<T> {}
// SAFETY: as for `Arc`.
unsafe impl<T: Send + Sync> Sync for Ref<T> {}

impl<T> Ref<T> {
    /// Moves `value` into pool, with one pointer to it.
    ///
    /// # Errors
    /// There is none: the value is dropped.
    pub fn try_new(value: T) -> Result<Self, OutOfPool> {
        let counted = try_box(Counted { count: AtomicUsize::new(1), value })?;
        // INVARIANT: the count of one is this pointer.
        Ok(Self(NonNull::from(Box::leak(counted))))
    }

    /// Gives the pointer up without letting the value go.
    #[must_use = "only `from_raw` lets the value go"]
    pub fn into_raw(self) -> NonNull<T> {
        let value = NonNull::from(&*self);
        core::mem::forget(self);
        value
    }

    /// Takes back what [`into_raw`](Self::into_raw) gave up.
    ///
    /// # Safety
    /// `value` came from `into_raw` and is taken back this once.
    #[must_use]
    pub unsafe fn from_raw(value: NonNull<T>) -> Self {
        // SAFETY: the value is a field of a `Counted<T>`.
        let counted = unsafe { value.byte_sub(core::mem::offset_of!(Counted<T>, value)) };
        // INVARIANT: the count that `into_raw` left in place.
        Self(counted.cast())
    }

    /// One more pointer to a value that somebody else has a pointer to.
    ///
    /// # Safety
    /// `value` lives in a `Ref`, and one of its pointers exists throughout the call.
    #[must_use]
    pub unsafe fn again(value: &T) -> Self {
        // SAFETY: the pointer that exists makes this one good as long as it is not dropped.
        let theirs = core::mem::ManuallyDrop::new(unsafe { Self::from_raw(NonNull::from(value)) });
        Self::clone(&theirs)
    }

    /// One more pointer to a value that lives in a `Ref`, unless its last one is gone and it is about to be dropped.
    ///
    /// # Safety
    /// `value` lives in a `Ref`, and its memory is not given back during the call.
    #[must_use]
    pub unsafe fn upgrade(value: &T) -> Option<Self> {
        // SAFETY: the memory is there; the value is only looked at, and forgotten.
        let theirs = core::mem::ManuallyDrop::new(unsafe { Self::from_raw(NonNull::from(value)) });
        let count = &theirs.counted().count;
        let one_more = |count: usize| (count != 0).then(|| count.wrapping_add(1));
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        // INVARIANT: counted just now.
        Some(Self(theirs.0))
    }

    const fn counted(&self) -> &Counted<T> {
        // SAFETY: alive (invariant).
        unsafe { self.0.as_ref() }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        self.counted().count.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Drop for Ref<T> {
    fn drop(&mut self) {
        if self.counted().count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: the last pointer is gone: the memory is the box's again.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}
