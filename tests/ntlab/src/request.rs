//! Requests: `DeviceIoControl` as a process sees it, from its buffers to its completion.
//!
//! Models "Buffer Descriptions for I/O Control Codes", "Defining I/O Control Codes" and `CancelIoEx`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::call::{self, Stopped};
use crate::chaos::Fate;
use crate::file::{File, LOOK};
use crate::irp::{self, Owner};
use crate::machine::{self, Inner, Machine};
use crate::mdl;
use crate::nt::{
    DEVICE_OBJECT, DO_BUFFERED_IO, DO_DIRECT_IO, IO_STACK_LOCATION, IRP, IRP_MJ_DEVICE_CONTROL, IRP_MJ_READ,
    IRP_MJ_WRITE, PVOID,
};
use crate::pool::Kind;
use crate::process::Handle;
use crate::rules;
use crate::status::NtStatus;

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

const METHOD_BUFFERED: u32 = 0;
const METHOD_IN_DIRECT: u32 = 1;
const METHOD_OUT_DIRECT: u32 = 2;
const METHOD_NEITHER: u32 = 3;

/// Memory of a process that the driver reaches: in a pool block, so that going beyond it faults.
#[derive(Default)]
struct UserMemory {
    address: usize,
    length: usize,
    /// The memory itself when it is not in a pool block.
    own: Vec<u8>,
}

impl UserMemory {
    fn new(machine: &Inner, mut bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        if length == 0 || !machine.options.special_pool {
            return Self { address: bytes.as_mut_ptr() as usize, length, own: bytes };
        }
        let kind = Kind { zeroed: true, internal: true, ..Kind::default() };
        let block = machine.pool.allocate(length, u32::from_le_bytes(*b"User"), kind);
        assert!(!block.is_null(), "memory for a request");
        // SAFETY: the block is new and `length` long.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), block.cast(), length) };
        Self { address: block as usize, length, own: Vec::new() }
    }

    /// The bytes, at the end of the request.
    fn take(&mut self, machine: &Inner) -> Result<Vec<u8>, Stopped> {
        if !self.own.is_empty() || self.length == 0 {
            return Ok(std::mem::take(&mut self.own));
        }
        // SAFETY: the block is live and `length` long.
        let bytes = unsafe { std::slice::from_raw_parts(self.address as *const u8, self.length) }.to_vec();
        machine.pool.free_internal(self.address)?;
        Ok(bytes)
    }
}

/// What belongs to the IRP and goes at its end.
#[derive(Default)]
struct Buffers {
    method: u32,
    input: UserMemory,
    output: UserMemory,
    output_length: usize,
    system: usize,
    mdl: usize,
    /// `IRP_MJ_WRITE`: nothing comes back.
    write: bool,
    /// What the memory of `METHOD_IN_DIRECT` held, and must hold at the end.
    invariant: Vec<u8>,
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
        let (input_length, output_length) = (length(input), length(&output));
        self.ioctl_raw(RawIoctl {
            code,
            input: Some(input.to_vec()),
            input_length,
            output: Some(output),
            output_length,
        })
    }

    /// As [`Handle::ioctl`], with lengths and null buffers as given.
    pub fn ioctl_raw(&self, raw: RawIoctl) -> Request {
        self.ask(Asked::Control(raw))
    }

    /// An overlapped `ReadFile` of `length` bytes at `offset`, in the way that the device's flags ask for.
    pub fn read(&self, length: u32, offset: i64) -> Request {
        self.ask(Asked::Read { length, offset })
    }

    /// An overlapped `WriteFile` of `data` at `offset`, in the way that the device's flags ask for.
    pub fn write(&self, data: &[u8], offset: i64) -> Request {
        self.ask(Asked::Write { data: data.to_vec(), offset })
    }

    fn ask(&self, asked: Asked) -> Request {
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
            observer: Mutex::new(None),
        });
        if let Some(active) = self.process().begin().filter(|_| self.is_open()) {
            // What was broken is in the machine's report; the request never ends.
            let _ = self.machine().run(|| {
                let machine = machine::current();
                let fate = machine.fate();
                self.send(&shared, asked, fate)?;
                drop(active);
                machine.strike_after(fate, &shared, self.process())
            });
        } else {
            shared.end(Completion { status: NtStatus::INVALID_HANDLE, information: 0, output: Vec::new() });
        }
        Request { machine: self.machine().clone(), shared }
    }

    fn send(&self, shared: &Arc<Shared>, asked: Asked, fate: Fate) -> Result<(), Stopped> {
        let machine = machine::current();
        let context = self.process().context();
        let device = self.file().device as *mut DEVICE_OBJECT;
        // The handle may be closed meanwhile: the IRP has a reference of its own from the start.
        machine.reference(self.file().object as PVOID);
        // SAFETY: the file holds a reference to the device.
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
        let mut buffers = prepare(&machine, irp, asked.into_buffers(flags), context.process);
        buffers.write = major == IRP_MJ_WRITE;
        if major == IRP_MJ_DEVICE_CONTROL && buffers.method == METHOD_NEITHER {
            let [output_length, input_length, code, _] = stack.Parameters.get();
            stack.Parameters.set([output_length, input_length, code, buffers.input.address]);
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

/// Describes the buffers in the IRP as the method of the control code says.
fn prepare(machine: &Inner, irp: &IRP, raw: RawIoctl, process: PVOID) -> Buffers {
    let method = raw.code & 3;
    let (input_length, output_length) = (raw.input_length as usize, raw.output_length as usize);
    let input = raw.input.unwrap_or_default();
    let mut output = raw.output.unwrap_or_default();
    output.truncate(output_length);
    let mut buffers = Buffers { method, output_length, ..Buffers::default() };
    let system_length = match method {
        METHOD_BUFFERED => input_length.max(output_length),
        METHOD_NEITHER => 0,
        _ => input_length,
    };
    if system_length != 0 {
        let kind = Kind { zeroed: false, internal: true, ..Kind::default() };
        let system = machine.pool.allocate(system_length, u32::from_le_bytes(*b"IoSB"), kind);
        assert!(!system.is_null(), "memory for a system buffer");
        let given = input.len().min(input_length);
        // SAFETY: the block is new and at least `given` long.
        unsafe { std::ptr::copy_nonoverlapping(input.as_ptr(), system.cast(), given) };
        irp.SystemBuffer.set(system);
        buffers.system = system as usize;
    }
    match method {
        METHOD_BUFFERED => {
            buffers.output = UserMemory { length: 0, ..UserMemory::default() };
            irp.UserBuffer.set(std::ptr::null_mut());
        }
        METHOD_NEITHER => {
            buffers.input = UserMemory::new(machine, input);
            buffers.output = UserMemory::new(machine, output);
            irp.UserBuffer.set(buffers.output.address as PVOID);
        }
        _ => {
            if method == METHOD_IN_DIRECT {
                buffers.invariant.clone_from(&output);
            }
            buffers.output = UserMemory::new(machine, output);
            if buffers.output.length != 0 {
                let mdl = mdl::for_user_memory(machine, buffers.output.address, buffers.output.length, process);
                irp.MdlAddress.set(mdl);
                buffers.mdl = mdl as usize;
            }
        }
    }
    buffers
}

/// The I/O manager's end of a completion: data back to the process, buffers freed, the process told.
fn finish(irp: &IRP, context: usize) -> Result<(), Stopped> {
    // SAFETY: `send` gave this reference to the IRP.
    let shared = unsafe { Arc::from_raw(context as *const Shared) };
    let machine = machine::current();
    shared.irp.lock().take();
    let result = irp.IoStatus.get();
    let (status, information) = (NtStatus(result.Status), result.Information);
    let mut buffers = std::mem::take(&mut *shared.buffers.lock());
    let limit = buffers.output_length;
    if buffers.method != METHOD_NEITHER && !status.is_error() && information > limit {
        let message = format!("Information is {information}, the output buffer has {limit} bytes");
        return Err(rules::record(&rules::INFORMATION_BEYOND_BUFFER, message, irp::events(irp)));
    }
    let mut output = buffers.output.take(&machine)?;
    buffers.input.take(&machine)?;
    if buffers.method == METHOD_IN_DIRECT && output != buffers.invariant {
        let offset = output.iter().zip(&buffers.invariant).take_while(|(now, before)| now == before).count();
        let message = format!("the memory that the process passed to be read was modified at offset {offset}");
        return Err(rules::record(&rules::INVARIANT_MDL, message, irp::events(irp)));
    }
    if buffers.method == METHOD_BUFFERED && !status.is_error() && information != 0 {
        // SAFETY: the system buffer is at least as long as the output buffer, and `information` is no more.
        output = unsafe { std::slice::from_raw_parts(buffers.system as *const u8, information) }.to_vec();
    } else if buffers.method == METHOD_OUT_DIRECT {
        output.truncate(if status.is_error() { 0 } else { information });
    }
    if buffers.write {
        output.clear();
    }
    for block in [buffers.system, buffers.mdl] {
        if block != 0 {
            machine.pool.free_internal(block)?;
        }
    }
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
        let mut completion = self.completion.lock();
        while completion.is_none() {
            let left = timeout.saturating_sub(since.elapsed());
            if left.is_zero() || machine.is_stopped() {
                return false;
            }
            self.done.wait_for(&mut completion, left.min(LOOK));
        }
        true
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
