//! What every driver here stands on: the kernel's routines under their own names, and requests in few words.
//!
//! The routines are declared `safe` to name, so that a wrong call is as short as a right one: that they are misused is the purpose
//! of this image.

use core::ffi::c_void;
pub use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
pub use wdk_sys::{DEVICE_OBJECT, DRIVER_OBJECT, IO_STACK_LOCATION, IRP, MDL, NTSTATUS};
use wdk_sys::{HANDLE, KDPC, KEVENT, KTIMER, UNICODE_STRING};

pub const SUCCESS: NTSTATUS = 0;
pub const PENDING: NTSTATUS = 0x103;
pub const CANCELLED: NTSTATUS = 0xC000_0120_u32.cast_signed();
pub const NOT_FOUND: NTSTATUS = 0xC000_0225_u32.cast_signed();
pub const UNSUCCESSFUL: NTSTATUS = 0xC000_0001_u32.cast_signed();
pub const MORE_PROCESSING_REQUIRED: NTSTATUS = 0xC000_0016_u32.cast_signed();
pub const DISPATCH_LEVEL: u8 = 2;
pub const NON_PAGED: u64 = 0x40;
/// `NonPagedPoolNx`.
pub const NON_PAGED_NX: u32 = 512;
pub const PAGED: u64 = 0x100;
pub const TAG: u32 = u32::from_le_bytes(*b"Flty");
/// `IRP_MJ_CREATE`: this image's own devices complete it.
pub const CREATE: u8 = 0x00;
/// `IRP_MJ_INTERNAL_DEVICE_CONTROL`: this image's own devices keep it.
pub const INTERNAL_DEVICE_CONTROL: u8 = 0x0f;
/// `SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR`.
pub const INVOKE_ALWAYS: u8 = 0xe0;
/// `SL_INVOKE_ON_SUCCESS`.
pub const INVOKE_ON_SUCCESS: u8 = 0x40;

pub type Dispatch = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS;
pub type Unload = unsafe extern "C" fn(*mut DRIVER_OBJECT);
pub type Completion = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS;
pub type Work = extern "C" fn(*mut DEVICE_OBJECT, *mut c_void);
pub type Cancel = extern "C" fn(*mut DEVICE_OBJECT, *mut IRP);

/// A driver: what is not said is done right.
pub struct Fault {
    /// Its dispatch routine for `IRP_MJ_DEVICE_CONTROL`.
    pub request: Dispatch,
    /// Its unload routine.
    pub unload: Unload,
}

/// A driver that completes every request.
pub const CORRECT: Fault = Fault { request: answer, unload: crate::unload };

extern "C" fn answer(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, SUCCESS, 0)
}

/// The device's extension. The kernel zeroes it.
#[repr(C)]
pub struct State {
    pub lock: usize,
    pub other_lock: usize,
    /// Something that one routine leaves for another.
    pub slot: usize,
    pub event: KEVENT,
    pub other_event: KEVENT,
    pub timer: KTIMER,
    pub dpc: KDPC,
    /// An ETW registration handle.
    pub trace: u64,
    pub network: crate::network::Network,
}

unsafe extern "C" {
    pub safe fn IoCreateDevice(
        driver: *mut DRIVER_OBJECT,
        extension: u32,
        name: *mut UNICODE_STRING,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
    pub safe fn IoDeleteDevice(device: *mut DEVICE_OBJECT);
    pub safe fn IoCreateSymbolicLink(link: *mut UNICODE_STRING, target: *mut UNICODE_STRING) -> NTSTATUS;
    pub safe fn IoDeleteSymbolicLink(link: *mut UNICODE_STRING) -> NTSTATUS;
    pub safe fn IofCompleteRequest(irp: *mut IRP, boost: i8);
    pub safe fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS;
    pub safe fn IoAllocateIrp(stack_size: i8, charge: u8) -> *mut IRP;
    pub safe fn IoFreeIrp(irp: *mut IRP);
    pub safe fn IoReuseIrp(irp: *mut IRP, status: NTSTATUS);
    pub safe fn IoAcquireCancelSpinLock(irql: &mut u8);
    pub safe fn IoReleaseCancelSpinLock(irql: u8);
    pub safe fn IoCancelIrp(irp: *mut IRP) -> u8;
    pub safe fn IoAllocateMdl(address: *mut u8, length: u32, secondary: u8, charge: u8, irp: *mut IRP) -> *mut MDL;
    pub safe fn IoFreeMdl(mdl: *mut MDL);
    pub safe fn MmBuildMdlForNonPagedPool(mdl: *mut MDL);
    pub safe fn MmProbeAndLockPages(mdl: *mut MDL, mode: i8, operation: i32);
    pub safe fn MmUnlockPages(mdl: *mut MDL);
    pub safe fn MmMapLockedPagesSpecifyCache(
        mdl: *mut MDL,
        mode: i8,
        cache: i32,
        wanted: *mut c_void,
        bug_check: u32,
        priority: u32,
    ) -> *mut u8;
    pub safe fn ExAllocatePool2(flags: u64, size: usize, tag: u32) -> *mut u8;
    pub safe fn ExAllocatePoolWithTag(kind: u32, size: usize, tag: u32) -> *mut u8;
    pub safe fn ExFreePool(block: *mut u8);
    pub safe fn ExFreePoolWithTag(block: *mut u8, tag: u32);
    pub safe fn KeInitializeEvent(event: *mut KEVENT, kind: u32, state: u8);
    pub safe fn KeSetEvent(event: *mut KEVENT, increment: i32, wait: u8) -> i32;
    pub safe fn KeWaitForSingleObject(
        object: *mut c_void,
        reason: u32,
        mode: i8,
        alert: u8,
        time: *mut i64,
    ) -> NTSTATUS;
    pub safe fn KeInitializeTimer(timer: *mut KTIMER);
    pub safe fn KeSetTimer(timer: *mut KTIMER, due: i64, dpc: *mut KDPC) -> u8;
    pub safe fn KeCancelTimer(timer: *mut KTIMER) -> u8;
    pub safe fn KeInitializeDpc(dpc: *mut KDPC, routine: *mut c_void, context: *mut c_void);
    pub safe fn KeInsertQueueDpc(dpc: *mut KDPC, a: *mut c_void, b: *mut c_void) -> u8;
    pub safe fn KeFlushQueuedDpcs();
    pub safe fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8;
    pub safe fn KeReleaseSpinLock(lock: *mut usize, irql: u8);
    pub safe fn KeAcquireSpinLockAtDpcLevel(lock: *mut usize);
    pub safe fn KeReleaseSpinLockFromDpcLevel(lock: *mut usize);
    pub safe fn KfRaiseIrql(irql: u8) -> u8;
    pub safe fn KeLowerIrql(irql: u8);
    pub safe fn KeGetCurrentIrql() -> u8;
    pub safe fn EtwRegister(id: &[u8; 16], callback: *mut c_void, context: *mut c_void, handle: &mut u64) -> NTSTATUS;
    pub safe fn EtwUnregister(handle: u64) -> NTSTATUS;
    pub safe fn EtwProviderEnabled(handle: u64, level: u8, keyword: u64) -> u8;
    pub safe fn EtwWriteTransfer(
        handle: u64,
        descriptor: &EventDescriptor,
        activity: *mut [u8; 16],
        related: *mut [u8; 16],
        count: u32,
        data: *mut c_void,
    ) -> NTSTATUS;
    pub safe fn KeBugCheckEx(code: u32, a: usize, b: usize, c: usize, d: usize) -> !;
    pub safe fn IoAllocateWorkItem(device: *mut DEVICE_OBJECT) -> *mut c_void;
    pub safe fn IoQueueWorkItem(item: *mut c_void, routine: Work, queue: u32, context: *mut c_void);
    pub safe fn IoFreeWorkItem(item: *mut c_void);
    pub safe fn ObfReferenceObject(object: *mut c_void) -> isize;
    pub safe fn ObfDereferenceObject(object: *mut c_void) -> isize;
    pub safe fn ZwClose(handle: HANDLE) -> NTSTATUS;
    pub safe fn PsCreateSystemThread(
        handle: *mut HANDLE,
        access: u32,
        attributes: *mut c_void,
        process: HANDLE,
        client: *mut c_void,
        start: extern "C" fn(*mut c_void),
        context: *mut c_void,
    ) -> NTSTATUS;
}

/// The GUID of an ETW provider.
pub const PROVIDER: [u8; 16] = *b"wrong on purpose";

/// `EVENT_DESCRIPTOR`.
#[repr(C)]
pub struct EventDescriptor {
    number: u32,
    level: u8,
    opcode: u8,
    task: u16,
    keyword: u64,
}

impl EventDescriptor {
    /// Of level 4.
    pub const INFORMATION: Self = Self { number: 0, level: 4, opcode: 0, task: 0, keyword: 0 };
}

/// The device's state.
pub fn state<'a>(device: *mut DEVICE_OBJECT) -> &'a mut State {
    // SAFETY: the I/O manager passes a device of this driver.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: every device here has an extension of this type; the judge makes one request at a time.
    unsafe { &mut *extension.cast() }
}

/// The one device of a driver.
pub fn device_of(driver: *mut DRIVER_OBJECT) -> *mut DEVICE_OBJECT {
    // SAFETY: the I/O manager passes the driver's own object.
    unsafe { (*driver).DeviceObject }
}

/// The current stack location.
pub fn current(irp: *mut IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: the driver has the IRP; one that has it no more breaks a rule.
    let overlay = unsafe { &raw const (*irp).Tail.Overlay };
    // SAFETY: the IRP is there, as its address was just taken.
    let place = unsafe { &raw const (*overlay).__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation };
    // SAFETY: the union's member while a driver has the IRP.
    unsafe { place.read() }
}

/// The next stack location, for an IRP that is passed to a driver's routine `major`.
pub fn next(irp: *mut IRP, major: u8) -> *mut IO_STACK_LOCATION {
    let location = current(irp).wrapping_sub(1);
    // SAFETY: the IRPs here have a free location where this is used.
    unsafe { (*location).MajorFunction = major };
    location
}

/// `IoSetCompletionRoutine`, with what it is invoked on.
pub fn on_completion(irp: *mut IRP, routine: Completion, context: *mut c_void, control: u8) {
    let location = current(irp).wrapping_sub(1);
    // SAFETY: the IRPs here have a free location where this is used.
    let location = unsafe { &mut *location };
    location.CompletionRoutine = Some(routine);
    location.Context = context;
    location.Control = control;
}

/// A completion routine that takes an IRP of the driver's own back.
pub extern "C" fn reclaim(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    MORE_PROCESSING_REQUIRED
}

/// The step at which the judge sends a request of `METHOD_IN_DIRECT`.
pub const DIRECT: u32 = 2;

/// The memory that a request of `METHOD_IN_DIRECT` describes.
pub fn mapped(irp: *mut IRP) -> *mut u8 {
    // SAFETY: the driver has the IRP.
    let mdl = unsafe { (*irp).MdlAddress };
    MmMapLockedPagesSpecifyCache(mdl, 0, 1, null_mut(), 0, 16)
}

/// Starts a system thread; the handle of it.
pub fn start_thread(routine: extern "C" fn(*mut c_void), context: *mut c_void) -> HANDLE {
    let mut thread = null_mut();
    PsCreateSystemThread(&raw mut thread, 0, null_mut(), null_mut(), null_mut(), routine, context);
    thread
}

/// Which of its requests the judge makes: 0, 1, then [`DIRECT`].
pub fn step(irp: *mut IRP) -> u32 {
    let location = current(irp);
    // SAFETY: the driver has the IRP.
    let parameters = unsafe { &raw const (*location).Parameters.DeviceIoControl };
    // SAFETY: the union's member for a device control.
    let code = unsafe { parameters.read() }.IoControlCode;
    (code >> 2 & 0xfff) - 0x800
}

/// `IoStatus`.
pub fn set_status(irp: *mut IRP, status: NTSTATUS, information: usize) {
    // SAFETY: whoever has the IRP may write; who does not have it any more breaks a rule.
    let block = unsafe { &raw mut (*irp).IoStatus };
    // SAFETY: the status is a field of the IRP's own.
    let place = unsafe { &raw mut (*block).__bindgen_anon_1.Status };
    // SAFETY: whoever has the IRP may write to it; who does not have it any more breaks a rule.
    unsafe { place.write_volatile(status) };
    // SAFETY: whoever has the IRP may write to it; who does not have it any more breaks a rule.
    unsafe { (*block).Information = information as u64 };
}

/// Completes an IRP and returns the status.
pub fn complete(irp: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    set_status(irp, status, information);
    IofCompleteRequest(irp, 0);
    status
}

/// `IoMarkIrpPending`, and the status to return.
pub fn mark_pending(irp: *mut IRP) -> NTSTATUS {
    let location = current(irp);
    // SAFETY: the driver has the IRP.
    unsafe { (*location).Control |= 1 };
    PENDING
}

/// `IoSetCancelRoutine`; whether there was one.
pub fn set_cancel(irp: *mut IRP, routine: Option<Cancel>) -> bool {
    let new = routine.map_or(null_mut(), |routine| routine as *mut c_void);
    // SAFETY: the driver has the IRP.
    let field = unsafe { &raw mut (*irp).CancelRoutine };
    // SAFETY: everybody exchanges the field atomically.
    let field = unsafe { AtomicPtr::from_ptr(field.cast()) };
    !field.swap(new, Ordering::SeqCst).is_null()
}

/// A cancel routine: completes the IRP.
pub extern "C" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the I/O manager keeps the level there for the cancel routine.
    IoReleaseCancelSpinLock(unsafe { (*irp).CancelIrql });
    complete(irp, CANCELLED, 0);
}

/// Nonpaged pool, all zeros.
pub fn pool(size: usize) -> *mut u8 {
    ExAllocatePool2(NON_PAGED, size, TAG)
}

/// Reads a byte, wherever the driver says.
pub fn peek(at: *const u8) -> u8 {
    // SAFETY: none: a wrong driver reads what it must not.
    unsafe { at.read_volatile() }
}

/// Writes a byte, wherever the driver says.
pub fn poke(at: *mut u8) {
    // SAFETY: none: a wrong driver writes what it must not.
    unsafe { at.write_volatile(1) };
}

/// Waits for an event without a limit.
pub fn wait(event: *mut KEVENT) {
    KeWaitForSingleObject(event.cast(), 0, 0, 0, null_mut());
}
