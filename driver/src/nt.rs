//! The one place that touches the names which bindgen generates for anonymous fields, enums and callbacks.
//!
//! Bindings are made from the headers at hand; only names that are the same in bindings made from the WDK's are used here, and no
//! integer type is assumed for an enum. What the rest of the driver sees are functions.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering, fence};
use wdk_sys::{
    CCHAR, DEVICE_OBJECT, FILE_OBJECT, HANDLE, IO_STACK_LOCATION, IRP, KEVENT, KPROCESSOR_MODE, MDL, NTSTATUS, PIRP,
    ULONG, ntddk,
};

const _: () = {
    assert!(size_of::<IRP>() == 208);
    assert!(size_of::<IO_STACK_LOCATION>() == 72);
    assert!(size_of::<MDL>() == 48);
    assert!(size_of::<FILE_OBJECT>() == 216);
    assert!(size_of::<wdk_sys::DRIVER_OBJECT>() == 336);
};

/// `IO_NO_INCREMENT`.
const NO_INCREMENT: CCHAR = 0;
/// `SL_PENDING_RETURNED`.
const PENDING_RETURNED: u8 = 1;
/// `SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR`.
const INVOKE_ALWAYS: u8 = 0xE0;

/// `KernelMode`.
pub const KERNEL_MODE: KPROCESSOR_MODE = 0;

/// A completion routine.
pub type CompletionRoutine = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS;
/// A cancel routine.
pub type CancelRoutine = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP);

/// `IoGetCurrentIrpStackLocation`.
///
/// # Safety
/// The IRP is at a stack location of this driver.
pub unsafe fn current_location(irp: NonNull<IRP>) -> *mut IO_STACK_LOCATION {
    // SAFETY: the IRP is alive.
    let overlay = unsafe { &raw const (*irp.as_ptr()).Tail.Overlay };
    // SAFETY: a field of the union of an IRP that is alive; only its address is taken.
    let current = unsafe { &raw const (*overlay).__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation };
    // SAFETY: the field is this one while an IRP is at a stack location.
    unsafe { current.read() }
}

/// The control code and the two lengths, bytes, of an `IRP_MJ_DEVICE_CONTROL`.
///
/// # Safety
/// The location is such an IRP's.
pub unsafe fn device_control(location: *const IO_STACK_LOCATION) -> (ULONG, usize, usize) {
    // SAFETY: the location is alive.
    let parameters = unsafe { &raw const (*location).Parameters.DeviceIoControl };
    // SAFETY: the caller says that the union holds this member.
    let parameters = unsafe { parameters.read() };
    (parameters.IoControlCode, parameters.InputBufferLength as usize, parameters.OutputBufferLength as usize)
}

/// `IoMarkIrpPending`.
///
/// # Safety
/// The IRP is at a stack location of this driver, which owns it.
pub unsafe fn mark_pending(irp: NonNull<IRP>) {
    // SAFETY: the caller's promise.
    let location = unsafe { current_location(irp) };
    // SAFETY: the owner of the IRP may write its location.
    unsafe { (*location).Control |= PENDING_RETURNED };
}

/// `IoSetCompletionRoutine`, for success, error and cancel: in the next lower stack location.
///
/// # Safety
/// This driver owns the IRP, which has a lower stack location; `routine` is right for `context`.
pub unsafe fn set_completion_routine(irp: NonNull<IRP>, routine: CompletionRoutine, context: *mut c_void) {
    // SAFETY: the caller's promise.
    let location = unsafe { current_location(irp) };
    // SAFETY: the array of stack locations reaches at least one below the current.
    let next = unsafe { location.sub(1) };
    // SAFETY: the owner of the IRP may write the location of the lower driver, which has not been called.
    let next = unsafe { &mut *next };
    next.CompletionRoutine = Some(routine);
    next.Context = context;
    next.Control = INVOKE_ALWAYS;
}

/// The IRP's status and information.
///
/// # Safety
/// The IRP is completed or owned by this driver.
pub unsafe fn io_status(irp: NonNull<IRP>) -> (NTSTATUS, usize) {
    // SAFETY: the IRP is alive.
    let block = unsafe { &raw const (*irp.as_ptr()).IoStatus };
    // SAFETY: whoever completed the IRP has written it.
    let block = unsafe { block.read() };
    // SAFETY: the union's members are the status and a pointer that nobody uses here.
    let status = unsafe { block.__bindgen_anon_1.Status };
    (status, usize::try_from(block.Information).unwrap_or(0))
}

/// Writes the IRP's status and information.
///
/// # Safety
/// This driver owns the IRP.
pub unsafe fn set_io_status(irp: NonNull<IRP>, status: NTSTATUS, information: usize) {
    // SAFETY: the owner may write.
    let block = unsafe { &mut (*irp.as_ptr()).IoStatus };
    block.__bindgen_anon_1.Status = status;
    block.Information = information as wdk_sys::ULONG_PTR;
}

/// `IoCancelIrp`. `<= DISPATCH_LEVEL`, with no lock held.
///
/// # Safety
/// The IRP does not complete during the call.
pub unsafe fn cancel(irp: NonNull<IRP>) {
    // SAFETY: the caller's promise.
    let _a_routine_was_called = unsafe { ntddk::IoCancelIrp(irp.as_ptr()) };
}

/// Completes the IRP: from here on it is the I/O manager's. `<= DISPATCH_LEVEL`, with no lock held.
///
/// # Safety
/// This driver owns the IRP; no cancel routine is set.
pub unsafe fn complete(irp: NonNull<IRP>, status: NTSTATUS, information: usize) {
    // SAFETY: the owner may write.
    unsafe { set_io_status(irp, status, information) };
    // SAFETY: the caller's promise.
    unsafe { ntddk::IofCompleteRequest(irp.as_ptr(), NO_INCREMENT) };
}

/// `MmGetSystemAddressForMdlSafe`: where the kernel finds the memory of an MDL; null if it can't be mapped. The mapping goes when the
/// I/O manager unlocks the pages. `<= DISPATCH_LEVEL`.
///
/// # Safety
/// The MDL's pages are locked.
pub unsafe fn system_address(mdl: NonNull<MDL>) -> *mut u8 {
    /// `MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL`.
    const MAPPED: i16 = 1 | 4;
    /// `NormalPagePriority | MdlMappingNoExecute`.
    const PRIORITY: u32 = 16 | 0x4000_0000;
    // SAFETY: the MDL is alive.
    let described = unsafe { mdl.as_ref() };
    if described.MdlFlags & MAPPED != 0 {
        return described.MappedSystemVa.cast();
    }
    let caching = wdk_sys::_MEMORY_CACHING_TYPE::MmCached;
    // An enum in some headers, a ULONG in others: the value fits both.
    let priority = PRIORITY.try_into().unwrap_or_default();
    // SAFETY: locked, by the caller's promise, and not mapped; no address is asked for.
    let mapped = unsafe {
        ntddk::MmMapLockedPagesSpecifyCache(mdl.as_ptr(), KERNEL_MODE, caching, core::ptr::null_mut(), 0, priority)
    };
    mapped.cast()
}

/// `Irp->AssociatedIrp.SystemBuffer`.
///
/// # Safety
/// The IRP is a device control of a method that has a system buffer.
pub unsafe fn system_buffer(irp: NonNull<IRP>) -> *mut u8 {
    // SAFETY: the IRP is alive.
    let buffer = unsafe { &raw const (*irp.as_ptr()).AssociatedIrp.SystemBuffer };
    // SAFETY: the caller says that the union holds this member.
    unsafe { buffer.read() }.cast()
}

/// `IoSetCancelRoutine`: exchanges the cancel routine, and tells whether there was one.
///
/// # Safety
/// The IRP is alive; a routine that is set is right for it.
pub unsafe fn exchange_cancel_routine(irp: NonNull<IRP>, routine: Option<CancelRoutine>) -> bool {
    let new = routine.map_or(core::ptr::null_mut(), |routine| routine as *mut c_void);
    // SAFETY: the IRP is alive.
    let field = unsafe { &raw mut (*irp.as_ptr()).CancelRoutine };
    // SAFETY: a pointer that everybody exchanges atomically.
    let field = unsafe { AtomicPtr::from_ptr(field.cast()) };
    let before = field.swap(new, Ordering::SeqCst);
    // The canceller sets `Cancel` and then looks for a routine; we set the routine and then look for `Cancel`.
    fence(Ordering::SeqCst);
    !before.is_null()
}

/// `Irp->Cancel`.
///
/// # Safety
/// The IRP is alive.
pub unsafe fn is_cancelled(irp: NonNull<IRP>) -> bool {
    // SAFETY: the IRP is alive.
    let cancel = unsafe { &raw const (*irp.as_ptr()).Cancel };
    // SAFETY: a byte that the I/O manager sets before it looks for a cancel routine.
    let cancel = unsafe { cancel.read_volatile() };
    cancel != 0
}

/// Releases the cancel spin lock, which a cancel routine is entered with.
///
/// # Safety
/// The caller is the IRP's cancel routine and has not released it.
pub unsafe fn release_cancel_lock(irp: NonNull<IRP>) {
    // SAFETY: the I/O manager keeps the level there for this.
    let irql = unsafe { (*irp.as_ptr()).CancelIrql };
    // SAFETY: the caller's promise.
    unsafe { ntddk::IoReleaseCancelSpinLock(irql) };
}

/// The list entry that an IRP's owner may use.
///
/// # Safety
/// This driver owns the IRP.
pub unsafe fn list_entry(irp: NonNull<IRP>) -> NonNull<crate::list::Links> {
    // SAFETY: the IRP is alive.
    let overlay = unsafe { &raw mut (*irp.as_ptr()).Tail.Overlay };
    // SAFETY: the member of the union that an IRP's owner may use.
    let entry = unsafe { &raw mut (*overlay).__bindgen_anon_2.ListEntry };
    // SAFETY: a field of a live object is not null; `Links` has LIST_ENTRY's layout.
    unsafe { NonNull::new_unchecked(entry.cast()) }
}

/// Where an IRP's list entry is within it, bytes.
pub const LIST_ENTRY_OFFSET: usize = core::mem::offset_of!(IRP, Tail.Overlay.__bindgen_anon_2);

/// Where the four pointers are that an IRP's owner may use.
///
/// # Safety
/// This driver owns the IRP.
unsafe fn driver_context(irp: NonNull<IRP>) -> *mut [*mut c_void; 4] {
    // SAFETY: the IRP is alive.
    let overlay = unsafe { &raw mut (*irp.as_ptr()).Tail.Overlay };
    // SAFETY: the member of the union that an IRP's owner may use.
    unsafe { (&raw mut (*overlay).__bindgen_anon_1.__bindgen_anon_1.DriverContext).cast() }
}

/// Writes the four pointers that an IRP's owner may use.
///
/// # Safety
/// This driver owns the IRP.
pub unsafe fn set_context(irp: NonNull<IRP>, context: [*mut c_void; 4]) {
    // SAFETY: the caller's promise.
    let place = unsafe { driver_context(irp) };
    // SAFETY: the owner may write them.
    unsafe { place.write(context) };
}

/// Reads what [`set_context`] wrote.
///
/// # Safety
/// This driver owns the IRP, and has written them.
pub unsafe fn context(irp: NonNull<IRP>) -> [*mut c_void; 4] {
    // SAFETY: the caller's promise.
    let place = unsafe { driver_context(irp) };
    // SAFETY: written before.
    unsafe { place.read() }
}

/// The IRP as WSK's bindings know it.
pub const fn as_wsk(irp: NonNull<IRP>) -> NonNull<wsk::sys::Irp> {
    irp.cast()
}

/// An auto-reset event, not signalled.
///
/// # Safety
/// `event` is nonpaged memory that stays where it is while the event is in use.
pub unsafe fn initialize_event(event: *mut KEVENT) {
    // SAFETY: the caller's promise.
    unsafe { ntddk::KeInitializeEvent(event, wdk_sys::_EVENT_TYPE::SynchronizationEvent, 0) };
}

/// Waits for a dispatcher object without a limit.
///
/// # Safety
/// `PASSIVE_LEVEL`; the object is alive.
pub unsafe fn wait(object: *mut c_void) {
    // SAFETY: the caller's promise; no time-out, not alertable.
    let status = unsafe {
        ntddk::KeWaitForSingleObject(object, wdk_sys::_KWAIT_REASON::Executive, KERNEL_MODE, 0, core::ptr::null_mut())
    };
    debug_assert!(status == 0, "a wait without a time-out ends when the object is signalled");
}

/// Closes a handle of the driver's own.
///
/// # Safety
/// `PASSIVE_LEVEL`; the handle is the driver's, and closed this once.
pub unsafe fn close_handle(handle: HANDLE) {
    // SAFETY: the caller's promise.
    let status = unsafe { ntddk::ZwClose(handle) };
    debug_assert!(status == 0, "a handle of our own closes");
}

/// The raw IRP of a dispatch routine.
///
/// # Safety
/// The I/O manager gave it.
pub const unsafe fn non_null(irp: PIRP) -> NonNull<IRP> {
    // SAFETY: the I/O manager gives no null IRP.
    unsafe { NonNull::new_unchecked(irp) }
}
