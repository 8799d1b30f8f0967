//! A machine: everything that one run of drivers has, and its end.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::call::{self, Stopped};
use crate::exports::Export;
use crate::rules::{Rule, Violation};
use crate::thread::this;
use crate::{fault, irp, locks, nt, rules, wsk};

/// How a machine is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the machine's choices come from: the same seed gives the same choices.
    pub seed: u64,
    /// How long a dispatch routine, an unload or a cancelled request may take.
    pub hang: Duration,
    /// Whether pool blocks end against inaccessible pages, as long as there are few enough of them.
    pub special_pool: bool,
    /// The allocation (of pool, an IRP, an MDL, a work item), counted from 0, that fails.
    pub fail_allocation: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, hang: Duration::from_secs(30), special_pool: true, fail_allocation: None }
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
    pub(crate) options: Options,
    stopped: AtomicBool,
    started: Instant,
    violations: Mutex<Vec<Violation>>,
    random: AtomicU64,
    allocations: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Code of the loaded drivers as (start, size), read by a signal handler.
    images: [(AtomicUsize, AtomicUsize); 8],
    pub(crate) irps: irp::Slab,
    pub(crate) cancel_lock: nt::KSPIN_LOCK,
    pub(crate) lock_order: locks::Order,
    pub(crate) wsk: wsk::State,
}

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
    #[expect(dead_code, reason = "for the providers of the lab")]
    pub(crate) fn share(&self) -> Arc<Inner> {
        // SAFETY: every `Inner` lives in an `Arc`, see `Machine::new`.
        unsafe { Arc::increment_strong_count(self.0) };
        // SAFETY: the count was raised for this one.
        unsafe { Arc::from_raw(self.0) }
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
        let inner = Arc::new(Inner {
            random: AtomicU64::new(options.seed ^ 0x9e37_79b9_7f4a_7c15),
            options,
            stopped: AtomicBool::new(false),
            started: Instant::now(),
            violations: Mutex::default(),
            allocations: AtomicU64::new(0),
            threads: Mutex::default(),
            images: Default::default(),
            irps: irp::Slab::new(),
            cancel_lock: AtomicUsize::new(0),
            lock_order: locks::Order::default(),
            wsk: wsk::State::default(),
        });
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
        self.stopped.store(true, Ordering::SeqCst);
        self.wsk.stop();
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

    /// The next number of the machine's random source (SplitMix64).
    pub(crate) fn random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether the allocation that is asked for now is the one that fails.
    pub(crate) fn fails_allocation(&self) -> bool {
        let index = self.allocations.fetch_add(1, Ordering::Relaxed);
        self.options.fail_allocation == Some(index)
    }

    /// Called at every call of an export.
    #[expect(clippy::unused_self, reason = "where chaos will act")]
    pub(crate) fn at_export(&self, _export: &Export) {}

    /// Starts a thread of the lab that belongs to the machine. It may call driver code; a violation ends it.
    pub(crate) fn spawn(self: &Arc<Self>, name: &str, body: impl FnOnce() + Send + 'static) {
        let machine = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ = call::guard(&machine, body);
        });
        self.threads.lock().push(thread.expect("a thread"));
    }

    /// Whether `address` is code of a loaded driver. Called by a signal handler.
    pub(crate) fn in_driver(&self, address: usize) -> bool {
        self.images
            .iter()
            .any(|(start, size)| address.wrapping_sub(start.load(Ordering::Relaxed)) < size.load(Ordering::Relaxed))
    }

    /// A code address, for messages.
    #[expect(clippy::unused_self, reason = "will name the image")]
    pub(crate) fn describe_code(&self, address: usize) -> String {
        format!("{address:#x}")
    }

    /// What a fault at `address` hit: the rule, a description, a history.
    #[expect(clippy::unused_self, reason = "will look into the pool")]
    pub(crate) fn describe_fault(&self, _address: usize) -> (&'static Rule, String, Vec<String>) {
        (&rules::ACCESS_VIOLATION, "no memory of the driver".to_owned(), Vec::new())
    }

    /// Return addresses into drivers on the stack between `from` and `to`.
    #[expect(clippy::unused_self, reason = "will know the images")]
    pub(crate) fn stack(&self, _from: usize, _to: usize) -> Vec<String> {
        Vec::new()
    }
}
