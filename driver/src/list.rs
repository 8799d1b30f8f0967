//! Doubly linked lists through the elements themselves: linking and unlinking take no memory and no time.

use core::ptr::{NonNull, null_mut};

/// An element's place in a list. The layout is `LIST_ENTRY`'s.
#[repr(C)]
#[derive(Debug)]
pub struct Links {
    next: *mut Links,
    previous: *mut Links,
}

impl Links {
    /// The element after `links` in its list.
    ///
    /// # Safety
    /// `links` is in a list, whose lock is held.
    pub const unsafe fn after(links: NonNull<Self>) -> Option<NonNull<Self>> {
        // SAFETY: alive by the list's invariant.
        NonNull::new(unsafe { (*links.as_ptr()).next })
    }

    /// In no list.
    pub const fn new() -> Self {
        Self { next: null_mut(), previous: null_mut() }
    }
}

/// A list. Its owner's lock serialises everything done with it and with its elements' links.
///
/// # Invariants
/// - The links from `first` on are alive, in this list only, and end at `last`; both are null in an empty list.
#[derive(Debug)]
pub struct List {
    first: *mut Links,
    last: *mut Links,
}

// SAFETY: the pointers are used only under the lock of the list's owner.
unsafe impl Send for List {}

impl List {
    /// Empty.
    pub const fn new() -> Self {
        Self { first: null_mut(), last: null_mut() }
    }

    /// Whether it has no element.
    pub const fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// The first element.
    pub const fn first(&self) -> Option<NonNull<Links>> {
        NonNull::new(self.first)
    }

    /// Links an element at the end.
    ///
    /// # Safety
    /// `links` is in no list, and stays alive and where it is until it is removed.
    pub unsafe fn push(&mut self, links: NonNull<Links>) {
        // SAFETY: alive, and nobody else's.
        unsafe { links.write(Links { next: null_mut(), previous: self.last }) };
        match NonNull::new(self.last) {
            // SAFETY: alive by the list's invariant.
            Some(last) => unsafe { (*last.as_ptr()).next = links.as_ptr() },
            None => self.first = links.as_ptr(),
        }
        self.last = links.as_ptr();
    }

    /// Unlinks an element.
    ///
    /// # Safety
    /// `links` is in this list.
    pub unsafe fn remove(&mut self, links: NonNull<Links>) {
        // SAFETY: alive by the list's invariant.
        let Links { next, previous } = unsafe { links.read() };
        match NonNull::new(previous) {
            // SAFETY: alive by the list's invariant.
            Some(previous) => unsafe { (*previous.as_ptr()).next = next },
            None => self.first = next,
        }
        match NonNull::new(next) {
            // SAFETY: alive by the list's invariant.
            Some(next) => unsafe { (*next.as_ptr()).previous = previous },
            None => self.last = previous,
        }
    }

    /// Unlinks the first element.
    pub fn pop(&mut self) -> Option<NonNull<Links>> {
        let first = self.first()?;
        // SAFETY: in this list.
        unsafe { self.remove(first) };
        Some(first)
    }
}
