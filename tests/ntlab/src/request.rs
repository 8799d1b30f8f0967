//! Requests: `DeviceIoControl` as a process sees it, from its buffers to its completion.
//!
//! Models "Buffer Descriptions for I/O Control Codes", "Defining I/O Control Codes" and `CancelIoEx`.

mod buffers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::buffers::{Buffers, METHOD_BUFFERED, METHOD_IN_DIRECT, METHOD_NEITHER, METHOD_OUT_DIRECT};
use crate::call::{self, Stopped};
use crate::chaos::Fate;
use crate::file::{File, LOOK};
use crate::irp::{self, Owner};
use crate::machine::{self, Inner, Machine};
use crate::nt::{
    DEVICE_OBJECT, DO_BUFFERED_IO, DO_DIRECT_IO, IO_STACK_LOCATION, IRP, IRP_MJ_DEVICE_CONTROL, IRP_MJ_READ,
    IRP_MJ_WRITE, PVOID,
};
use crate::process::Handle;
use crate::status::NtStatus;
use crate::turns::Sleeper;

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The status.
    pub status: NtStatus,
    /// Usually the number of bytes.
    pub information: usize,
    /// The output buffer: what Windows copies back for `METHOD_BUFFERED`, as much of the memory as `information` says for
    /// `METHOD_OUT_DIRECT`, all of the memory for `METHOD_IN_DIRECT` and `METHOD_NEITHER`.
    pub output: Vec<u8>,
}

/// A `DeviceIoControl` with every choice open.
#[derive(Debug, Clone, Default)]
pub struct RawIoctl {
    /// The control code; its two lowest bits are the method.
    pub code: u32,
    /// The input buffer; none is a null pointer, whatever the length says.
    pub input: Option<Vec<u8>>,
    /// `nInBufferSize`, at most the length of `input` unless that is none.
    pub input_length: u32,
    /// The output buffer; none is a null pointer, whatever the length says.
    pub output: Option<Vec<u8>>,
    /// `nOutBufferSize`, at most the length of `output` unless that is none.
    pub output_length: u32,
}

impl RawIoctl {
    /// One whose lengths are those of its buffers.
    fn of(code: u32, input: &[u8], output: Vec<u8>) -> Self {
        let (input_length, output_length) = (length(input), length(&output));
        Self { code, input: Some(input.to_vec()), input_length, output: Some(output), output_length }
    }
}

/// What a process asks a device for.
enum Asked {
    Control(RawIoctl),
    Read { length: u32, offset: i64 },
    Write { data: Vec<u8>, offset: i64 },
}

impl Asked {
    fn major(&self) -> u8 {
        match self {
            Self::Control(_) => IRP_MJ_DEVICE_CONTROL,
            Self::Read { .. } => IRP_MJ_READ,
            Self::Write { .. } => IRP_MJ_WRITE,
        }
    }

    /// Fills the location's `Parameters`, except the pointer of `METHOD_NEITHER`.
    fn describe(&self, stack: &IO_STACK_LOCATION) {
        match self {
            Self::Control(raw) => {
                stack.set_device_io_control(raw.code, raw.input_length, raw.output_length, std::ptr::null_mut());
            }
            Self::Read { length, offset } => {
                stack.Parameters.set([*length as usize, 0, slot(*offset), 0]);
            }
            Self::Write { data, offset } => {
                stack.Parameters.set([data.len(), 0, slot(*offset), 0]);
            }
        }
    }

    /// The buffers, with the method that the device's flags ask for.
    fn into_buffers(self, flags: u32) -> RawIoctl {
        let method = |direct| match flags & (DO_BUFFERED_IO | DO_DIRECT_IO) {
            0 => METHOD_NEITHER,
            DO_DIRECT_IO => direct,
            _ => METHOD_BUFFERED,
        };
        match self {
            Self::Control(raw) => raw,
            Self::Read { length, .. } => RawIoctl {
                code: method(METHOD_OUT_DIRECT),
                output: Some(vec![0; length as usize]),
                output_length: length,
                ..RawIoctl::default()
            },
            Self::Write { data, .. } => {
                let (code, length) = (method(METHOD_IN_DIRECT), length(&data));
                if code == METHOD_BUFFERED {
                    let (input, input_length) = (Some(data), length);
                    return RawIoctl { code, input, input_length, output: None, output_length: length };
                }
                RawIoctl { code, output: Some(data), output_length: length, ..RawIoctl::default() }
            }
        }
    }
}

/// A 64-bit parameter as it lies in a location.
fn slot(value: i64) -> usize {
    usize::from_le_bytes(value.to_le_bytes())
}

/// The part of a request that its IRP and its file refer to.
pub(crate) struct Shared {
    /// The IRP, as long as it is not completed.
    irp: Mutex<Option<usize>>,
    file: Arc<File>,
    /// Place among the file's requests; changed under their lock.
    index: AtomicUsize,
    process: u32,
    /// The host's thread that stands for the one that issued it.
    thread: ThreadId,
    buffers: Mutex<Buffers>,
    complete: AtomicBool,
    completion: Mutex<Option<Completion>>,
    done: Condvar,
    sleeper: Sleeper,
    /// Told once, at the completion.
    observer: Mutex<Option<Observer>>,
}

/// What is run at a request's completion, in whatever thread completes it.
type Observer = Box<dyn FnOnce() + Send>;

/// An overlapped request. Dropping it does not cancel it.
#[must_use = "a request that nobody waits for may still be pending"]
pub struct Request {
    machine: Machine,
    shared: Arc<Shared>,
}

/// Pending requests of one process on a file.
pub(crate) fn of_process(file: &File, process: u32) -> Vec<Arc<Shared>> {
    file.requests.lock().iter().filter(|request| request.process == process).cloned().collect()
}

/// Of those, the ones that the calling thread has issued.
pub(crate) fn of_this_thread(file: &File, process: u32) -> Vec<Arc<Shared>> {
    let mut requests = of_process(file, process);
    requests.retain(|request| request.thread == thread::current().id());
    requests
}

impl Handle {
    /// An overlapped `DeviceIoControl`. `output` is the output buffer; for the direct methods, the memory that the MDL
    /// describes (for `METHOD_IN_DIRECT` what it holds is the data to send). Returns when the dispatch routine has.
    pub fn ioctl(&self, code: u32, input: &[u8], output: Vec<u8>) -> Request {
        self.ioctl_raw(RawIoctl::of(code, input, output))
    }

    /// As [`Handle::ioctl`], with lengths and null buffers as given.
    pub fn ioctl_raw(&self, raw: RawIoctl) -> Request {
        self.ask(Asked::Control(raw), None)
    }

    /// As [`Handle::ioctl`], of a request that another thread of the process cancels (`CancelIoEx`) before the driver gets it: its
    /// `Cancel` is set, and there was no cancel routine to call.
    pub fn ioctl_cancelled(&self, code: u32, input: &[u8], output: Vec<u8>) -> Request {
        self.ask(Asked::Control(RawIoctl::of(code, input, output)), Some(Fate::CancelledBefore))
    }

    /// An overlapped `ReadFile` of `length` bytes at `offset`, in the way that the device's flags ask for.
    pub fn read(&self, length: u32, offset: i64) -> Request {
        self.ask(Asked::Read { length, offset }, None)
    }

    /// An overlapped `WriteFile` of `data` at `offset`, in the way that the device's flags ask for.
    pub fn write(&self, data: &[u8], offset: i64) -> Request {
        self.ask(Asked::Write { data: data.to_vec(), offset }, None)
    }

    /// What befalls the request is the seed's choice, unless it is given.
    fn ask(&self, asked: Asked, fate: Option<Fate>) -> Request {
        let shared = Arc::new(Shared {
            irp: Mutex::new(None),
            file: Arc::clone(self.file()),
            index: AtomicUsize::new(0),
            process: self.process().id(),
            thread: thread::current().id(),
            buffers: Mutex::default(),
            complete: AtomicBool::new(false),
            completion: Mutex::new(None),
            done: Condvar::new(),
            sleeper: Sleeper::default(),
            observer: Mutex::new(None),
        });
        if let Some(active) = self.process().begin().filter(|_| self.refer()) {
            // What was broken is in the machine's report; the request never ends.
            let _ = self.machine().run(|| {
                let machine = machine::current();
                let fate = fate.unwrap_or_else(|| machine.fate());
                self.send(&shared, asked, fate)?;
                drop(active);
                machine.strike_after(fate, &shared, self.process())
            });
        } else {
            shared.end(Completion { status: NtStatus::INVALID_HANDLE, information: 0, output: Vec::new() });
        }
        Request { machine: self.machine().clone(), shared }
    }

    /// Sends the IRP, which takes over the reference to the file object: the handle may be closed meanwhile.
    fn send(&self, shared: &Arc<Shared>, asked: Asked, fate: Fate) -> Result<(), Stopped> {
        let machine = machine::current();
        let context = self.process().context();
        let device = self.file().device as *mut DEVICE_OBJECT;
        // SAFETY: the file object, which is referred to, holds a reference to the device.
        let body = unsafe { &*device };
        let (stack_size, flags, major) = (body.StackSize.get(), body.Flags.get(), asked.major());
        let reference = Arc::into_raw(Arc::clone(shared)) as usize;
        let pointer = irp::allocate(stack_size, Owner::Manager, Some((finish, reference)));
        assert!(!pointer.is_null(), "memory for an IRP");
        // SAFETY: the IRP is new.
        let irp = unsafe { &*pointer };
        irp.RequestorMode.set(1);
        irp.Thread.set(context.thread);
        irp.OriginalFileObject.set(self.file().object as *mut _);
        // SAFETY: the IRP has at least one location.
        let stack = unsafe { &*irp.next() };
        stack.MajorFunction.set(major);
        stack.FileObject.set(self.file().object as *mut _);
        asked.describe(stack);
        let mut buffers = Buffers::prepare(&machine, irp, asked.into_buffers(flags), context.process);
        buffers.write = major == IRP_MJ_WRITE;
        if let Some(input) = buffers.user_input().filter(|_| major == IRP_MJ_DEVICE_CONTROL) {
            let [output_length, input_length, code, _] = stack.Parameters.get();
            stack.Parameters.set([output_length, input_length, code, input]);
        }
        *shared.buffers.lock() = buffers;
        *shared.irp.lock() = Some(pointer as usize);
        {
            let mut requests = self.file().requests.lock();
            shared.index.store(requests.len(), Ordering::Relaxed);
            requests.push(Arc::clone(shared));
        }
        match fate {
            Fate::CancelledBefore => drop(irp::cancel(pointer, 0)?),
            fate => machine.strike_meanwhile(fate, shared, self.process()),
        }
        machine.bounded(irp::name_of(major), || context.enter(|| irp::call_driver(device, pointer)))?;
        Ok(())
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("buffers of less than 4 GiB")
}

/// The I/O manager's end of a completion: data back to the process, buffers freed, the process told.
fn finish(irp: &IRP, context: usize) -> Result<(), Stopped> {
    // SAFETY: `send` gave this reference to the IRP.
    let shared = unsafe { Arc::from_raw(context as *const Shared) };
    let machine = machine::current();
    shared.irp.lock().take();
    let result = irp.IoStatus.get();
    let (status, information) = (NtStatus(result.Status), result.Information);
    let buffers = std::mem::take(&mut *shared.buffers.lock());
    let output = buffers.end(&machine, irp, status, information)?;
    {
        let mut requests = shared.file.requests.lock();
        let index = shared.index.load(Ordering::Relaxed);
        requests.swap_remove(index);
        if let Some(moved) = requests.get(index) {
            moved.index.store(index, Ordering::Relaxed);
        }
    }
    let file = shared.file.object;
    shared.end(Completion { status, information, output });
    machine.dereference(file as PVOID)
}

impl Shared {
    fn end(&self, completion: Completion) {
        *self.completion.lock() = Some(completion);
        self.complete.store(true, Ordering::Release);
        self.sleeper.wake();
        self.done.notify_all();
        self.tell();
    }

    /// Runs the observer, if there is one: the first to come after the completion has it.
    fn tell(&self) {
        let observer = self.observer.lock().take();
        if let Some(observer) = observer {
            observer();
        }
    }

    /// Cancels the request if it is pending; whether it was.
    pub(crate) fn cancel(&self, machine: &Inner) -> Result<bool, Stopped> {
        let irp = {
            let irp = self.irp.lock();
            let Some(irp) = *irp else { return Ok(false) };
            Inner::hold_body(irp as *const IRP);
            irp as *mut IRP
        };
        irp::cancel(irp, 0)?;
        machine.release_body(irp);
        Ok(true)
    }

    /// Waits a while for the end.
    pub(crate) fn wait(&self, machine: &Inner, timeout: Duration) -> bool {
        let since = Instant::now();
        if self.completion.lock().is_some() {
            return true;
        }
        machine.sleep_until(&self.sleeper, || {
            let mut completion = self.completion.lock();
            while completion.is_none() {
                let left = timeout.saturating_sub(since.elapsed());
                if left.is_zero() || machine.is_stopped() {
                    return false;
                }
                self.done.wait_for(&mut completion, left.min(LOOK));
            }
            true
        })
    }

    /// What has happened to the request's IRP.
    pub(crate) fn history(&self) -> Vec<String> {
        self.irp.lock().map_or_else(Vec::new, |irp| irp::events(irp as *const IRP))
    }
}

impl Request {
    /// Whether the request is completed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.shared.complete.load(Ordering::Acquire)
    }

    /// Waits for the completion; none when `timeout` is over, or the machine has stopped.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Completion> {
        self.shared.wait(&self.machine.inner, timeout);
        self.shared.completion.lock().clone()
    }

    /// Has `observer` run once the request is completed: by the thread that completes it, or by this one if it is already. It may
    /// neither wait nor call the machine. One that was set before and has not run is forgotten.
    pub fn on_completion(&self, observer: impl FnOnce() + Send + 'static) {
        *self.shared.observer.lock() = Some(Box::new(observer));
        if self.is_complete() {
            self.shared.tell();
        }
    }

    /// `CancelIoEx` for this request; false is `ERROR_NOT_FOUND`: it is completed already.
    #[must_use]
    pub fn cancel(&self) -> bool {
        self.machine.run(|| self.shared.cancel(&self.machine.inner)).unwrap_or(false)
    }

    /// Waits for the completion as long as the machine tolerates hanging drivers, and takes it.
    ///
    /// # Panics
    /// When it does not come: the message is the violation, or the history of the IRP.
    #[must_use]
    pub fn take(self) -> Completion {
        self.shared.wait(&self.machine.inner, self.machine.inner.options.hang);
        let completion = self.shared.completion.lock().take();
        completion.unwrap_or_else(|| {
            let violations = self.machine.violations();
            let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let history = call::guard(&self.machine.inner, || self.shared.history()).unwrap_or_default();
            panic!("the request is not completed\n{}\n{}", text.join("\n"), history.join("\n"))
        })
    }
}
