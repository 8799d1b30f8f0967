//! `WSK_BUF`: which memory a driver's buffer is.
//!
//! One idea: a length that goes past its MDL chain crashes Windows later and elsewhere, so it is found at the call.
//!
//! Source: *`WSK_BUF` structure*, *WSK Buffers*.

use wsk::sys;

use super::rules;
use crate::call::Stopped;
use crate::nt;
use crate::rules::record;

/// A piece of memory that an MDL describes.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Its first byte.
    pub start: *mut u8,
    /// Bytes.
    pub length: usize,
}

// SAFETY: a segment is an address and a length. The memory stays valid, whatever thread uses it, until the IRP that it came with
// is completed: the driver that passed the MDL owes that.
unsafe impl Send for Segment {}

/// The memory of a `WSK_BUF`, in order.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Its pieces, none of them empty.
    pub segments: Vec<Segment>,
    /// Bytes in all of them.
    pub length: usize,
}

/// Any of these says that the pages stay where they are.
const LOCKED: i16 = nt::MDL_PAGES_LOCKED | nt::MDL_SOURCE_IS_NONPAGED_POOL | nt::MDL_PARTIAL;
/// Any of these says that `MappedSystemVa` is valid.
const MAPPED: i16 = nt::MDL_MAPPED_TO_SYSTEM_VA | nt::MDL_SOURCE_IS_NONPAGED_POOL;

impl Buffer {
    /// Reads the `WSK_BUF` that a driver passed to `function`; a null pointer is an empty buffer.
    ///
    /// # Safety
    /// `buffer` is null or points to a `WSK_BUF` whose MDL chain is valid.
    pub unsafe fn read(function: &'static str, buffer: *const sys::Buf) -> Result<Self, Stopped> {
        if buffer.is_null() {
            return Ok(Self::default());
        }
        // SAFETY: the caller vouches for the struct.
        let buffer = unsafe { buffer.read() };
        let mut found = Self { segments: Vec::new(), length: buffer.length };
        let mut mdl: *mut nt::MDL = buffer.mdl.cast();
        let mut skip = buffer.offset as usize;
        let mut missing = buffer.length;
        let mut chain = Vec::new();
        while missing != 0 {
            // SAFETY: the caller vouches for the chain, which ends with a null pointer.
            let Some(part) = (unsafe { mdl.as_ref() }) else {
                let message = format!(
                    "{function} got Offset {} and Length {} for MDLs of {chain:?} bytes: {missing} bytes lie behind them",
                    buffer.offset, buffer.length
                );
                return Err(record(&rules::BUFFER_BEYOND_MDL, message, Vec::new()));
            };
            let size = part.ByteCount.get() as usize;
            chain.push(size);
            if skip > size || (skip == size && size != 0) {
                let message = format!("{function} got Offset {skip} for a first MDL of {size} bytes");
                return Err(record(&rules::BUFFER_BEYOND_MDL, message, Vec::new()));
            }
            let flags = part.MdlFlags.get();
            if flags & LOCKED == 0 {
                let message = format!("{function} got an MDL with flags {flags:#06x}: its pages can move");
                return Err(record(&rules::BUFFER_NOT_LOCKED, message, Vec::new()));
            }
            let length = (size - skip).min(missing);
            if length != 0 {
                let base = if flags & MAPPED == 0 { part.virtual_address() } else { part.MappedSystemVa.get() };
                found.segments.push(Segment { start: base.cast::<u8>().wrapping_add(skip), length });
            }
            missing -= length;
            skip = 0;
            mdl = part.Next.get();
        }
        Ok(found)
    }

    /// Writes as much of `bytes` as there is room for, and says how much that is.
    ///
    /// # Safety
    /// The segments are memory that nobody else uses during the call.
    pub unsafe fn fill(&self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for segment in &self.segments {
            let length = segment.length.min(bytes.len() - done);
            // SAFETY: the caller vouches for the segment; `length` bytes are in both.
            unsafe { segment.start.copy_from_nonoverlapping(bytes[done..].as_ptr(), length) };
            done += length;
        }
        done
    }
}
