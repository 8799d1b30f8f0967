//! User processes: handles, and what happens to them and to pending requests when the process ends.
//!
//! Models "Cancel Routines and process termination": a thread's IRPs are cancelled and awaited before its process' handles
//! are closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::file::{self, File, LOOK};
use crate::irp;
use crate::machine::{self, Inner, Machine};
use crate::nt::{IRP, KEVENT, PVOID, THREAD_OBJECT};
use crate::objects::Kind;
use crate::request::{self, Request};
use crate::rules;
use crate::security::Token;
use crate::status::NtStatus;
use crate::thread::this;

/// The System process' identifier.
const SYSTEM: u32 = 4;

/// In whose context driver code runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) process: PVOID,
    pub(crate) thread: PVOID,
    pub(crate) token: Token,
}

impl Context {
    /// The System process.
    pub(crate) fn system(machine: &Inner) -> Self {
        let (process, thread) = machine.system_process();
        Self { process, thread, token: Token::System }
    }

    /// Runs `body` in the context.
    pub(crate) fn enter<R>(&self, body: impl FnOnce() -> R) -> R {
        let record = this();
        let before = (record.process.replace(self.process), record.object.replace(self.thread));
        let result = body();
        record.process.set(before.0);
        record.object.set(before.1);
        result
    }
}

/// Makes a process object and one thread object.
fn create_objects(machine: &Inner, id: u32) -> (PVOID, PVOID) {
    let process = machine.create_object(Kind::Process, 64, None);
    if let Some(header) = machine.object(process) {
        header.context.store(id as usize, Ordering::Release);
    }
    (process, create_thread_object(machine, process))
}

/// Makes a thread object of `process`.
pub(crate) fn create_thread_object(machine: &Inner, process: PVOID) -> PVOID {
    let thread = machine.create_object(Kind::Thread, 64, None);
    // SAFETY: the object is new and begins with a dispatcher header.
    let header = unsafe { &*thread.cast::<KEVENT>() };
    header.Header.Type.store(THREAD_OBJECT, Ordering::Relaxed);
    if let Some(header) = machine.object(thread) {
        header.context.store(process as usize, Ordering::Release);
    }
    thread
}

impl Inner {
    /// The System process and a thread of it.
    pub(crate) fn system_process(&self) -> (PVOID, PVOID) {
        let (process, thread) = *self.system.get_or_init(|| {
            let (process, thread) = create_objects(self, SYSTEM);
            (process as usize, thread as usize)
        });
        (process as PVOID, thread as PVOID)
    }

    fn process_id(&self, process: PVOID) -> usize {
        self.require_object(process, Some(Kind::Process), "a process was expected").context.load(Ordering::Acquire)
    }

    /// Whether any process has an open handle.
    pub(crate) fn has_open_handles(&self) -> bool {
        let processes = self.processes.lock();
        processes.iter().any(|process| !process.handles.lock().is_empty())
    }

    /// Ends every process, as at shutdown.
    pub(crate) fn end_processes(&self) -> Result<(), Stopped> {
        let processes = std::mem::take(&mut *self.processes.lock());
        processes.into_iter().try_for_each(|process| process.end(self))
    }
}

/// The part of a process that its machine keeps.
pub(crate) struct Shared {
    id: u32,
    token: Token,
    process: usize,
    thread: usize,
    handles: Mutex<Vec<Arc<HandleShared>>>,
    exiting: AtomicBool,
    ended: AtomicBool,
    /// Calls of its threads into the I/O manager that have not returned.
    active: AtomicUsize,
}

struct HandleShared {
    file: Arc<File>,
    process: Arc<Shared>,
    /// Whether it names the file. Under the lock a handle that does keeps the file object there.
    open: Mutex<bool>,
}

impl HandleShared {
    /// The handle names the file no more; false if it did not before.
    fn shut(&self) -> bool {
        std::mem::take(&mut *self.open.lock())
    }
}

/// A user process. Clones are the same process.
#[derive(Clone)]
pub struct Process {
    machine: Machine,
    shared: Arc<Shared>,
}

/// A handle to a device. Clones are the same handle; it is closed by [`Handle::close`] or with its process.
#[derive(Clone)]
pub struct Handle {
    machine: Machine,
    shared: Arc<HandleShared>,
}

impl Machine {
    /// A new process of an elevated administrator.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process_as(Token::Administrator)
    }

    /// A new process with `token`.
    ///
    /// # Panics
    /// When the host has no memory for it.
    #[must_use]
    pub fn process_as(&self, token: Token) -> Process {
        static NEXT: AtomicU32 = AtomicU32::new(0x1000);
        let id = NEXT.fetch_add(4, Ordering::Relaxed);
        let (process, thread) = crate::call::guard(&self.inner, || create_objects(&self.inner, id)).expect("memory");
        let shared = Arc::new(Shared {
            id,
            token,
            process: process as usize,
            thread: thread as usize,
            handles: Mutex::default(),
            exiting: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            active: AtomicUsize::new(0),
        });
        self.inner.processes.lock().push(Arc::clone(&shared));
        Process { machine: self.clone(), shared }
    }
}

impl Shared {
    pub(crate) fn context(&self) -> Context {
        Context { process: self.process as PVOID, thread: self.thread as PVOID, token: self.token }
    }

    /// Begins a call of one of the process' threads; none when the process ends.
    pub(crate) fn begin(&self) -> Option<Active<'_>> {
        self.active.fetch_add(1, Ordering::SeqCst);
        let active = Active(&self.active);
        (!self.is_exiting()).then_some(active)
    }

    /// Cancels the process' requests and waits for their end, and that of its threads' calls; then closes its handles.
    pub(crate) fn end(&self, machine: &Inner) -> Result<(), Stopped> {
        let is_first = !self.exiting.swap(true, Ordering::SeqCst);
        let since = Instant::now();
        loop {
            // Before the requests: what a call has sent when it is over is among them.
            let calls = self.active.load(Ordering::SeqCst);
            let handles = self.handles.lock().clone();
            self.end_requests(machine, &handles, request::of_process)?;
            if calls == 0 || since.elapsed() > machine.options.hang {
                break;
            }
            machine.pause();
        }
        if !is_first {
            return self.wait_for_end(machine, since);
        }
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            if handle.shut() {
                file::close_handle(machine, &self.context(), &handle.file)?;
            }
        }
        self.ended.store(true, Ordering::Release);
        Ok(())
    }

    /// Waits for who ends the process already.
    fn wait_for_end(&self, machine: &Inner, since: Instant) -> Result<(), Stopped> {
        while !self.ended.load(Ordering::Acquire) && since.elapsed() < machine.options.hang {
            if machine.is_stopped() {
                return Err(Stopped);
            }
            machine.pause();
        }
        Ok(())
    }

    /// Cancels requests on the handles and waits for their end; `of` says which, by file and process.
    fn end_requests(
        &self,
        machine: &Inner,
        handles: &[Arc<HandleShared>],
        of: fn(&File, u32) -> Vec<Arc<request::Shared>>,
    ) -> Result<(), Stopped> {
        let since = Instant::now();
        loop {
            let left: Vec<_> = handles.iter().flat_map(|handle| of(&handle.file, self.id)).collect();
            let Some(last) = left.last() else { return Ok(()) };
            for request in &left {
                request.cancel(machine)?;
            }
            if since.elapsed() > machine.options.hang {
                let message = format!("{} requests of a process or thread that ends are not completed", left.len());
                return Err(rules::record(&rules::SLOW_CANCEL, message, last.history()));
            }
            last.wait(machine, LOOK);
            if machine.is_stopped() {
                return Err(Stopped);
            }
        }
    }
}

/// A call of a process' thread that has not returned.
pub(crate) struct Active<'a>(&'a AtomicUsize);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Process {
    /// The process identifier.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.shared.id
    }

    /// Opens a device, as `CreateFileW` with `GENERIC_READ | GENERIC_WRITE` and `FILE_FLAG_OVERLAPPED` does.
    ///
    /// # Errors
    /// What the name, the device's security descriptor or the driver's `IRP_MJ_CREATE` answers;
    /// `STATUS_UNEXPECTED_IO_ERROR` when the machine has stopped.
    pub fn open(&self, name: &str) -> Result<Handle, NtStatus> {
        let Some(_active) = self.shared.begin() else { return Err(NtStatus::PROCESS_IS_TERMINATING) };
        let file = self
            .machine
            .run(|| file::open(&machine::current(), &self.shared.context(), name))
            .map_err(|_| NtStatus::UNEXPECTED_IO_ERROR)??;
        Ok(self.add(file))
    }

    fn add(&self, file: Arc<File>) -> Handle {
        let shared = Arc::new(HandleShared { file, process: Arc::clone(&self.shared), open: Mutex::new(true) });
        self.shared.handles.lock().push(Arc::clone(&shared));
        Handle { machine: self.machine.clone(), shared }
    }

    /// Ends the process in good order: what is pending is cancelled and awaited, then handles are closed.
    pub fn exit(&self) {
        self.machine.inner.processes.lock().retain(|process| !Arc::ptr_eq(process, &self.shared));
        // What was broken is in the machine's report.
        let _ = self.machine.run(|| self.shared.end(&self.machine.inner));
    }

    /// Ends the calling thread, as a thread of the process: what it has issued and is pending is cancelled and awaited.
    pub fn exit_thread(&self) {
        let handles = self.shared.handles.lock().clone();
        // What was broken is in the machine's report.
        let _ = self.machine.run(|| self.shared.end_requests(&self.machine.inner, &handles, request::of_this_thread));
    }

    /// Ends the process from outside, whatever its threads do. For the driver it is the same as [`Process::exit`].
    pub fn kill(&self) {
        self.exit();
    }
}

impl Handle {
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.shared.file
    }

    pub(crate) fn process(&self) -> &Arc<Shared> {
        &self.shared.process
    }

    /// `ObReferenceObjectByHandle`: refers to the file object that the handle names, so that a close can't take it away; false when
    /// the handle is closed.
    pub(crate) fn refer(&self) -> bool {
        let open = self.shared.open.lock();
        if *open {
            self.machine.inner.reference(self.file().object as PVOID);
        }
        *open
    }

    /// `CancelIoEx` for all requests of the process on the file; how many there were.
    #[must_use = "zero means ERROR_NOT_FOUND"]
    pub fn cancel_all(&self) -> usize {
        self.cancel_each(&request::of_process(self.file(), self.process().id))
    }

    /// `CancelIo`: for those requests of the process on the file that the calling thread has issued; how many there were.
    #[must_use = "zero means that there were none"]
    pub fn cancel_own(&self) -> usize {
        self.cancel_each(&request::of_this_thread(self.file(), self.process().id))
    }

    fn cancel_each(&self, requests: &[Arc<request::Shared>]) -> usize {
        let cancel =
            |request: &Arc<request::Shared>| self.machine.run(|| request.cancel(&self.machine.inner)).unwrap_or(false);
        requests.iter().filter(|request| cancel(request)).count()
    }

    /// `CloseHandle`. The last handle of a file sends `IRP_MJ_CLEANUP`; `IRP_MJ_CLOSE` follows when no IRP refers to it.
    #[must_use]
    pub fn close(&self) -> NtStatus {
        if !self.shared.shut() {
            return NtStatus::INVALID_HANDLE;
        }
        self.process().handles.lock().retain(|handle| !Arc::ptr_eq(handle, &self.shared));
        let context = self.process().context();
        match self.machine.run(|| file::close_handle(&self.machine.inner, &context, self.file())) {
            Ok(()) => NtStatus::SUCCESS,
            Err(_) => NtStatus::UNEXPECTED_IO_ERROR,
        }
    }

    /// `DuplicateHandle`: another handle to the same file, in the process `into`.
    #[must_use]
    pub fn duplicate(&self, into: &Process) -> Self {
        self.file().handles.fetch_add(1, Ordering::AcqRel);
        into.add(Arc::clone(self.file()))
    }
}

impl Shared {
    /// The process identifier.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether the process ends: it can start nothing new.
    pub(crate) fn is_exiting(&self) -> bool {
        self.exiting.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("complete", &self.is_complete()).finish()
    }
}

extern "win64" fn current_process() -> PVOID {
    let process = this().process.get();
    if process.is_null() { machine::current().system_process().0 } else { process }
}

extern "win64" fn current_process_id() -> usize {
    machine::current().process_id(current_process())
}

extern "win64" fn process_id(process: PVOID) -> usize {
    machine::current().process_id(process)
}

/// The process of an IRP's thread, null if it has none.
fn requestor(irp: &IRP) -> PVOID {
    let machine = machine::current();
    match irp.Thread.get() {
        thread if thread.is_null() => std::ptr::null_mut(),
        thread => {
            let header = machine.require_object(thread, Some(Kind::Thread), "Irp->Tail.Overlay.Thread");
            header.context.load(Ordering::Acquire) as PVOID
        }
    }
}

extern "win64" fn requestor_process(irp: &IRP) -> PVOID {
    irp::history(irp, "IoGetRequestorProcess by", this().caller.get());
    requestor(irp)
}

extern "win64" fn requestor_process_id(irp: &IRP) -> u32 {
    let process = requestor(irp);
    let id = if process.is_null() { 0 } else { machine::current().process_id(process) };
    u32::try_from(id).unwrap_or(0)
}

extern "win64" fn current_thread() -> PVOID {
    let thread = this().object.get();
    if thread.is_null() { machine::current().system_process().1 } else { thread }
}

extern "win64" fn current_thread_id() -> usize {
    this().shared().tid.load(Ordering::Relaxed).cast_unsigned() as usize
}

extern "win64" fn terminate_current_process() -> i32 {
    or_escape(Err(rules::record(&rules::BUG_CHECK, "a driver ended the System process", Vec::new())))
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: PsGetCurrentProcess => current_process, IoGetCurrentProcess => current_process,
            PsGetCurrentProcessId => current_process_id, PsGetProcessId => process_id,
            PsGetCurrentThread => current_thread, KeGetCurrentThread => current_thread,
            PsGetCurrentThreadId => current_thread_id;
        DISPATCH: IoGetRequestorProcess => requestor_process, IoGetRequestorProcessId => requestor_process_id;
        PASSIVE: ZwTerminateProcess => terminate_current_process;
    ]
}
