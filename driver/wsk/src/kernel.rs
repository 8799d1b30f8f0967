//! The kernel's routines that the safe layer stands on, by hand, and what owns what they give.
//!
//! Declared here and not taken from `wdk-sys`, so that a driver that uses this crate may have any bindings, or none.

use crate::objects::{EventObject, IrpFields, ObjectAttributes, StackLocation};
use crate::sys::{Irp, Mdl, NtStatus};
use crate::{Error, OutOfPool, Passive};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::time::Duration;

/// `IO_COMPLETION_ROUTINE`: device, IRP, context.
pub type CompletionRoutine = unsafe extern "C" fn(*mut c_void, *mut Irp, *mut c_void) -> NtStatus;

/// `STATUS_MORE_PROCESSING_REQUIRED`: the completion routine keeps the IRP.
pub const MORE_PROCESSING_REQUIRED: NtStatus = 0xC000_0016_u32.cast_signed();
/// `SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR`.
const INVOKE_ALWAYS: u8 = 0xE0;
/// `KernelMode`.
const KERNEL_MODE: i8 = 0;
/// `STATUS_TIMEOUT`, which passes `NT_SUCCESS`.
const TIMEOUT: NtStatus = 0x102;

#[link(name = "ntoskrnl")]
unsafe extern "C" {
    fn IoAllocateIrp(stack_size: i8, charge_quota: u8) -> *mut Irp;
    fn IoFreeIrp(irp: *mut Irp);
    fn IoReuseIrp(irp: *mut Irp, status: NtStatus);
    fn IoCancelIrp(irp: *mut Irp) -> u8;
    fn IoAllocateMdl(address: *mut c_void, length: u32, secondary: u8, charge_quota: u8, irp: *mut Irp) -> *mut Mdl;
    fn IoFreeMdl(mdl: *mut Mdl);
    fn MmBuildMdlForNonPagedPool(mdl: *mut Mdl);
    fn KeInitializeEvent(event: *mut EventObject, kind: i32, state: u8);
    fn KeSetEvent(event: *mut EventObject, increment: i32, wait: u8) -> i32;
    fn KeWaitForSingleObject(
        object: *mut EventObject,
        reason: i32,
        mode: i8,
        alertable: u8,
        timeout: *const i64,
    ) -> NtStatus;
    fn KeDelayExecutionThread(mode: i8, alertable: u8, interval: *const i64) -> NtStatus;
    fn PsCreateSystemThread(
        handle: *mut *mut c_void,
        access: u32,
        attributes: *mut ObjectAttributes,
        process: *mut c_void,
        client: *mut c_void,
        routine: ThreadRoutine,
        context: *mut c_void,
    ) -> NtStatus;
    fn PsTerminateSystemThread(status: NtStatus) -> NtStatus;
    fn ZwWaitForSingleObject(handle: *mut c_void, alertable: u8, timeout: *const i64) -> NtStatus;
    fn ZwClose(handle: *mut c_void) -> NtStatus;
}

/// A time from now, as the kernel takes it: in units of 100 nanoseconds, negative.
fn from_now(time: Duration) -> i64 {
    i64::try_from(time.as_nanos().div_ceil(100)).unwrap_or(i64::MAX).wrapping_neg()
}

/// Lets some time go by.
pub(crate) fn sleep(time: Duration, _: Passive) {
    let interval = from_now(time);
    // SAFETY: PASSIVE_LEVEL by the token.
    let _elapsed = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw const interval) };
}

/// An IRP of the client's own, with one stack location. `<= DISPATCH_LEVEL`. Source: *Using IRPs with Winsock Kernel Functions*.
///
/// # Invariants
/// - The IRP is from `IoAllocateIrp` and not freed. While WSK has it, its owner keeps this value.
#[derive(Debug)]
pub struct OwnIrp(NonNull<Irp>);

// SAFETY: an IRP belongs to no thread.
unsafe impl Send for OwnIrp {}
// SAFETY: what `&self` does from several threads, the kernel orders (`cancel`) or its callers do (the unsafe functions).
unsafe impl Sync for OwnIrp {}

impl OwnIrp {
    /// A new one.
    ///
    /// # Errors
    /// There is no pool.
    pub fn try_new() -> Result<Self, OutOfPool> {
        // SAFETY: no argument can be wrong.
        let irp = NonNull::new(unsafe { IoAllocateIrp(1, 0) }).ok_or(OutOfPool)?;
        // INVARIANT: allocated just now.
        Ok(Self(irp))
    }

    /// For a call.
    #[must_use]
    pub const fn as_ptr(&self) -> NonNull<Irp> {
        self.0
    }

    const fn fields(&self) -> *mut IrpFields {
        self.0.as_ptr().cast()
    }

    /// `IoReuseIrp`: makes it new again.
    ///
    /// # Safety
    /// WSK has given it back.
    pub unsafe fn reuse(&self) {
        // SAFETY: alive (invariant), and nobody else's (caller).
        unsafe { IoReuseIrp(self.0.as_ptr(), 0) };
    }

    /// `IoSetCompletionRoutine`, for success, error and cancel: in the one location, which lies below the current of a new IRP.
    ///
    /// # Safety
    /// The IRP is new, or made new, and nobody else has it; `routine` is right for `context`, and keeps the IRP
    /// ([`MORE_PROCESSING_REQUIRED`]).
    pub unsafe fn set_completion_routine(&self, routine: CompletionRoutine, context: *mut c_void) {
        // SAFETY: the IRP is alive (invariant).
        let current = unsafe { (*self.fields()).current_stack_location };
        // SAFETY: a new IRP is one above its only location.
        let next: *mut StackLocation = unsafe { current.sub(1) };
        // SAFETY: nobody else has the IRP (caller).
        let next = unsafe { &mut *next };
        next.completion_routine = Some(routine);
        next.context = context;
        next.control = INVOKE_ALWAYS;
    }

    /// `IoStatus`.
    ///
    /// # Safety
    /// The IRP is complete, or [`set_status`](Self::set_status) was called.
    #[must_use]
    pub unsafe fn status(&self) -> (NtStatus, usize) {
        // SAFETY: the IRP is alive (invariant), and written (caller).
        let block = unsafe { (*self.fields()).io_status };
        (block.status, block.information)
    }

    /// Sets `IoStatus`.
    ///
    /// # Safety
    /// Nobody else has the IRP.
    pub unsafe fn set_status(&self, status: NtStatus) {
        let block = crate::objects::IoStatusBlock { status, information: 0 };
        // SAFETY: alive (invariant), and the caller's alone.
        unsafe { (*self.fields()).io_status = block };
    }

    /// `IoCancelIrp`. `<= DISPATCH_LEVEL`, with no lock held. The completion routine may run inside.
    pub fn cancel(&self) {
        // SAFETY: alive (invariant): its completion routine keeps it from the I/O manager.
        let _a_routine_was_called = unsafe { IoCancelIrp(self.0.as_ptr()) };
    }
}

impl Drop for OwnIrp {
    fn drop(&mut self) {
        // SAFETY: allocated by `try_new` and freed this once; its owner keeps it while WSK has it (invariant).
        unsafe { IoFreeIrp(self.0.as_ptr()) };
    }
}

/// An MDL that describes memory of nonpaged pool. `<= DISPATCH_LEVEL`.
///
/// # Invariants
/// - The MDL is from `IoAllocateMdl`, and built for memory that outlives it.
pub(crate) struct OwnMdl(NonNull<Mdl>);

impl OwnMdl {
    /// Describes `length` bytes.
    ///
    /// # Safety
    /// They are one allocation from nonpaged pool, or part of one, and outlive the value.
    pub unsafe fn try_new(memory: NonNull<u8>, length: u32) -> Result<Self, OutOfPool> {
        // SAFETY: no IRP; the range is valid (caller).
        let mdl = unsafe { IoAllocateMdl(memory.as_ptr().cast(), length, 0, 0, null_mut()) };
        let mdl = NonNull::new(mdl).ok_or(OutOfPool)?;
        // SAFETY: nonpaged pool (caller), described just now.
        unsafe { MmBuildMdlForNonPagedPool(mdl.as_ptr()) };
        // INVARIANT: allocated and built just now.
        Ok(Self(mdl))
    }

    /// For a `WSK_BUF`.
    pub const fn as_ptr(&self) -> *mut Mdl {
        self.0.as_ptr()
    }
}

impl Drop for OwnMdl {
    fn drop(&mut self) {
        // SAFETY: from `try_new`, freed this once; pages of nonpaged pool need no unlocking.
        unsafe { IoFreeMdl(self.0.as_ptr()) };
    }
}

/// Whether an event stays signalled.
#[derive(Clone, Copy)]
pub(crate) enum EventKind {
    /// It does: `NotificationEvent`.
    Stays = 0,
    /// One wait takes the signal: `SynchronizationEvent`.
    Wakes = 1,
}

/// An event.
///
/// # Invariants
/// - It is initialised before anybody sets it or waits for it, and does not move from then on ([`initialize`](Self::initialize)).
pub(crate) struct Event(UnsafeCell<MaybeUninit<EventObject>>);

// SAFETY: a dispatcher object is made for any thread.
unsafe impl Send for Event {}
// SAFETY: a dispatcher object is made for any thread.
unsafe impl Sync for Event {}

impl Event {
    /// Not initialised.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    const fn object(&self) -> *mut EventObject {
        self.0.get().cast()
    }

    /// Initialises it, where it will stay.
    ///
    /// # Safety
    /// It is in nonpaged memory, does not move from now on, and nobody uses it yet.
    pub unsafe fn initialize(&self, kind: EventKind) {
        // SAFETY: the caller's promise.
        unsafe { KeInitializeEvent(self.object(), kind as i32, 0) };
    }

    /// Signals it. `<= DISPATCH_LEVEL`.
    pub fn set(&self) {
        // SAFETY: initialised (invariant); does not wait.
        unsafe { KeSetEvent(self.object(), 0, 0) };
    }

    /// Waits until it is signalled.
    ///
    /// # Errors
    /// [`Error::TimedOut`]: not within `limit`.
    pub fn wait(&self, limit: Duration, _: Passive) -> Result<(), Error> {
        let timeout = from_now(limit);
        // SAFETY: PASSIVE_LEVEL by the token; initialised (invariant).
        let status = unsafe { KeWaitForSingleObject(self.object(), 0, KERNEL_MODE, 0, &raw const timeout) };
        if status == TIMEOUT { Err(Error::TimedOut) } else { Error::check(status) }
    }

    /// Waits until it is signalled: for a thread that has nothing else to do.
    pub fn wait_idle(&self, _: Passive) {
        // SAFETY: PASSIVE_LEVEL by the token; initialised (invariant).
        let _signalled = unsafe { KeWaitForSingleObject(self.object(), 0, KERNEL_MODE, 0, core::ptr::null()) };
    }
}

/// `KSTART_ROUTINE`.
pub(crate) type ThreadRoutine = unsafe extern "C" fn(context: *mut c_void);

/// A handle of a system thread.
///
/// # Invariants
/// - The handle is a kernel handle, open, and this value's alone.
pub(crate) struct ThreadHandle(*mut c_void);

// SAFETY: a kernel handle belongs to no thread or process.
unsafe impl Send for ThreadHandle {}

impl ThreadHandle {
    /// Starts a thread that runs `routine`.
    ///
    /// # Safety
    /// `routine` is right for `context`, ends with [`end_thread`], and the image stays until the thread has ended.
    pub unsafe fn start(routine: ThreadRoutine, context: *mut c_void, _: Passive) -> Result<Self, Error> {
        const THREAD_ALL_ACCESS: u32 = 0x1F_FFFF;
        const OBJ_KERNEL_HANDLE: u32 = 0x200;
        let mut attributes = ObjectAttributes {
            length: u32::try_from(size_of::<ObjectAttributes>()).unwrap_or(0),
            root: null_mut(),
            name: null_mut(),
            attributes: OBJ_KERNEL_HANDLE,
            security: null_mut(),
            quality: null_mut(),
        };
        let (mut handle, none) = (null_mut(), null_mut());
        let attributes = &raw mut attributes;
        // SAFETY: PASSIVE_LEVEL by the token; the rest is the caller's promise.
        let status = unsafe {
            PsCreateSystemThread(&raw mut handle, THREAD_ALL_ACCESS, attributes, none, none, routine, context)
        };
        // INVARIANT: opened just now.
        Error::check(status).map(|()| Self(handle))
    }

    /// Waits for the thread's end, which is near: the last that it does was what the caller knows of.
    pub fn join(self, _: Passive) {
        // SAFETY: PASSIVE_LEVEL by the token; open (invariant).
        let _ended = unsafe { ZwWaitForSingleObject(self.0, 0, core::ptr::null()) };
    }
}

impl Drop for ThreadHandle {
    fn drop(&mut self) {
        // SAFETY: open, and closed this once (invariant); whoever has one runs at PASSIVE_LEVEL.
        let _closed = unsafe { ZwClose(self.0) };
    }
}

/// The last call of a thread.
///
/// # Safety
/// Called by a system thread, which needs nothing of its frames any more.
pub(crate) unsafe fn end_thread() {
    // SAFETY: the caller's promise.
    let _does_not_return = unsafe { PsTerminateSystemThread(0) };
}
