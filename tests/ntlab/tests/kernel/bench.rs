//! A driver whose device runs whatever routine a test sends it.
//!
//! The routine's address is the input buffer of a `METHOD_BUFFERED` request, so that one `DriverEntry` serves all tests.

use std::ffi::c_void;
use std::time::Duration;

use ntlab::nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, KEVENT, KSPIN_LOCK, MDL, UNICODE_STRING};
use ntlab::rules::{self, Rule};
use ntlab::{Driver, Handle, Machine, NtStatus, Options, Process, Report, Request};

ntlab::imports! {
    pub fn IoCreateDevice(driver: *mut DRIVER_OBJECT, extension: u32, name: *const UNICODE_STRING, kind: u32,
        characteristics: u32, exclusive: u8, device: *mut *mut DEVICE_OBJECT) -> i32;
    pub fn IoDeleteDevice(device: *mut DEVICE_OBJECT);
    pub fn IoCreateSymbolicLink(link: *const UNICODE_STRING, target: *const UNICODE_STRING) -> i32;
    pub fn IoDeleteSymbolicLink(link: *const UNICODE_STRING) -> i32;
    pub fn IofCompleteRequest(irp: *mut IRP, boost: i8);
    pub fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32;
    pub fn IoAllocateIrp(stack_size: i8, charge: u8) -> *mut IRP;
    pub fn IoFreeIrp(irp: *mut IRP);
    pub fn IoReuseIrp(irp: *mut IRP, status: i32);
    pub fn IoCancelIrp(irp: *mut IRP) -> u8;
    pub fn IoAcquireCancelSpinLock(irql: *mut u8);
    pub fn IoReleaseCancelSpinLock(irql: u8);
    pub fn IoAllocateMdl(address: *mut c_void, length: u32, secondary: u8, charge: u8, irp: *mut IRP) -> *mut MDL;
    pub fn IoFreeMdl(mdl: *mut MDL);
    pub fn MmBuildMdlForNonPagedPool(mdl: *mut MDL);
    pub fn MmMapLockedPagesSpecifyCache(mdl: *mut MDL, mode: i8, cache: i32, wanted: *mut c_void, bug_check: u32,
        priority: u32) -> *mut c_void;
    pub fn ExAllocatePool2(flags: u64, size: usize, tag: u32) -> *mut u8;
    pub fn ExAllocatePoolWithTag(kind: u32, size: usize, tag: u32) -> *mut u8;
    pub fn ExFreePool(block: *mut u8);
    pub fn ExFreePoolWithTag(block: *mut u8, tag: u32);
    pub fn KeInitializeEvent(event: *const KEVENT, kind: u32, state: u8);
    pub fn KeSetEvent(event: *const KEVENT, increment: i32, wait: u8) -> i32;
    pub fn KeWaitForSingleObject(object: *const c_void, reason: u32, mode: i8, alertable: u8, timeout: *const i64) -> i32;
    pub fn KeInitializeSpinLock(lock: *const KSPIN_LOCK);
    pub fn KeAcquireSpinLockRaiseToDpc(lock: *const KSPIN_LOCK) -> u8;
    pub fn KeReleaseSpinLock(lock: *const KSPIN_LOCK, irql: u8);
    pub fn KeAcquireSpinLockAtDpcLevel(lock: *const KSPIN_LOCK);
    pub fn KeReleaseSpinLockFromDpcLevel(lock: *const KSPIN_LOCK);
    pub fn KfRaiseIrql(irql: u8) -> u8;
    pub fn KeLowerIrql(irql: u8);
    pub fn KeGetCurrentIrql() -> u8;
    pub fn KeBugCheckEx(code: u32, a: usize, b: usize, c: usize, d: usize);
}

pub const POOL_FLAG_NON_PAGED: u64 = 0x40;
pub const POOL_FLAG_PAGED: u64 = 0x100;
pub const TAG: u32 = u32::from_le_bytes(*b"Test");
pub const DISPATCH_LEVEL: u8 = 2;
pub const SECOND: Duration = Duration::from_secs(1);

/// What a test sends to the device.
pub type Routine = extern "win64" fn(&DEVICE_OBJECT, *mut IRP) -> i32;
type Unload = extern "win64" fn(&DRIVER_OBJECT);

/// The device extension.
#[repr(C)]
pub struct Extension {
    /// Something that one routine leaves for another.
    pub slot: usize,
    /// What [`RUN_SET`] runs.
    pub routine: Option<Routine>,
    /// Called at unload.
    pub at_unload: Option<Unload>,
    pub event: KEVENT,
    pub lock: KSPIN_LOCK,
    pub other_lock: KSPIN_LOCK,
    /// What happened to files and their requests, a letter each: x for a cancellation, u for a cleanup, c for a close.
    pub order: [u8; 16],
    pub happened: usize,
}

/// Notes what happened.
pub fn note(device: &DEVICE_OBJECT, what: u8) {
    let extension = extension(device);
    if let Some(place) = extension.order.get_mut(extension.happened) {
        *place = what;
    }
    extension.happened += 1;
}

/// `CTL_CODE(0x8000, function, method, FILE_ANY_ACCESS)`.
pub const fn code(function: u32, method: u32) -> u32 {
    0x8000 << 16 | function << 2 | method
}
/// Runs the routine whose address is the input.
pub const RUN: u32 = code(0x800, 0);
/// Runs the routine that the extension has.
pub const RUN_SET: u32 = code(0x8ff, 0);

std::thread_local! {
    /// The device that this thread's last driver made.
    static DEVICE: std::cell::Cell<*const DEVICE_OBJECT> = const { std::cell::Cell::new(std::ptr::null()) };
}

pub fn irp<'a>(irp: *mut IRP) -> &'a IRP {
    // SAFETY: the kernel passes valid IRPs; tests that use freed ones mean to.
    unsafe { &*irp }
}

pub fn extension<'a>(device: &DEVICE_OBJECT) -> &'a mut Extension {
    // SAFETY: `entry` asked for an extension of this type; tests reach it one at a time.
    unsafe { &mut *device.DeviceExtension.get().cast() }
}

/// Completes an IRP and returns the status.
pub fn complete(pointer: *mut IRP, status: NtStatus, information: usize) -> i32 {
    irp(pointer).set_status(status.0, information);
    IofCompleteRequest(pointer, 0);
    status.0
}

/// `IoMarkIrpPending`.
pub fn mark_pending(pointer: *mut IRP) -> i32 {
    // SAFETY: the current location of an IRP that a driver has is valid.
    let control = &unsafe { &*irp(pointer).current() }.Control;
    control.set(control.get() | ntlab::nt::SL_PENDING_RETURNED);
    NtStatus::PENDING.0
}

pub fn unicode(text: &[u16]) -> UNICODE_STRING {
    let length = u16::try_from(text.len() * 2).expect("short");
    UNICODE_STRING { Length: length, MaximumLength: length, Buffer: text.as_ptr().cast_mut() }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

extern "win64" fn dispatch_run(device: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    // SAFETY: the IRP has a current location.
    let stack = unsafe { &*irp(pointer).current() };
    if stack.io_control_code() == RUN_SET
        && let Some(routine) = extension(device).routine
    {
        return routine(device, pointer);
    }
    if stack.io_control_code() != RUN {
        return METHODS(device, pointer);
    }
    // SAFETY: `Bench::run` sent the address of a `Routine`.
    let routine: Routine = unsafe { irp(pointer).SystemBuffer.get().cast::<Routine>().read() };
    routine(device, pointer)
}

/// What other control codes do: see `requests`.
const METHODS: Routine = crate::requests::methods;

extern "win64" fn dispatch_open(_: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    complete(pointer, NtStatus::SUCCESS, 0)
}

extern "win64" fn dispatch_cleanup(device: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    note(device, b'u');
    complete(pointer, NtStatus::SUCCESS, 0)
}

extern "win64" fn dispatch_close(device: &DEVICE_OBJECT, pointer: *mut IRP) -> i32 {
    note(device, b'c');
    complete(pointer, NtStatus::SUCCESS, 0)
}

extern "win64" fn unload(driver: &DRIVER_OBJECT) {
    // SAFETY: the device that `entry` made is still there.
    let device = unsafe { &*driver.DeviceObject.get() };
    if let Some(routine) = extension(device).at_unload {
        routine(driver);
    }
    let link = wide(r"\??\Bench");
    let link = unicode(&link);
    assert_eq!(IoDeleteSymbolicLink(&raw const link), 0);
    IoDeleteDevice(driver.DeviceObject.get());
}

pub extern "win64" fn entry(driver: *mut DRIVER_OBJECT, _path: *const UNICODE_STRING) -> i32 {
    let (name, link) = (wide(r"\Device\Bench"), wide(r"\DosDevices\Bench"));
    let (name, link) = (unicode(&name), unicode(&link));
    let mut device = std::ptr::null_mut();
    let size = u32::try_from(size_of::<Extension>()).expect("small");
    let status = IoCreateDevice(driver, size, &raw const name, 0x8000, 0, 0, &raw mut device);
    if status != 0 {
        return status;
    }
    assert_eq!(IoCreateSymbolicLink(&raw const link, &raw const name), 0);
    // SAFETY: the kernel passes a driver object.
    let driver = unsafe { &*driver };
    driver.DriverUnload.set(unload as *const () as usize);
    driver.MajorFunction[0x00].set(dispatch_open as *const () as usize);
    driver.MajorFunction[0x02].set(dispatch_close as *const () as usize);
    driver.MajorFunction[0x0e].set(dispatch_run as *const () as usize);
    driver.MajorFunction[0x12].set(dispatch_cleanup as *const () as usize);
    DEVICE.with(|last| last.set(device));
    // SAFETY: `IoCreateDevice` succeeded.
    let device = unsafe { &*device };
    device.StackSize.set(2);
    KeInitializeEvent(&raw const extension(device).event, 0, 0);
    0
}

/// A machine with the driver started and its device open.
pub struct Bench {
    pub machine: Machine,
    pub driver: Driver,
    pub process: Process,
    pub handle: Handle,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Options { hang: Duration::from_secs(2), ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        Self::try_with(options).unwrap_or_else(|report| panic!("the driver does not start\n{report}"))
    }

    /// When the driver does not start: what became of the machine.
    pub fn try_with(options: Options) -> Result<Self, Box<Report>> {
        let machine = Machine::new(options);
        let driver = machine.load_builtin(entry);
        if driver.start().is_err() {
            return Err(Box::new(machine.finish()));
        }
        let process = machine.process();
        let handle = process.open(r"\\.\Bench").expect("the device opens");
        Ok(Self { machine, driver, process, handle })
    }

    /// Has the driver run `routine` in its dispatch routine.
    pub fn run(&self, routine: Routine) -> Request {
        let address = (routine as *const () as usize).to_le_bytes();
        self.handle.ioctl(RUN, &address, vec![0; 16])
    }

    /// As [`run`](Self::run), by the control code alone: no input, no output.
    pub fn run_without_buffers(&self, routine: Routine) -> Request {
        extension(Self::device()).routine = Some(routine);
        self.handle.ioctl(RUN_SET, &[], Vec::new())
    }

    /// What happened to files and their requests.
    pub fn order() -> String {
        let extension = extension(Self::device());
        String::from_utf8_lossy(&extension.order[..extension.happened]).into_owned()
    }

    fn device() -> &'static DEVICE_OBJECT {
        // SAFETY: `entry` left its device there, which lasts until unload.
        unsafe { &*DEVICE.with(std::cell::Cell::get) }
    }

    /// Shuts down and returns the report.
    pub fn finish(self) -> Report {
        self.machine.finish()
    }
}

/// Runs `routines` one after the other, then shuts down.
pub fn report(routines: &[Routine]) -> Report {
    let bench = Bench::new();
    for routine in routines {
        let _ = bench.run(*routine).wait(Duration::from_millis(1));
    }
    bench.finish()
}

/// The routines break `rule`, and nothing before it.
#[track_caller]
pub fn breaks(rule: &'static Rule, routines: &[Routine]) {
    let report = report(routines);
    let first = report.violations.first().map(|violation| violation.rule.name);
    assert_eq!(first, Some(rule.name), "{report}");
    assert!(rules::RULES.contains(&rule));
}

/// The routines break no rule.
#[track_caller]
pub fn passes(routines: &[Routine]) {
    let report = report(routines);
    assert!(report.is_clean(), "{report}");
}
