//! Address ranges: reserved at once, made accessible page by page.

use std::ffi::c_void;
use std::io;
use std::ptr::null_mut;

use crate::nt::PAGE_SIZE;

/// What may be done with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    None,
    Read,
    ReadWrite,
    Execute,
    /// Only while an image is being bound, or asked for by the image itself.
    All,
}

impl Access {
    pub(crate) const fn bits(self) -> i32 {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
            Self::Execute => libc::PROT_READ | libc::PROT_EXEC,
            Self::All => libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        }
    }
}

/// A range of addresses that belongs to its owner until it is dropped.
///
/// # Invariants
/// `base..base + size` is one mapping made by `reserve`, whole pages, not shared with any other `Region`.
#[derive(Debug)]
pub(crate) struct Region {
    base: usize,
    size: usize,
}

/// Where `bytes` first hold something else than `fill`.
pub(crate) fn first_other(bytes: &[u8], fill: u8) -> Option<usize> {
    // Whole words first: patterns are checked at every request.
    let (words, rest) = bytes.as_chunks();
    let pattern = u64::from_ne_bytes([fill; 8]);
    let whole = words.iter().take_while(|&&word| u64::from_ne_bytes(word) == pattern).count() * 8;
    if whole == bytes.len() - rest.len() && rest.iter().all(|&byte| byte == fill) {
        return None;
    }
    bytes[whole..].iter().position(|&byte| byte != fill).map(|index| whole + index)
}

/// `size` in whole pages, in bytes.
pub(crate) const fn whole_pages(size: usize) -> usize {
    size.next_multiple_of(PAGE_SIZE)
}

impl Region {
    /// Reserves `size` bytes of inaccessible addresses.
    pub(crate) fn reserve(size: usize) -> io::Result<Self> {
        Self::map(size, Access::None)
    }

    /// Maps `size` bytes that take memory only where they are touched.
    pub(crate) fn map(size: usize, access: Access) -> io::Result<Self> {
        let size = whole_pages(size);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: an anonymous mapping at an address of the host's choice touches nobody's memory.
        let base = unsafe { libc::mmap(null_mut(), size, access.bits(), flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base as usize, size })
    }

    pub(crate) const fn base(&self) -> usize {
        self.base
    }

    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    pub(crate) const fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.size
    }

    /// Changes what may be done with `length` bytes from `address`.
    pub(crate) fn protect(&self, address: usize, length: usize, access: Access) {
        assert!(self.contains(address) && length <= self.base + self.size - address, "outside the region");
        // SAFETY: the range is ours by the invariant of `Region`, and its users expect its protection to change.
        let result = unsafe { libc::mprotect(address as *mut c_void, whole_pages(length), access.bits()) };
        assert_eq!(result, 0, "mprotect: {}", io::Error::last_os_error());
    }

    /// Gives the memory of `length` bytes from `address` back and makes them inaccessible.
    pub(crate) fn discard(&self, address: usize, length: usize) {
        assert!(self.contains(address) && length <= self.base + self.size - address, "outside the region");
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: the range is ours by the invariant of `Region`; what it held is given up.
        let result = unsafe { libc::mmap(address as *mut c_void, whole_pages(length), libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(result, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is ours by the invariant of `Region`, and nobody reaches it after its owner.
        unsafe { libc::munmap(self.base as *mut c_void, self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_a_pattern_is_found_wherever_it_is() {
        for length in 0..40 {
            let bytes = vec![7; length];
            assert_eq!(first_other(&bytes, 7), None);
            for at in 0..length {
                let mut bytes = bytes.clone();
                bytes[at..].fill(8);
                assert_eq!(first_other(&bytes, 7), Some(at), "{length}");
            }
        }
    }
}
