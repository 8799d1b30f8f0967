//! The device on Windows: overlapped requests through `NtDeviceIoControlFile`.
//!
//! The Win32 call and every crate over it answer a Win32 error, which several NTSTATUS values share, and for a request that fails at
//! once the system writes no status into the OVERLAPPED. The native call (`NtDeviceIoControlFile`) answers the NTSTATUS
//! itself. Its buffers belong to the system until the completion, so they live in a heap record that outlasts it.
#![expect(unsafe_code, reason = "no crate offers overlapped requests that end with their exact NTSTATUS")]

use super::{Completion, Device, Handle, HandleBackend, Observer, Refused, Request, RequestBackend};
use crate::{
    Cause, Error,
    abi::{DEVICE_PATH, NtStatus, STATUS_PENDING},
    status::{STATUS_ACCESS_DENIED, STATUS_INVALID_HANDLE},
};
use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::windows::{
        fs::OpenOptionsExt,
        io::{AsRawHandle, FromRawHandle, OwnedHandle},
    },
    path::PathBuf,
    ptr::{NonNull, null, null_mut},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use windows_sys::{
    Wdk::System::IO::NtDeviceIoControlFile,
    Win32::{
        Foundation::{
            ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, HANDLE, INVALID_HANDLE_VALUE,
            WAIT_OBJECT_0,
        },
        System::{
            IO::{CancelIoEx, OVERLAPPED},
            Threading::{
                CreateEventW, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
                WT_EXECUTEONLYONCE, WaitForSingleObject,
            },
        },
    },
};

/// `FILE_FLAG_OVERLAPPED`.
const FILE_FLAG_OVERLAPPED: u32 = 0x4000_0000;
/// Severity error: at such a status the I/O manager writes no status block for a request that did not go pending.
const ERROR: u32 = 0xC000_0000;
/// How long a dropped request waits for its cancellation before it leaves its record to the system.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// The driver's device on this machine.
#[derive(Default)]
pub struct WindowsDevice;

impl Device for WindowsDevice {
    fn open(&self) -> Result<Handle, Error> {
        let opened = OpenOptions::new().read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED).open(DEVICE_PATH);
        let file = opened.map_err(|error| {
            let cause = match error.raw_os_error().map(i32::cast_unsigned) {
                Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => Cause::Absent("there is no such device".into()),
                Some(ERROR_ACCESS_DENIED) => Cause::Status(STATUS_ACCESS_DENIED),
                _ => Cause::Host(error),
            };
            Error::new(format!("open {DEVICE_PATH}"), cause)
        })?;
        Ok(Handle::new(WindowsHandle(Arc::new(RwLock::new(Some(file))))))
    }
}

/// Whether this Windows is Wine: its modules carry a mark in their DOS header, where Windows' have the DOS program.
pub(crate) fn is_wine() -> bool {
    let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\windows".into());
    let mut header = [0; 80];
    let read =
        File::open(PathBuf::from(root).join(r"system32\ntdll.dll")).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[64..].starts_with(b"Wine ")
}

/// The open file, or nothing once it was closed: requests may outlive it.
type Shared = Arc<RwLock<Option<File>>>;

/// Runs `with` on the file while nobody can close it.
fn with_file<T>(shared: &Shared, with: impl FnOnce(&File) -> T) -> Option<T> {
    shared.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(with)
}

struct WindowsHandle(Shared);

impl HandleBackend for WindowsHandle {
    fn submit(&self, code: u32, input: &[u8], buffer: Vec<u8>) -> Request {
        let Ok(event) = event() else {
            return Refused::request(crate::abi::WsaError::NoBuffers.status(), buffer);
        };
        let record = Box::new(Record { overlapped: OVERLAPPED::default(), event, input: input.to_vec(), buffer });
        let record = Some(Pinned::new(record));
        let request = WindowsRequest { watch: None, record, refused: None, file: self.0.clone() };
        match with_file(&self.0, |file| request.issue(file, code)) {
            Some(status) => request.issued(status),
            None => request.issued(STATUS_INVALID_HANDLE),
        }
    }

    fn cancel_all(&self) {
        with_file(&self.0, |file| cancel(file, null()));
    }

    fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A manual-reset event, not signalled.
fn event() -> io::Result<OwnedHandle> {
    // SAFETY: no pointer is passed.
    let handle = unsafe { CreateEventW(null(), 1, 0, null()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and nobody else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Asks for one request of `file`, or all, to be cancelled. That there is none any more is no error.
fn cancel(file: &File, overlapped: *const OVERLAPPED) {
    // SAFETY: the file is open; the system only compares the OVERLAPPED's address.
    let _ = unsafe { CancelIoEx(file.as_raw_handle(), overlapped) };
}

/// What the system writes and reads while the request is pending. The OVERLAPPED comes first: its address names the request.
#[repr(C)]
struct Record {
    overlapped: OVERLAPPED,
    event: OwnedHandle,
    input: Vec<u8>,
    buffer: Vec<u8>,
}

/// Sole owner of a record on the heap, without the claim of a `Box` that nobody else writes to it.
///
/// # Invariants
/// The pointer came from `Box::into_raw` and is freed once, by `into_box`, after the system is done with the record.
struct Pinned(NonNull<Record>);

impl Pinned {
    fn new(record: Box<Record>) -> Self {
        // INVARIANT: the pointer is a box's.
        Self(NonNull::from(Box::leak(record)))
    }

    fn event(&self) -> &OwnedHandle {
        // SAFETY: the record is live, and the system never writes to the event's handle.
        unsafe { &(*self.0.as_ptr()).event }
    }

    /// Waits for the completion. True when the system is done with the record.
    fn wait(&self, timeout: Duration) -> bool {
        let milliseconds = u32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX - 1);
        // SAFETY: the event is open while the record lives.
        let waited = unsafe { WaitForSingleObject(self.event().as_raw_handle(), milliseconds) };
        waited == WAIT_OBJECT_0
    }

    /// Takes the record back.
    ///
    /// # Safety
    /// The request was never issued, failed at once, or has completed.
    unsafe fn into_box(self) -> Box<Record> {
        // SAFETY: by the type's invariant a box's pointer; by the caller's promise nobody else uses it.
        unsafe { Box::from_raw(self.0.as_ptr()) }
    }
}

struct WindowsRequest {
    /// Who tells the observer. It waits for the record's event, and so goes first.
    watch: Option<Watch>,
    /// The record while the system may use it.
    record: Option<Pinned>,
    /// The completion of a request that failed at once.
    refused: Option<Completion>,
    file: Shared,
}

// SAFETY: the record is owned by the request alone; any thread may wait for an event, cancel, and free the record.
unsafe impl Send for WindowsRequest {}
// SAFETY: what a shared reference allows is to wait for the event and to compare addresses; the record is freed by its owner only.
unsafe impl Sync for WindowsRequest {}

impl WindowsRequest {
    /// Hands the record to the system.
    fn issue(&self, file: &File, code: u32) -> NtStatus {
        let Some(pinned) = &self.record else {
            return STATUS_INVALID_HANDLE;
        };
        let record = pinned.0.as_ptr();
        // SAFETY: the record is live and the system has not seen it yet.
        let record = unsafe { &mut *record };
        let buffer: *mut u8 = if record.buffer.is_empty() { null_mut() } else { record.buffer.as_mut_ptr() };
        let input: *const u8 = if record.input.is_empty() { null() } else { record.input.as_ptr() };
        let (Ok(input_length), Ok(buffer_length)) =
            (u32::try_from(record.input.len()), u32::try_from(record.buffer.len()))
        else {
            return crate::abi::WsaError::Fault.status();
        };
        let event = record.event.as_raw_handle();
        record.overlapped.Internal = usize::try_from(STATUS_PENDING).unwrap_or_default();
        // An OVERLAPPED begins with the status block that CancelIoEx knows the request by.
        let block = (&raw mut record.overlapped).cast();
        // SAFETY: file and event are open; block and both buffers live in the record, which is freed only after the completion.
        unsafe {
            NtDeviceIoControlFile(
                file.as_raw_handle(),
                event,
                None,
                null(),
                block,
                code,
                input.cast(),
                input_length,
                buffer.cast(),
                buffer_length,
            )
        }
    }

    /// Decides by the call's status whether the system has the record.
    fn issued(mut self, status: NtStatus) -> Request {
        if status.cast_unsigned() >= ERROR
            && let Some(pinned) = self.record.take()
        {
            // SAFETY: the request failed at once, so the system is done with the record.
            let record = unsafe { pinned.into_box() };
            self.refused = Some(Completion { status, information: 0, buffer: record.buffer });
        }
        Request::new(self)
    }
}

impl RequestBackend for WindowsRequest {
    fn is_complete(&self) -> bool {
        self.record.as_ref().is_none_or(|pinned| pinned.wait(Duration::ZERO))
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        if let Some(completion) = self.refused.take() {
            return Some(completion);
        }
        if !self.record.as_ref()?.wait(timeout) {
            return None;
        }
        self.watch = None;
        let pinned = self.record.take()?;
        // SAFETY: the event is signalled: the request has completed.
        let record = unsafe { pinned.into_box() };
        Some(Completion {
            // The status is the word's low half, whatever its sign.
            status: u32::try_from(record.overlapped.Internal & 0xFFFF_FFFF).unwrap_or_default().cast_signed(),
            information: record.overlapped.InternalHigh,
            buffer: record.buffer,
        })
    }

    fn cancel(&self) {
        if let Some(pinned) = &self.record {
            with_file(&self.file, |file| cancel(file, pinned.0.as_ptr().cast_const().cast()));
        }
    }

    fn on_completion(&mut self, observer: Observer) {
        match &self.record {
            Some(pinned) => self.watch = Watch::start(pinned.event(), observer),
            None => observer(),
        }
    }
}

/// A wait of the system's thread pool, which runs an observer once when an event is signalled.
///
/// # Invariants
/// The context came from `Box::into_raw`, and is freed by `drop`, after the system has forgotten the wait.
struct Watch {
    wait: HANDLE,
    context: NonNull<Mutex<Option<Observer>>>,
}

impl Watch {
    /// Has the observer run when `event` is signalled. Where the system has no memory for that, nobody is told.
    fn start(event: &OwnedHandle, observer: Observer) -> Option<Self> {
        let context = NonNull::from(Box::leak(Box::new(Mutex::new(Some(observer)))));
        let mut wait = null_mut();
        let flags = WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD;
        // SAFETY: the event outlives the watch, as does the context; the callback takes a context of this type.
        let started = unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait,
                event.as_raw_handle(),
                Some(signalled),
                context.as_ptr().cast_const().cast(),
                u32::MAX,
                flags,
            )
        };
        if started == 0 {
            // SAFETY: a box's pointer that the system has not taken.
            drop(unsafe { Box::from_raw(context.as_ptr()) });
            return None;
        }
        // INVARIANT: the pointer is a box's, and `drop` is the only one to free it.
        Some(Self { wait, context })
    }
}

unsafe extern "system" fn signalled(context: *mut c_void, _timed_out: bool) {
    let context: *const Mutex<Option<Observer>> = context.cast_const().cast();
    // SAFETY: by the invariant of `Watch` the context lives until this has returned.
    let context = unsafe { &*context };
    let observer = context.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(observer) = observer {
        observer();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the wait is ours; INVALID_HANDLE_VALUE has the call return when no callback runs or will.
        let _ = unsafe { UnregisterWaitEx(self.wait, INVALID_HANDLE_VALUE) };
        // SAFETY: by the type's invariant a box's pointer, which nobody else uses any more.
        drop(unsafe { Box::from_raw(self.context.as_ptr()) });
    }
}

impl Drop for WindowsRequest {
    fn drop(&mut self) {
        self.watch = None;
        RequestBackend::cancel(self);
        if let Some(pinned) = self.record.take()
            && pinned.wait(DROP_PATIENCE)
        {
            // SAFETY: the event is signalled: the request has completed. Otherwise the record stays with the system.
            drop(unsafe { pinned.into_box() });
        }
    }
}
