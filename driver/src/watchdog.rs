//! The watchdog: names what the driver has waited for, for more than a second (contract: X-2).
//!
//! Whatever begins to wait calls [`Watchdog::watch`]. That sets a periodic timer, unless it is set; each second its DPC has the worker
//! look around, which cancels it when nothing waits any more. So a driver that waits for nothing has no timer. While the worker itself
//! waits in WSK the DPC speaks for it.

use crate::clock;
use crate::driver::Driver;
use crate::outstanding::{self, Wait};
use crate::trace;
use crate::worker::Work;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wdk_sys::{KDPC, KTIMER, LARGE_INTEGER, ntddk};
use wsk::{Passive, Running};

/// How long a wait may last before it is named, and between two looks: a second, in units of 100 nanoseconds.
const INTERVAL: i64 = 10_000_000;
/// The same, in milliseconds.
const PERIOD: i32 = 1000;

/// Part of the driver's state, nonpaged, and it does not move.
///
/// # Invariants
/// - `timer` and `dpc` are initialised from [`initialize`](Self::initialize) on. While `armed` is set the timer is set, but for the
///   moment in which whoever has set the mark sets it, or the worker that has cancelled it takes the mark back.
pub struct Watchdog {
    work: Work,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    armed: AtomicBool,
    stopped: AtomicBool,
    long_waits: AtomicU64,
}

// SAFETY: timer and DPC are made for any thread; the rest is synchronised.
unsafe impl Sync for Watchdog {}

impl Watchdog {
    /// Nothing is watched, and nothing can be: see [`initialize`](Self::initialize).
    pub const fn new() -> Self {
        Self {
            work: Work::new(run),
            // SAFETY: a KTIMER is plain data.
            timer: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            // SAFETY: a KDPC is plain data.
            dpc: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            armed: AtomicBool::new(false),
            stopped: AtomicBool::new(true),
            long_waits: AtomicU64::new(0),
        }
    }

    /// Makes it ready, where it will stay.
    fn initialize(&self) {
        // SAFETY: nonpaged, and it stays where it is (the type's terms).
        unsafe { ntddk::KeInitializeTimer(self.timer.get()) };
        let context = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: nonpaged, and it stays where it is; the routine is right for the context.
        unsafe { ntddk::KeInitializeDpc(self.dpc.get(), Some(look), context) };
        self.stopped.store(false, Ordering::Release);
    }

    /// Something begins to wait. `<= DISPATCH_LEVEL`.
    pub fn watch(&self) {
        if !self.armed.load(Ordering::Relaxed) && !self.armed.swap(true, Ordering::AcqRel) {
            self.set_timer();
        }
    }

    fn set_timer(&self) {
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        let due = LARGE_INTEGER { QuadPart: -INTERVAL };
        // It is not set: stock Wine's KeSetTimer would wait for a DPC that is under way, with a lock held that KeSetEvent needs.
        // SAFETY: initialised: not stopped.
        let _was_set = unsafe { ntddk::KeSetTimerEx(self.timer.get(), due, PERIOD, self.dpc.get()) };
    }

    /// Waits that have lasted for more than a second, as far as they were noticed.
    pub fn long_waits(&self) -> u64 {
        self.long_waits.load(Ordering::Relaxed)
    }

    /// Names a wait that lasts, once.
    fn consider(&self, wait: &Wait<'_>, process: u32, now: u64) {
        let lasts = now.saturating_sub(wait.since) > INTERVAL.unsigned_abs();
        if lasts && !wait.noted.swap(true, Ordering::Relaxed) {
            self.long_waits.fetch_add(1, Ordering::Relaxed);
            trace::long_wait(wait, process, now);
        }
    }

    /// The worker looks around.
    fn look_around(&self, driver: &Driver) {
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        if self.somebody_waits(driver) {
            return;
        }
        // SAFETY: initialised: not stopped.
        let _was_set = unsafe { ntddk::KeCancelTimer(self.timer.get()) };
        // What begins to wait from here on sets the timer itself; what began before is seen now.
        self.armed.store(false, Ordering::Release);
        if self.somebody_waits(driver) {
            self.watch();
        }
    }

    /// Whether anything waits; names what lasts.
    fn somebody_waits(&self, driver: &Driver) -> bool {
        let now = clock::now();
        let mut waiting = false;
        outstanding::waits(driver, |wait, process| {
            waiting = true;
            self.consider(wait, process, now);
        });
        waiting
    }
}

/// The running watchdog. Dropping it, in `DriverEntry` or `DriverUnload`, stops it.
///
/// # Invariants
/// - The pointer is to the watchdog of the driver's state, initialised.
pub struct Watching(NonNull<Watchdog>);

// SAFETY: a watchdog belongs to no thread.
unsafe impl Send for Watching {}

impl Watching {
    /// Starts to watch.
    ///
    /// # Safety
    /// The driver's state stays where it is until the value is dropped.
    pub unsafe fn start(driver: &'static Driver, _: Passive) -> Self {
        driver.watchdog.initialize();
        // INVARIANT: initialised just now.
        Self(NonNull::from(&driver.watchdog))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // SAFETY: the state is there (invariant).
        let watchdog = unsafe { self.0.as_ref() };
        watchdog.stopped.store(true, Ordering::Release);
        // Nobody sets the timer any more: no handle is open, and the worker has ended.
        // SAFETY: initialised (invariant).
        let _was_set = unsafe { ntddk::KeCancelTimer(watchdog.timer.get()) };
        // SAFETY: PASSIVE_LEVEL, by the type's terms.
        unsafe { ntddk::KeFlushQueuedDpcs() };
    }
}

/// A second is over. At `DISPATCH_LEVEL`.
unsafe extern "C" fn look(_dpc: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    let _running = Running::enter(context);
    // SAFETY: the watchdog, by `initialize`.
    let watchdog: NonNull<Watchdog> = unsafe { NonNull::new_unchecked(context.cast()) };
    let driver = driver_of(watchdog);
    // SAFETY: it stays until after the last DPC.
    let watchdog = unsafe { watchdog.as_ref() };
    if let Some(wait) = driver.subsystem.wait() {
        // The worker may not come by for long.
        watchdog.consider(&wait, 0, clock::now());
    }
    driver.worker.queue(&watchdog.work, || ());
}

/// The worker's run for the watchdog. Nothing was given up for it: the driver's state outlives the worker.
unsafe fn run(work: NonNull<Work>, _: Passive) {
    // SAFETY: the place is built into the watchdog.
    let watchdog: NonNull<Watchdog> = unsafe { work.byte_sub(core::mem::offset_of!(Watchdog, work)) }.cast();
    // SAFETY: the state is there as long as the worker.
    unsafe { watchdog.as_ref() }.look_around(driver_of(watchdog));
}

/// The state that the watchdog is built into.
const fn driver_of(watchdog: NonNull<Watchdog>) -> &'static Driver {
    // SAFETY: the only watchdog is the state's.
    let driver: NonNull<Driver> = unsafe { watchdog.byte_sub(core::mem::offset_of!(Driver, watchdog)) }.cast();
    // SAFETY: the state is there as long as its watchdog is used.
    unsafe { driver.as_ref() }
}
