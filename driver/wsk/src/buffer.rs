//! Memory that WSK may read and write while nobody else does.

use crate::kernel::OwnMdl;
use crate::{Error, sys};
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;

/// Nonpaged memory with its MDL. It is full up to its length, from the start; a send sends that, a receive fills it anew.
///
/// Whoever starts an operation gives the buffer away and gets it back from the outcome: while WSK has it there is nobody who could
/// touch or free it. `<= DISPATCH_LEVEL`. Source: *`WSK_BUF` structure*.
///
/// # Invariants
/// - `mdl` describes all of `memory`, and goes before it. `length` is at most the memory's.
pub struct Buffer {
    mdl: OwnMdl,
    memory: Memory,
    length: u32,
}

/// Bytes of pool.
///
/// # Invariants
/// - `start` is `size` initialised bytes, allocated with [`layout`](Self::layout); nobody else's.
struct Memory {
    start: NonNull<u8>,
    size: u32,
}

// SAFETY: memory that is nobody else's belongs to no thread.
unsafe impl Send for Memory {}
// SAFETY: through `&self` it is only read.
unsafe impl Sync for Memory {}

impl Memory {
    fn layout(size: u32) -> Option<Layout> {
        let valid = size != 0 && size <= Buffer::LONGEST;
        Layout::from_size_align(usize::try_from(size).ok()?, 16).ok().filter(|_| valid)
    }

    fn try_new(size: u32) -> Result<Self, Error> {
        let layout = Self::layout(size).ok_or(Error::Length)?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::OutOfMemory)?;
        // INVARIANT: allocated just now.
        Ok(Self { start, size })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.size) {
            // SAFETY: allocated with this layout (invariant), and freed this once.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

impl Buffer {
    /// The longest buffer, bytes.
    pub const LONGEST: u32 = 1 << 30;

    /// An empty buffer for `capacity` bytes.
    ///
    /// # Errors
    /// [`Error::Length`]: none, or more than [`LONGEST`](Self::LONGEST). [`Error::OutOfMemory`].
    pub fn try_new(capacity: u32) -> Result<Self, Error> {
        let memory = Memory::try_new(capacity)?;
        // SAFETY: all of it, from nonpaged pool (the crate's terms for the allocator), and freed after the MDL.
        let mdl = unsafe { OwnMdl::try_new(memory.start, capacity) }?;
        // INVARIANT: described just now.
        Ok(Self { mdl, memory, length: 0 })
    }

    /// A buffer that is full of `bytes`.
    ///
    /// # Errors
    /// As for [`try_new`](Self::try_new).
    pub fn try_from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut buffer = Self::try_new(u32::try_from(bytes.len()).map_err(|_| Error::Length)?)?;
        buffer.fill(bytes)?;
        Ok(buffer)
    }

    /// Replaces what is in it.
    ///
    /// # Errors
    /// [`Error::Length`]: it does not fit; nothing is changed.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(bytes.len()).map_err(|_| Error::Length)?;
        self.set_len(length)?;
        self.bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    /// Makes the first `length` bytes what is in it. Those that were not written are zero, or what was there before.
    ///
    /// # Errors
    /// [`Error::Length`]: there are not so many; nothing is changed.
    pub fn set_len(&mut self, length: u32) -> Result<(), Error> {
        if length > self.memory.size {
            return Err(Error::Length);
        }
        self.length = length;
        Ok(())
    }

    /// Bytes that it can hold.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.memory.size
    }

    /// What is in it.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: initialised, ours, and at least so long (invariant).
        unsafe { core::slice::from_raw_parts(self.memory.start.as_ptr(), self.length as usize) }
    }

    /// What is in it, to be written.
    #[must_use]
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: initialised, ours alone by `&mut`, and at least so long (invariant).
        unsafe { core::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.length as usize) }
    }

    /// What is to be sent: never beyond the MDL (invariant). It has no MDL if it is empty.
    pub(crate) const fn full_part(&self) -> sys::Buf {
        let mdl = if self.length == 0 { core::ptr::null_mut() } else { self.mdl.as_ptr() };
        sys::Buf { mdl, offset: 0, length: self.length as usize }
    }

    /// What is to be filled: as long as the MDL (invariant).
    pub(crate) const fn whole(&self) -> sys::Buf {
        sys::Buf { mdl: self.mdl.as_ptr(), offset: 0, length: self.memory.size as usize }
    }

    /// WSK has filled the first `count` bytes.
    pub(crate) fn filled(&mut self, count: usize) {
        self.length = u32::try_from(count).unwrap_or(u32::MAX).min(self.memory.size);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("length", &self.length)
            .field("capacity", &self.memory.size)
            .finish_non_exhaustive()
    }
}
