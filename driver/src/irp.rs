//! An IRP that this driver owns: whoever has the value must complete it, park it, or pass it on.

use crate::nt;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::slice;
use wdk_sys::{FILE_OBJECT, IRP, MDL, NTSTATUS, PIRP, ULONG};
use wskclient_abi::{STATUS_PENDING, WsaError, is_error};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An `IRP_MJ_*` request that has come to this driver and not left it.
///
/// # Invariants
/// - It points to a live IRP at this driver's stack location, which nobody else completes or passes on.
#[must_use = "an IRP that is dropped is never completed"]
pub struct Irp(NonNull<IRP>);

// SAFETY: an IRP has no home thread; whoever owns it may use it anywhere.
unsafe impl Send for Irp {}

impl Irp {
    /// Takes the IRP that a dispatch routine was called with, or that comes back in a completion routine.
    ///
    /// # Safety
    /// This driver owns it from now on.
    pub const unsafe fn from_raw(irp: NonNull<IRP>) -> Self {
        // INVARIANT: the caller's promise.
        Self(irp)
    }

    /// As [`from_raw`](Self::from_raw), for a dispatch routine's argument.
    ///
    /// # Safety
    /// The I/O manager called the dispatch routine with it.
    pub const unsafe fn from_dispatch(irp: PIRP) -> Self {
        // SAFETY: the I/O manager gives no null IRP.
        Self(unsafe { nt::non_null(irp) })
    }

    /// Gives the ownership up.
    pub const fn into_raw(self) -> NonNull<IRP> {
        self.0
    }

    /// The IRP, still owned.
    pub const fn as_raw(&self) -> NonNull<IRP> {
        self.0
    }

    /// The control code and the lengths of input and output, bytes, of an `IRP_MJ_DEVICE_CONTROL`.
    pub fn device_control(&self) -> (ULONG, usize, usize) {
        // SAFETY: at our location (invariant).
        let location = unsafe { nt::current_location(self.0) };
        // SAFETY: asked of device controls only; of another request the numbers would mean nothing, and lengths are not believed
        // without a buffer.
        unsafe { nt::device_control(location) }
    }

    /// The file object that the request came through.
    pub fn file_object(&self) -> *mut FILE_OBJECT {
        // SAFETY: at our location (invariant).
        let location = unsafe { nt::current_location(self.0) };
        // SAFETY: the location is alive as long as the IRP.
        unsafe { (*location).FileObject }
    }

    /// The input: exactly one `T`.
    ///
    /// # Errors
    /// `WSAEFAULT` for any other length.
    pub fn input<T: FromBytes>(&self) -> Result<T, NTSTATUS> {
        let (_, length, _) = self.device_control();
        let buffer = self.system_buffer();
        if length != size_of::<T>() || buffer.is_null() {
            return Err(WsaError::Fault.status());
        }
        // SAFETY: the system buffer holds the input's length of initialised bytes, which nobody writes meanwhile.
        let bytes = unsafe { slice::from_raw_parts(buffer, length) };
        T::read_from_bytes(bytes).map_err(|_| WsaError::Fault.status())
    }

    /// Refuses input where there is none to be.
    ///
    /// # Errors
    /// `WSAEFAULT` for any length but zero.
    pub fn no_input(&self) -> Result<(), NTSTATUS> {
        let (_, length, _) = self.device_control();
        if length == 0 { Ok(()) } else { Err(WsaError::Fault.status()) }
    }

    /// Checks that a reply fits.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL`, which is `WSAEFAULT`.
    pub fn output_fits<T>(&self) -> Result<(), NTSTATUS> {
        const BUFFER_TOO_SMALL: NTSTATUS = 0xC000_0023_u32.cast_signed();
        let (_, _, length) = self.device_control();
        if length >= size_of::<T>() && !self.system_buffer().is_null() { Ok(()) } else { Err(BUFFER_TOO_SMALL) }
    }

    /// Writes a reply where the I/O manager takes the output from, and returns its length for `IoStatus.Information`; zero if it
    /// does not fit.
    pub fn reply<T: IntoBytes + Immutable>(&mut self, reply: &T) -> usize {
        if self.output_fits::<T>().is_err() {
            return 0;
        }
        let bytes = reply.as_bytes();
        // SAFETY: the system buffer holds at least the output's length, and its owner may write it.
        unsafe { self.system_buffer().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        bytes.len()
    }

    /// Writes a reply where the I/O manager takes the output from, beginning with zeros, and returns its length as
    /// [`reply`](Self::reply) does.
    pub fn compose<T: FromBytes + IntoBytes + KnownLayout>(&mut self, write: impl FnOnce(&mut T)) -> usize {
        if self.zero_reply::<T>().is_err() {
            return 0;
        }
        // SAFETY: the system buffer holds at least the output's length, initialised just now; only its owner uses it.
        let bytes = unsafe { slice::from_raw_parts_mut(self.system_buffer(), size_of::<T>()) };
        T::mut_from_bytes(bytes).map_or(0, |reply| {
            write(reply);
            size_of::<T>()
        })
    }

    /// The output, zeroed. The input lies in the same place, and is gone.
    pub fn output_mut(&mut self) -> Option<&mut [u8]> {
        let (_, _, length) = self.device_control();
        let buffer = NonNull::new(self.system_buffer())?;
        // SAFETY: the system buffer holds at least the output's length.
        unsafe { buffer.write_bytes(0, length) };
        // SAFETY: that many bytes, initialised just now; only the IRP's owner uses them.
        Some(unsafe { slice::from_raw_parts_mut(buffer.as_ptr(), length) })
    }

    /// Zeroes the place of a reply that WSK will write parts of.
    ///
    /// # Errors
    /// As [`output_fits`](Self::output_fits).
    pub fn zero_reply<T: FromBytes>(&mut self) -> Result<(), NTSTATUS> {
        self.output_fits::<T>()?;
        // SAFETY: the system buffer holds at least the output's length, and its owner may write it.
        unsafe { self.system_buffer().write_bytes(0, size_of::<T>()) };
        Ok(())
    }

    /// The first `length` bytes of where the I/O manager takes the output from, zeroed; none if the output buffer is shorter.
    pub fn zeroed_output(&mut self, length: usize) -> Option<&mut [u8]> {
        let (_, _, room) = self.device_control();
        let buffer = NonNull::new(self.system_buffer()).filter(|_| length <= room)?;
        // SAFETY: the system buffer holds at least the output's length, and its owner may write it.
        unsafe { buffer.write_bytes(0, length) };
        // SAFETY: initialised just now, and borrowed from its owner.
        Some(unsafe { slice::from_raw_parts_mut(buffer.as_ptr(), length) })
    }

    /// Writes parts of a reply that WSK wrote other parts of, and returns its length as [`reply`](Self::reply) does.
    pub fn amend_reply<T: FromBytes + IntoBytes + Immutable>(&mut self, amend: impl FnOnce(&mut T)) -> usize {
        if self.output_fits::<T>().is_err() {
            return 0;
        }
        // SAFETY: the system buffer holds at least the output's length, initialised by `zero_reply`.
        let bytes = unsafe { slice::from_raw_parts(self.system_buffer(), size_of::<T>()) };
        let Ok(mut reply) = T::read_from_bytes(bytes) else {
            return 0;
        };
        amend(&mut reply);
        self.reply(&reply)
    }

    /// The system buffer of a buffered request, or the input of a direct one; null if it has none. It stays until the IRP completes.
    pub fn system_buffer(&self) -> *mut u8 {
        // SAFETY: every method that this driver's codes use has one.
        unsafe { nt::system_buffer(self.0) }
    }

    /// The caller's data buffer of a direct request, locked, and its length in bytes. An empty one has no MDL.
    ///
    /// # Errors
    /// `WSAEFAULT` when it has none and is not empty.
    pub fn data(&self) -> Result<(*mut MDL, usize), NTSTATUS> {
        let (_, _, length) = self.device_control();
        // SAFETY: the IRP is alive.
        let mdl = unsafe { (*self.0.as_ptr()).MdlAddress };
        if mdl.is_null() && length != 0 { Err(WsaError::Fault.status()) } else { Ok((mdl, length)) }
    }

    /// Marks the IRP pending: the dispatch routine will return `STATUS_PENDING`, whatever happens to the IRP meanwhile.
    pub fn mark_pending(&self) {
        // SAFETY: at our location, and ours (invariant).
        unsafe { nt::mark_pending(self.0) };
    }

    /// Has `routine` called when the lower driver completes the IRP.
    ///
    /// # Safety
    /// `routine` is right for `context`.
    pub unsafe fn set_completion_routine(&self, routine: nt::CompletionRoutine, context: *mut c_void) {
        // SAFETY: ours (invariant), and the device's StackSize leaves a lower location.
        unsafe { nt::set_completion_routine(self.0, routine, context) };
    }

    /// Completes the IRP, and returns `status` for the dispatch routine to return. `<= DISPATCH_LEVEL`, with no lock held.
    pub fn complete(self, status: NTSTATUS, information: usize) -> NTSTATUS {
        debug_assert!(status != STATUS_PENDING, "nothing completes as pending");
        let information = if is_error(status) { 0 } else { information };
        // SAFETY: ours (invariant), and what parks an IRP takes its cancel routine away again.
        unsafe { nt::complete(self.0, status, information) };
        status
    }
}
