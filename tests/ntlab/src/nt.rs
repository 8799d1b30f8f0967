//! The structures that a driver and the kernel share, laid out as Windows lays them out on x64.
//!
//! Fields that both sides write are cells or atomics of the same size, so that a shared reference is enough to reach
//! them. Every size and offset is asserted here at compile time, and listed in [`LAYOUTS`] so that they can also be
//! checked against the C headers of a driver kit.
#![expect(non_snake_case, reason = "fields carry the names of the C headers")]
#![expect(non_camel_case_types, reason = "types carry the names of the C headers")]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

/// One structure's size and the offsets of its fields, by their C names.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The name of the type in the C headers.
    pub c_name: &'static str,
    /// `sizeof`.
    pub size: usize,
    /// C path of each field (as `offsetof` takes it) and its offset.
    pub fields: &'static [(&'static str, usize)],
}

macro_rules! layouts {
    ($(
        $(#[$meta:meta])*
        $name:ident ($size:literal) { $( $field:ident : $type:ty = $offset:literal $($path:literal)? ),* $(,)? }
    )*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[expect(missing_docs, reason = "the fields are those of the C structure")]
            pub struct $name { $( pub $field: $type ),* }
            const _: () = assert!(size_of::<$name>() == $size);
            $( const _: () = assert!(core::mem::offset_of!($name, $field) == $offset); )*
        )*
        /// Every structure of this module that has a C counterpart.
        pub const LAYOUTS: &[Layout] = &[ $( Layout {
            c_name: stringify!($name),
            size: $size,
            fields: &[ $( (layouts!(@path $field $($path)?), $offset) ),* ],
        } ),* ];
    };
    (@path $field:ident) => { stringify!($field) };
    (@path $field:ident $path:literal) => { $path };
}

/// `PVOID`.
pub type PVOID = *mut c_void;
/// An opaque pointer slot that both sides may write.
pub type Slot = Cell<PVOID>;

layouts! {
    /// A link of a doubly linked list.
    #[derive(Debug, Clone, Copy)]
    LIST_ENTRY (16) { Flink: *mut LIST_ENTRY = 0, Blink: *mut LIST_ENTRY = 8 }

    /// A counted UTF-16 string.
    #[derive(Debug, Clone, Copy)]
    UNICODE_STRING (16) { Length: u16 = 0, MaximumLength: u16 = 2, Buffer: *mut u16 = 8 }

    /// What an I/O request came to.
    #[derive(Debug, Clone, Copy)]
    IO_STATUS_BLOCK (16) { Status: i32 = 0, Information: usize = 8 }

    /// A process and a thread identifier.
    #[derive(Debug, Clone, Copy)]
    CLIENT_ID (16) { UniqueProcess: usize = 0, UniqueThread: usize = 8 }

    /// How an object is named and opened.
    #[derive(Debug, Clone, Copy)]
    OBJECT_ATTRIBUTES (48) {
        Length: u32 = 0, RootDirectory: PVOID = 8, ObjectName: *const UNICODE_STRING = 16, Attributes: u32 = 24,
        SecurityDescriptor: PVOID = 32, SecurityQualityOfService: PVOID = 40,
    }

    /// What every object that can be waited for begins with.
    DISPATCHER_HEADER (24) {
        Type: AtomicU8 = 0, Signalling: AtomicU8 = 1 "Abandoned", Size: AtomicU8 = 2, Reserved1: AtomicU8 = 3 "DpcActive",
        SignalState: AtomicI32 = 4, WaitListHead: Cell<LIST_ENTRY> = 8,
    }

    /// An event.
    KEVENT (24) { Header: DISPATCHER_HEADER = 0 }

    /// A semaphore.
    KSEMAPHORE (32) { Header: DISPATCHER_HEADER = 0, Limit: AtomicI32 = 24 }

    /// A mutex.
    KMUTANT (56) {
        Header: DISPATCHER_HEADER = 0, MutantListEntry: Cell<LIST_ENTRY> = 24, OwnerThread: Cell<usize> = 40,
        Abandoned: Cell<u8> = 48, ApcDisable: Cell<u8> = 49,
    }

    /// A deferred procedure call.
    KDPC (64) {
        Type: AtomicU8 = 0, Importance: AtomicU8 = 1, Number: Cell<u16> = 2, DpcListEntry: Cell<[usize; 2]> = 8,
        DeferredRoutine: AtomicUsize = 24, DeferredContext: Slot = 32, SystemArgument1: Slot = 40,
        SystemArgument2: Slot = 48, DpcData: AtomicUsize = 56,
    }

    /// A timer.
    KTIMER (64) {
        Header: DISPATCHER_HEADER = 0, DueTime: AtomicU64 = 24, TimerListEntry: Cell<LIST_ENTRY> = 32,
        Dpc: Cell<*mut KDPC> = 48, Processor: AtomicU32 = 56, Period: AtomicU32 = 60,
    }

    /// An item of a system worker queue.
    WORK_QUEUE_ITEM (32) { List: Cell<LIST_ENTRY> = 0, WorkerRoutine: AtomicUsize = 16, Parameter: Slot = 24 }

    /// The caller's part of an in-stack queued spin lock.
    KLOCK_QUEUE_HANDLE (24) {
        Next: AtomicUsize = 0 "LockQueue.Next", Lock: Cell<*mut KSPIN_LOCK> = 8 "LockQueue.Lock", OldIrql: Cell<u8> = 16,
    }

    /// A memory descriptor list; the page frame numbers follow it.
    MDL (48) {
        Next: Cell<*mut MDL> = 0, Size: Cell<i16> = 8, MdlFlags: Cell<i16> = 10, Process: Slot = 16,
        MappedSystemVa: Slot = 24, StartVa: Slot = 32, ByteCount: Cell<u32> = 40, ByteOffset: Cell<u32> = 44,
    }

    /// A driver.
    DRIVER_OBJECT (336) {
        Type: Cell<i16> = 0, Size: Cell<i16> = 2, DeviceObject: Cell<*mut DEVICE_OBJECT> = 8, Flags: Cell<u32> = 16,
        DriverStart: Slot = 24, DriverSize: Cell<u32> = 32, DriverSection: Slot = 40, DriverExtension: Slot = 48,
        DriverName: Cell<UNICODE_STRING> = 56, HardwareDatabase: Cell<*mut UNICODE_STRING> = 72, FastIoDispatch: Slot = 80,
        DriverInit: Cell<usize> = 88, DriverStartIo: Cell<usize> = 96, DriverUnload: Cell<usize> = 104,
        MajorFunction: [Cell<usize>; 28] = 112,
    }

    /// A queue of requests for a device.
    KDEVICE_QUEUE (40) {
        Type: Cell<i16> = 0, Size: Cell<i16> = 2, DeviceListHead: Cell<LIST_ENTRY> = 8, Lock: KSPIN_LOCK = 24,
        Busy: Cell<u8> = 32,
    }

    /// An open file, here an open device.
    FILE_OBJECT (216) {
        Type: Cell<i16> = 0, Size: Cell<i16> = 2, DeviceObject: Cell<*mut DEVICE_OBJECT> = 8, Vpb: Slot = 16,
        FsContext: Slot = 24, FsContext2: Slot = 32, SectionObjectPointer: Slot = 40, PrivateCacheMap: Slot = 48,
        FinalStatus: Cell<i32> = 56, RelatedFileObject: Cell<*mut FILE_OBJECT> = 64, LockOperation: Cell<u8> = 72,
        DeletePending: Cell<u8> = 73, ReadAccess: Cell<u8> = 74, WriteAccess: Cell<u8> = 75, DeleteAccess: Cell<u8> = 76,
        SharedRead: Cell<u8> = 77, SharedWrite: Cell<u8> = 78, SharedDelete: Cell<u8> = 79, Flags: Cell<u32> = 80,
        FileName: Cell<UNICODE_STRING> = 88, CurrentByteOffset: Cell<i64> = 104, Waiters: Cell<u32> = 112,
        Busy: Cell<u32> = 116, LastLock: Slot = 120, Lock: KEVENT = 128, Event: KEVENT = 152, CompletionContext: Slot = 176,
        IrpListLock: KSPIN_LOCK = 184, IrpList: Cell<LIST_ENTRY> = 192, FileObjectExtension: Slot = 208,
    }

    /// A driver's part of an I/O request.
    IO_STACK_LOCATION (72) {
        MajorFunction: Cell<u8> = 0, MinorFunction: Cell<u8> = 1, Flags: Cell<u8> = 2, Control: Cell<u8> = 3,
        Parameters: Cell<[usize; 4]> = 8, DeviceObject: Cell<*mut DEVICE_OBJECT> = 40,
        FileObject: Cell<*mut FILE_OBJECT> = 48, CompletionRoutine: Cell<usize> = 56, Context: Slot = 64,
    }

    /// An I/O request packet; its stack locations follow it.
    IRP (208) {
        Type: Cell<i16> = 0, Size: Cell<u16> = 2, MdlAddress: Cell<*mut MDL> = 8, Flags: Cell<u32> = 16,
        SystemBuffer: Slot = 24 "AssociatedIrp.SystemBuffer", ThreadListEntry: Cell<LIST_ENTRY> = 32,
        IoStatus: Cell<IO_STATUS_BLOCK> = 48, RequestorMode: Cell<i8> = 64, PendingReturned: Cell<u8> = 65,
        StackCount: Cell<i8> = 66, CurrentLocation: Cell<i8> = 67, Cancel: AtomicU8 = 68, CancelIrql: Cell<u8> = 69,
        ApcEnvironment: Cell<i8> = 70, AllocationFlags: Cell<u8> = 71, UserIosb: Cell<*mut IO_STATUS_BLOCK> = 72,
        UserEvent: Cell<*mut KEVENT> = 80, Overlay: Cell<[usize; 2]> = 88, CancelRoutine: AtomicUsize = 104,
        UserBuffer: Slot = 112, DriverContext: Cell<[PVOID; 4]> = 120 "Tail.Overlay.DriverContext",
        Thread: Slot = 152 "Tail.Overlay.Thread", AuxiliaryBuffer: Slot = 160 "Tail.Overlay.AuxiliaryBuffer",
        ListEntry: Cell<LIST_ENTRY> = 168 "Tail.Overlay.ListEntry",
        CurrentStackLocation: Cell<*mut IO_STACK_LOCATION> = 184 "Tail.Overlay.CurrentStackLocation",
        OriginalFileObject: Cell<*mut FILE_OBJECT> = 192 "Tail.Overlay.OriginalFileObject",
        IrpExtension: Slot = 200 "Tail.Apc.ApcStateIndex",
    }
}

/// A spin lock: zero when free, here the token of the thread that owns it otherwise.
pub type KSPIN_LOCK = AtomicUsize;

/// A device. Not in [`LAYOUTS`]: mingw's header gives 328 bytes where Windows aligns the structure to 16 and has 336.
#[repr(C, align(16))]
#[expect(missing_docs, reason = "the fields are those of the C structure")]
pub struct DEVICE_OBJECT {
    pub Type: Cell<i16>,
    pub Size: Cell<u16>,
    pub ReferenceCount: AtomicI32,
    pub DriverObject: Cell<*mut DRIVER_OBJECT>,
    pub NextDevice: Cell<*mut DEVICE_OBJECT>,
    pub AttachedDevice: Cell<*mut DEVICE_OBJECT>,
    pub CurrentIrp: Cell<*mut IRP>,
    pub Timer: Slot,
    pub Flags: Cell<u32>,
    pub Characteristics: Cell<u32>,
    pub Vpb: Slot,
    pub DeviceExtension: Slot,
    pub DeviceType: Cell<u32>,
    pub StackSize: Cell<i8>,
    pub Queue: Cell<[usize; 9]>,
    pub AlignmentRequirement: Cell<u32>,
    pub DeviceQueue: KDEVICE_QUEUE,
    pub Dpc: KDPC,
    pub ActiveThreadCount: Cell<u32>,
    pub SecurityDescriptor: Slot,
    pub DeviceLock: KEVENT,
    pub SectorSize: Cell<u16>,
    pub Spare1: Cell<u16>,
    pub DeviceObjectExtension: Slot,
    pub Reserved: Slot,
}
const _: () = assert!(size_of::<DEVICE_OBJECT>() == 336);
const _: () = assert!(core::mem::offset_of!(DEVICE_OBJECT, Flags) == 0x30);
const _: () = assert!(core::mem::offset_of!(DEVICE_OBJECT, DeviceExtension) == 0x40);
const _: () = assert!(core::mem::offset_of!(DEVICE_OBJECT, StackSize) == 0x4c);
const _: () = assert!(core::mem::offset_of!(DEVICE_OBJECT, DeviceQueue) == 0xa0);
const _: () = assert!(core::mem::offset_of!(DEVICE_OBJECT, Dpc) == 0xc8);
const _: () = assert!(core::mem::offset_of!(DEVICE_OBJECT, SecurityDescriptor) == 0x110);
const _: () = assert!(core::mem::offset_of!(DEVICE_OBJECT, DeviceObjectExtension) == 0x138);

/// `IRP_MJ_CREATE`.
pub const IRP_MJ_CREATE: u8 = 0x00;
/// `IRP_MJ_CLOSE`.
pub const IRP_MJ_CLOSE: u8 = 0x02;
/// `IRP_MJ_READ`.
pub const IRP_MJ_READ: u8 = 0x03;
/// `IRP_MJ_WRITE`.
pub const IRP_MJ_WRITE: u8 = 0x04;
/// `IRP_MJ_DEVICE_CONTROL`.
pub const IRP_MJ_DEVICE_CONTROL: u8 = 0x0e;
/// `IRP_MJ_INTERNAL_DEVICE_CONTROL`.
pub const IRP_MJ_INTERNAL_DEVICE_CONTROL: u8 = 0x0f;
/// `IRP_MJ_CLEANUP`.
pub const IRP_MJ_CLEANUP: u8 = 0x12;

/// `SL_PENDING_RETURNED`, set by `IoMarkIrpPending`.
pub const SL_PENDING_RETURNED: u8 = 0x01;
/// `SL_INVOKE_ON_CANCEL`.
pub const SL_INVOKE_ON_CANCEL: u8 = 0x20;
/// `SL_INVOKE_ON_SUCCESS`.
pub const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
/// `SL_INVOKE_ON_ERROR`.
pub const SL_INVOKE_ON_ERROR: u8 = 0x80;

/// `MDL_MAPPED_TO_SYSTEM_VA`.
pub const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x0001;
/// `MDL_PAGES_LOCKED`.
pub const MDL_PAGES_LOCKED: i16 = 0x0002;
/// `MDL_SOURCE_IS_NONPAGED_POOL`.
pub const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x0004;
/// `MDL_PARTIAL`.
pub const MDL_PARTIAL: i16 = 0x0010;

/// `DO_BUFFERED_IO`.
pub const DO_BUFFERED_IO: u32 = 0x0000_0004;
/// `DO_EXCLUSIVE`.
pub const DO_EXCLUSIVE: u32 = 0x0000_0008;
/// `DO_DIRECT_IO`.
pub const DO_DIRECT_IO: u32 = 0x0000_0010;
/// `DO_DEVICE_INITIALIZING`: the device cannot be opened yet.
pub const DO_DEVICE_INITIALIZING: u32 = 0x0000_0080;

/// `IO_TYPE_DEVICE`.
pub const IO_TYPE_DEVICE: i16 = 3;
/// `IO_TYPE_DRIVER`.
pub const IO_TYPE_DRIVER: i16 = 4;
/// `IO_TYPE_FILE`.
pub const IO_TYPE_FILE: i16 = 5;
/// `IO_TYPE_IRP`.
pub const IO_TYPE_IRP: i16 = 6;

/// Type of a notification event's dispatcher header.
pub const NOTIFICATION_EVENT: u8 = 0;
/// Type of a synchronization event's dispatcher header.
pub const SYNCHRONIZATION_EVENT: u8 = 1;
/// Type of a mutex's dispatcher header.
pub const MUTANT_OBJECT: u8 = 2;
/// Type of a semaphore's dispatcher header.
pub const SEMAPHORE_OBJECT: u8 = 5;
/// Type of a thread's dispatcher header.
pub const THREAD_OBJECT: u8 = 6;
/// Type of a notification timer's dispatcher header.
pub const NOTIFICATION_TIMER: u8 = 8;
/// Type of a synchronization timer's dispatcher header.
pub const SYNCHRONIZATION_TIMER: u8 = 9;

/// The size of a page.
pub const PAGE_SIZE: usize = 4096;

impl LIST_ENTRY {
    /// A link that points nowhere.
    pub const NULL: Self = Self { Flink: null_mut(), Blink: null_mut() };
}

impl UNICODE_STRING {
    /// A string without a buffer.
    pub const EMPTY: Self = Self { Length: 0, MaximumLength: 0, Buffer: null_mut() };

    /// The text, with what is not UTF-16 replaced.
    ///
    /// # Safety
    /// `Buffer` holds `Length` readable bytes.
    #[must_use]
    pub unsafe fn text(&self) -> String {
        if self.Length < 2 || self.Buffer.is_null() {
            return String::new();
        }
        // SAFETY: the caller vouches for `Length` bytes at `Buffer`.
        let units = unsafe { std::slice::from_raw_parts(self.Buffer, usize::from(self.Length / 2)) };
        String::from_utf16_lossy(units)
    }
}

impl IRP {
    /// `IoGetCurrentIrpStackLocation`.
    #[must_use]
    pub fn current(&self) -> *mut IO_STACK_LOCATION {
        self.CurrentStackLocation.get()
    }

    /// `IoGetNextIrpStackLocation`.
    #[must_use]
    pub fn next(&self) -> *mut IO_STACK_LOCATION {
        self.CurrentStackLocation.get().wrapping_sub(1)
    }

    /// `IoSetNextIrpStackLocation`.
    pub fn advance(&self) {
        self.CurrentLocation.set(self.CurrentLocation.get() - 1);
        self.CurrentStackLocation.set(self.next());
    }

    /// `IoSkipCurrentIrpStackLocation`.
    pub fn skip(&self) {
        self.CurrentLocation.set(self.CurrentLocation.get() + 1);
        self.CurrentStackLocation.set(self.CurrentStackLocation.get().wrapping_add(1));
    }

    /// Sets `IoStatus`.
    pub fn set_status(&self, status: i32, information: usize) {
        self.IoStatus.set(IO_STATUS_BLOCK { Status: status, Information: information });
    }
}

impl IO_STACK_LOCATION {
    /// Fills `Parameters.DeviceIoControl`.
    pub fn set_device_io_control(&self, code: u32, input: u32, output: u32, type3: PVOID) {
        self.Parameters.set([output as usize, input as usize, code as usize, type3 as usize]);
    }

    /// `Parameters.DeviceIoControl.OutputBufferLength`, in bytes.
    #[must_use]
    pub fn output_length(&self) -> usize {
        self.Parameters.get()[0] & 0xffff_ffff
    }

    /// `Parameters.DeviceIoControl.InputBufferLength`, in bytes.
    #[must_use]
    pub fn input_length(&self) -> usize {
        self.Parameters.get()[1] & 0xffff_ffff
    }

    /// `Parameters.DeviceIoControl.IoControlCode`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the field is the low half of its pointer-aligned slot")]
    pub fn io_control_code(&self) -> u32 {
        self.Parameters.get()[2] as u32
    }

    /// `IoSetCompletionRoutine`: `control` is any of the `SL_INVOKE_ON_` bits.
    pub fn set_completion(&self, routine: usize, context: PVOID, control: u8) {
        self.CompletionRoutine.set(routine);
        self.Context.set(context);
        self.Control.set(control);
    }

    /// Writes zero to all that `IoSkip` and completion leave behind, as the kernel clears a used location.
    pub fn clear(&self) {
        self.MinorFunction.set(0);
        self.Flags.set(0);
        self.Control.set(0);
        self.Parameters.set([0; 4]);
        self.FileObject.set(null_mut());
        self.CompletionRoutine.set(0);
        self.Context.set(null_mut());
    }
}

impl MDL {
    /// `MmGetMdlVirtualAddress`.
    #[must_use]
    pub fn virtual_address(&self) -> PVOID {
        self.StartVa.get().wrapping_byte_add(self.ByteOffset.get() as usize)
    }
}
