//! A machine: everything that one run of drivers has, and its end.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::call::{self, Stopped};
use crate::chaos::Chaos;
use crate::rules::{Rule, Violation};
use crate::thread::this;
use crate::ticks;
use crate::unwind::{Code, Stacks};
use crate::{
    device, dispatcher, driver, etw, fault, ip_helper, irp, locks, nt, objects, paged, pool, process, rules, services,
    symbols, system_thread, timer, turns, watchdog, work, wsk,
};

/// How a machine is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the machine's choices come from: the same seed gives the same choices.
    pub seed: u64,
    /// How long a dispatch routine, an unload or a cancelled request may take.
    pub hang: Duration,
    /// Whether pool blocks end against inaccessible pages, as long as there are few enough of them.
    pub special_pool: bool,
    /// How many blocks may have such pages at once: each costs the host two mappings, of which a process has `vm.max_map_count`. Further
    /// ones are checked by patterns, at free and at reuse; the report counts them.
    pub special_blocks: usize,
    /// The allocation (of pool, an IRP, an MDL, a work item), counted from 0, that fails.
    pub fail_allocation: Option<u64>,
    /// What goes differently than usual, from the seed.
    pub chaos: Chaos,
    /// The build of the Windows version that drivers are for: what came later cannot be imported.
    pub windows: u32,
}

/// The build of Windows 10 version 2004.
const WINDOWS_10_2004: u32 = 19041;

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            hang: Duration::from_secs(30),
            special_pool: true,
            special_blocks: 12_000,
            fail_allocation: None,
            chaos: Chaos::default(),
            windows: WINDOWS_10_2004,
        }
    }
}

/// A small NT system. Clones are the same machine; when the last one goes, the machine is switched off.
#[derive(Clone)]
pub struct Machine {
    pub(crate) inner: Arc<Inner>,
    _power: Arc<Power>,
}

/// Switches the machine off when no test holds it any more: its threads hold `Inner`, not this.
struct Power(Arc<Inner>);

impl Drop for Power {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What the machine consists of.
pub(crate) struct Inner {
    me: Weak<Inner>,
    pub(crate) options: Options,
    stopped: AtomicBool,
    started: ticks::Start,
    violations: Mutex<Vec<Violation>>,
    /// Of all machines of this process: threads know by it whose random numbers they hold.
    pub(crate) number: u64,
    /// Points where another thread may come in between that were passed, when there are delays.
    pub(crate) points: AtomicU64,
    pub(crate) thread_names: Mutex<HashMap<&'static str, u64>>,
    allocations: AtomicU64,
    failed_allocation: Mutex<Option<u32>>,
    deepest_stack: AtomicUsize,
    output: Mutex<Vec<String>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Code of the loaded drivers, read by a signal handler.
    images: [Code; MOST_IMAGES],
    pub(crate) stacks: Stacks,
    drivers: Mutex<Vec<Arc<driver::Shared>>>,
    pub(crate) irps: irp::Slab,
    pub(crate) pool: pool::Pool,
    pub(crate) paged: paged::Paged,
    pub(crate) cancel_lock: nt::KSPIN_LOCK,
    pub(crate) lock_order: locks::Order,
    pub(crate) dispatcher: dispatcher::Dispatcher,
    pub(crate) clock: timer::Clock,
    pub(crate) workers: work::Workers,
    pub(crate) system_threads: system_thread::Threads,
    pub(crate) names: device::Names,
    pub(crate) handles: objects::Handles,
    pub(crate) processes: Mutex<Vec<Arc<process::Shared>>>,
    /// The System process and a thread of it.
    pub(crate) system: OnceLock<(usize, usize)>,
    pub(crate) services: services::State,
    pub(crate) etw: etw::State,
    pub(crate) ip_helper: ip_helper::State,
    pub(crate) wsk: wsk::State,
    pub(crate) turns: turns::Turns,
}

/// Images whose code can be told from other code.
const MOST_IMAGES: usize = 16;

/// The machine on whose behalf the calling thread runs. Valid as long as the thread does.
#[derive(Clone, Copy)]
pub(crate) struct Current(*const Inner);

impl Deref for Current {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        // SAFETY: who enters a machine keeps it until the thread has left it (`Thread::enter_machine`).
        unsafe { &*self.0 }
    }
}

impl Current {
    /// A reference that may be kept.
    pub(crate) fn share(self) -> Arc<Inner> {
        self.arc().expect("who entered the machine holds it")
    }
}

/// The machine on whose behalf the calling thread runs.
pub(crate) fn current() -> Current {
    let machine = this().machine.get();
    assert!(!machine.is_null(), "called outside of any machine");
    Current(machine)
}

impl Machine {
    /// A machine with nothing loaded.
    ///
    /// # Panics
    /// When the host refuses the addresses that it needs.
    #[must_use]
    pub fn new(options: Options) -> Self {
        fault::install();
        let inner = Arc::new_cyclic(|me| Inner {
            me: Weak::clone(me),
            number: Inner::next_number(),
            points: AtomicU64::new(0),
            thread_names: Mutex::default(),
            options,
            stopped: AtomicBool::new(false),
            started: ticks::Start::now(),
            violations: Mutex::default(),
            allocations: AtomicU64::new(0),
            failed_allocation: Mutex::default(),
            deepest_stack: AtomicUsize::new(0),
            output: Mutex::default(),
            threads: Mutex::default(),
            images: Default::default(),
            stacks: Stacks::default(),
            drivers: Mutex::default(),
            irps: irp::Slab::new(),
            pool: pool::Pool::new(),
            paged: paged::Paged::default(),
            cancel_lock: AtomicUsize::new(0),
            lock_order: locks::Order::default(),
            dispatcher: dispatcher::Dispatcher::default(),
            clock: timer::Clock::default(),
            workers: work::Workers::default(),
            system_threads: system_thread::Threads::default(),
            names: device::Names::default(),
            handles: objects::Handles::default(),
            processes: Mutex::default(),
            system: OnceLock::new(),
            services: services::State::default(),
            etw: etw::State::default(),
            ip_helper: ip_helper::State::default(),
            wsk: wsk::State::default(),
            turns: turns::Turns::default(),
        });
        watchdog::watch(&inner);
        Self { _power: Arc::new(Power(Arc::clone(&inner))), inner }
    }

    /// The rules broken so far. The first one stopped the machine.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.inner.violations()
    }
}

impl Inner {
    /// Whether the machine has stopped: by a violation or because it was switched off.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Stops the machine: its threads leave at their next call, sleeping ones are woken.
    pub(crate) fn stop(&self) {
        if self.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        self.dispatcher.wake();
        self.clock.wake();
        self.workers.wake();
        self.wsk.stop();
        self.stop_turns();
    }

    /// The machine's own `Arc`; none when it is being dropped.
    pub(crate) fn arc(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    /// Notes a violation and stops the machine.
    pub(crate) fn violated(&self, violation: Violation) -> Stopped {
        self.violations.lock().push(violation);
        self.stop();
        Stopped
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.violations.lock().clone()
    }

    /// How long the machine has existed.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long it had existed at a time that [`ticks::now`] gave.
    pub(crate) fn age_at(&self, ticks: u64) -> Duration {
        self.started.age_at(ticks)
    }

    /// Whether the allocation that is asked for now is the one that fails.
    pub(crate) fn fails_allocation(&self) -> bool {
        let index = self.allocations.fetch_add(1, Ordering::Relaxed);
        let fails = self.options.fail_allocation == Some(index);
        if fails {
            *self.failed_allocation.lock() = Some(self.note_stack());
        }
        fails
    }

    /// The stack of the allocation that failed on purpose, if it was reached.
    pub(crate) fn failed_allocation(&self) -> Option<Vec<String>> {
        let number = (*self.failed_allocation.lock())?;
        Some(self.describe_stack(number))
    }

    /// Notes how much stack a driver uses; true when a kernel stack has less.
    pub(crate) fn uses_stack(&self, used: usize) -> bool {
        const KERNEL_STACK: usize = 24 << 10;
        if used > self.deepest_stack.load(Ordering::Relaxed) {
            self.deepest_stack.fetch_max(used, Ordering::Relaxed);
        }
        used > KERNEL_STACK
    }

    /// The most stack that a driver was seen to use, in bytes.
    pub(crate) fn deepest_stack(&self) -> usize {
        self.deepest_stack.load(Ordering::Relaxed)
    }

    /// How many allocations were asked for.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Starts a thread of the lab that belongs to the machine. It may call driver code; a violation ends it.
    pub(crate) fn spawn(self: &Arc<Self>, name: &'static str, body: impl FnOnce() + Send + 'static) {
        let machine = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            this().name.set(name);
            let _ = call::guard(&machine, body);
        });
        self.threads.lock().push(thread.expect("a thread"));
    }

    /// Waits for the lab's threads, at most for a while: what hangs in code of its own is left behind.
    pub(crate) fn join(&self, bound: Duration) {
        let threads = std::mem::take(&mut *self.threads.lock());
        let since = Instant::now();
        for thread in threads {
            while !thread.is_finished() && since.elapsed() < bound {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() && thread.thread().id() != std::thread::current().id() {
                // A thread of the lab ends by returning; its panic has been printed.
                let _ = thread.join();
            }
        }
    }

    /// Runs `body`, which has to return within the bound for hanging drivers.
    pub(crate) fn bounded<R>(&self, what: &'static str, body: impl FnOnce() -> R) -> R {
        let shared = this().shared();
        let deadline = u64::try_from((self.age() + self.options.hang).as_millis()).unwrap_or(u64::MAX).max(1);
        let before = (
            shared.deadline.swap(deadline, Ordering::AcqRel),
            shared.what.swap(what.as_ptr().cast_mut(), Ordering::Relaxed),
            shared.what_length.swap(what.len(), Ordering::Relaxed),
        );
        let result = body();
        shared.what.store(before.1, Ordering::Relaxed);
        shared.what_length.store(before.2, Ordering::Relaxed);
        shared.deadline.store(before.0, Ordering::Release);
        result
    }

    /// Adds to what drivers have printed.
    pub(crate) fn print(&self, text: &str) {
        let mut output = self.output.lock();
        output.extend(text.lines().map(ToOwned::to_owned));
    }

    /// What drivers have printed.
    pub(crate) fn debug_output(&self) -> Vec<String> {
        self.output.lock().clone()
    }

    /// Knows a driver.
    pub(crate) fn add_driver(&self, driver: &Arc<driver::Shared>) {
        if let Some(image) = &driver.image
            && let Some(slot) = self.images.iter().find(|slot| slot.is_free())
        {
            slot.set(image.region.base(), image.region.size(), image.functions);
            for &(start, length, access) in &image.pageable {
                self.paged.add(start, length, access);
            }
        }
        self.drivers.lock().push(Arc::clone(driver));
    }

    /// Takes an image out of those whose code runs.
    pub(crate) fn forget_image(&self, base: usize) {
        for slot in &self.images {
            slot.forget(base);
        }
    }

    /// Every driver that was loaded.
    pub(crate) fn drivers(&self) -> Vec<Arc<driver::Shared>> {
        self.drivers.lock().clone()
    }

    /// Whether `address` is code of a loaded driver. Called by a signal handler.
    pub(crate) fn in_driver(&self, address: usize) -> bool {
        self.code_of(address).is_some()
    }

    /// The driver's code that `address` is in.
    pub(crate) fn code_of(&self, address: usize) -> Option<&Code> {
        self.images.iter().find(|code| code.contains(address))
    }

    /// A code address, for messages: by image and offset when it is in a driver.
    pub(crate) fn describe_code(&self, address: usize) -> String {
        let drivers = self.drivers.lock();
        for image in drivers.iter().filter_map(|driver| driver.image.as_ref()) {
            if image.region.contains(address) {
                return format!("{}+{:#x}", image.name, address - image.region.base());
            }
        }
        format!("{address:#x}")
    }

    /// A return address, for messages: 0 is the I/O manager's.
    pub(crate) fn describe_caller(&self, address: usize) -> String {
        match address {
            0 => "the I/O manager".to_owned(),
            _ if self.in_driver(address) || self.images.iter().all(Code::is_free) => self.describe_code(address),
            _ => "a routine that ended in a jump".to_owned(),
        }
    }

    /// The symbols of the machine's drivers.
    pub(crate) fn symbols(&self) -> symbols::Symbols {
        let drivers = self.drivers.lock();
        let images = drivers.iter().filter_map(|driver| driver.image.as_ref());
        symbols::Symbols::of(images.map(|image| (image.name.clone(), image.path.clone())))
    }

    /// What a fault at `address` hit: the rule, a description, a history.
    pub(crate) fn describe_fault(&self, address: usize) -> (&'static Rule, String, Vec<String>) {
        if let Some(found) = self.describe_paged(address).or_else(|| self.pool.describe_fault(address)) {
            return found;
        }
        if let Some(irp) = self.irps.slot_around(address) {
            let offset = address.wrapping_sub(irp as usize).cast_signed();
            return (&rules::ACCESS_VIOLATION, format!("offset {offset:#x} of an IRP"), irp::events(irp));
        }
        // What poisoned memory holds is no canonical address; the processor then reports none.
        let what = if self.in_driver(address) {
            format!("{}, whose protection forbids it", self.describe_code(address))
        } else if address == 0 {
            "a null pointer, or an address that cannot be (0xdd bytes: freed memory, 0xcd: uninitialized)".to_owned()
        } else {
            "no memory of the driver".to_owned()
        };
        (&rules::ACCESS_VIOLATION, what, Vec::new())
    }

    /// The driver's frames, the innermost first: unwound, or, where that leads nowhere, what looks like return addresses.
    pub(crate) fn stack(&self) -> Vec<String> {
        let frames = self.frames();
        if frames.as_slice().len() > 1 {
            return frames.as_slice().iter().map(|&address| self.describe_code(address)).collect();
        }
        self.search_stack()
    }

    /// Words on the stack, from the driver's last call up to where the lab called it, that may be return addresses.
    fn search_stack(&self) -> Vec<String> {
        const MOST: usize = 24;
        let (thread, mut lines) = (this(), Vec::new());
        let (from, to) = (thread.stack.get(), thread.stack_end());
        if thread.depth.get() == 0 || !from.is_multiple_of(8) || from == 0 || to <= from || to - from > 1 << 20 {
            return lines;
        }
        for at in (from..to).step_by(8) {
            // SAFETY: the range is part of this thread's stack: from a driver's frame to the recovery point above it.
            let word = unsafe { (at as *const usize).read_volatile() };
            if lines.len() < MOST && self.in_driver(word) && follows_call(word) {
                lines.push(self.describe_code(word));
            }
        }
        lines
    }
}

/// Whether the instruction before `address` is a call: what else lies on a stack is no return address.
fn follows_call(address: usize) -> bool {
    // What lies on a stack may point into sections that are discarded, or an image that is unloaded: no plain read.
    let mut before = [0_u8; 7];
    let local = libc::iovec { iov_base: before.as_mut_ptr().cast(), iov_len: before.len() };
    let remote = libc::iovec { iov_base: (address - before.len()) as *mut _, iov_len: before.len() };
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { libc::getpid() };
    // SAFETY: `local` is valid for writing; what is wrong with `remote` comes back as an error.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    if usize::try_from(read) != Ok(before.len()) {
        return false;
    }
    symbols::ends_in_call(before)
}
