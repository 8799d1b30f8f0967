//! The process that a client is.

use crate::irp::Irp;
use core::ptr::NonNull;
use wdk_sys::ntddk;

/// A process, by its process object. It is referenced, so that no other process can be taken for it (an identifier is given away again
/// when its process object goes).
///
/// # Invariants
/// - The object, if there is one, is referenced for this value.
pub struct Process(Option<NonNull<core::ffi::c_void>>);

// SAFETY: a process object belongs to no thread.
unsafe impl Send for Process {}
// SAFETY: a process object belongs to no thread; it is only compared.
unsafe impl Sync for Process {}

impl Process {
    /// The process that sent a request; none if a driver did.
    pub fn of(irp: &Irp) -> Self {
        // SAFETY: the IRP is alive.
        let process = NonNull::new(unsafe { ntddk::IoGetRequestorProcess(irp.as_raw().as_ptr()) });
        // INVARIANT: referenced here.
        let borrowed = core::mem::ManuallyDrop::new(Self(process.map(NonNull::cast)));
        Self::clone(&borrowed)
    }
}

impl Process {
    /// Its identifier; 0 for none. Any IRQL that the caller may be at.
    pub fn identifier(&self) -> u32 {
        // SAFETY: referenced for this value (invariant).
        let identifier = self.0.map(|process| unsafe { ntddk::PsGetProcessId(process.as_ptr().cast()) });
        identifier.and_then(|identifier| u32::try_from(identifier.addr()).ok()).unwrap_or(0)
    }
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Clone for Process {
    fn clone(&self) -> Self {
        if let Some(process) = self.0 {
            // SAFETY: alive: the original is referenced, or the process is the sender of a request.
            unsafe { ntddk::ObfReferenceObject(process.as_ptr().cast()) };
        }
        Self(self.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            // SAFETY: referenced for this value (invariant).
            unsafe { ntddk::ObfDereferenceObject(process.as_ptr().cast()) };
        }
    }
}
