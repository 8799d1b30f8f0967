//! The driver's one thread: what must not be done in a completion routine, and what may block.
//!
//! It lives from `DriverEntry` to `DriverUnload`. Work is queued without memory: every client and every socket has its place in the
//! queue built in, and is run once for any number of requests that came before.

use crate::list::{Links, List};
use crate::lock::SpinLock;
use crate::nt;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use wdk_sys::{HANDLE, KEVENT, NTSTATUS, ntddk};
use wsk::Passive;

/// A place in the worker's queue, built into what the work is for.
///
/// # Invariants
/// - While `queued` is set, the place is in the queue, or is just being put there or taken out, and holds a reference to what it is
///   built into.
#[repr(C)]
pub struct Work {
    links: UnsafeCell<Links>,
    queued: AtomicBool,
    run: unsafe fn(NonNull<Work>, Passive),
}

// SAFETY: the links are used under the queue's lock.
unsafe impl Sync for Work {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Work {}

impl Work {
    /// Work that is done by `run`, which is called with this place and takes over the reference that it held.
    pub const fn new(run: unsafe fn(NonNull<Self>, Passive)) -> Self {
        Self { links: UnsafeCell::new(Links::new()), queued: AtomicBool::new(false), run }
    }
}

/// The worker's queue. It is part of the driver's state, nonpaged, and does not move.
pub struct Worker {
    queue: SpinLock<List>,
    wake: UnsafeCell<KEVENT>,
    stop: AtomicBool,
    busy: AtomicU32,
}

// SAFETY: the event is a dispatcher object, made for any thread; the rest is synchronised.
unsafe impl Sync for Worker {}

impl Worker {
    /// A queue whose event is not initialised yet: see [`initialize`](Self::initialize).
    pub const fn new() -> Self {
        // SAFETY: a KEVENT is plain data.
        let wake = UnsafeCell::new(unsafe { core::mem::zeroed() });
        Self { queue: SpinLock::new(List::new()), wake, stop: AtomicBool::new(false), busy: AtomicU32::new(0) }
    }

    /// Makes the queue ready, where it will stay.
    pub fn initialize(&self) {
        // SAFETY: nonpaged, and it stays where it is (the type's terms).
        unsafe { nt::initialize_event(self.wake.get()) };
    }

    /// Queues work, unless it is queued: then it will run after this call anyway. `<= DISPATCH_LEVEL`, with no lock held.
    ///
    /// `hold` gives a reference to what `work` is built into up, for the run to take over; it is called only if it is needed.
    pub fn queue(&self, work: &Work, hold: impl FnOnce()) {
        if work.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        hold();
        // SAFETY: a field of a live object is not null.
        let links = unsafe { NonNull::new_unchecked(work.links.get()) };
        // SAFETY: in no list, since it was not queued; alive by the reference that `hold` gave up.
        unsafe { self.queue.lock().push(links) };
        self.wake();
    }

    /// Something is up that will need the worker until [`release`](Self::release): it does not end before. Called on the worker.
    pub fn keep(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// See [`keep`](Self::keep). Called on the worker.
    pub fn release(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        // SAFETY: initialised; does not wait.
        unsafe { ntddk::KeSetEvent(self.wake.get(), 0, 0) };
    }

    /// Runs work until told to stop, and then until nothing needs it any more.
    fn run(&self, passive: Passive) {
        loop {
            // Read before the queue is emptied: work that was queued before the stop is run.
            let stop = self.stop.load(Ordering::Acquire);
            self.run_queued(passive);
            if stop && self.busy.load(Ordering::Relaxed) == 0 {
                return;
            }
            // The idle worker's wait. Whoever queues work, and the unload, ends it.
            // SAFETY: PASSIVE_LEVEL by the token; initialised.
            unsafe { nt::wait(self.wake.get().cast()) };
        }
    }

    /// Runs what is queued. By one runner at a time.
    pub fn run_queued(&self, passive: Passive) {
        loop {
            let Some(links) = self.queue.lock().pop() else { return };
            let work: NonNull<Work> = links.cast();
            // SAFETY: alive by the reference that it holds.
            let place = unsafe { work.as_ref() };
            // A swap, so that the run sees what whoever found the place still queued had done before.
            place.queued.swap(false, Ordering::AcqRel);
            // SAFETY: the reference that the place held goes over to the run.
            unsafe { (place.run)(work, passive) };
        }
    }
}

/// The running thread. Dropping it stops the thread and waits for its end.
///
/// # Invariants
/// - `thread` is a referenced thread object that runs [`thread_routine`] on `worker`.
pub struct Thread {
    worker: NonNull<Worker>,
    thread: *mut c_void,
}

// SAFETY: a thread object may be waited for on any thread.
unsafe impl Send for Thread {}

impl Thread {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system answers; nothing is left behind.
    ///
    /// # Safety
    /// `worker` stays where it is until the value is dropped.
    pub unsafe fn start(worker: &Worker, _: Passive) -> Result<Self, NTSTATUS> {
        worker.initialize();
        let mut handle: HANDLE = null_mut();
        // SAFETY: PASSIVE_LEVEL by the token; the context outlives the thread, which `drop` waits for.
        let status = unsafe {
            ntddk::PsCreateSystemThread(
                &raw mut handle,
                wdk_sys::THREAD_ALL_ACCESS,
                null_mut(),
                null_mut(),
                null_mut(),
                Some(thread_routine),
                core::ptr::from_ref(worker).cast_mut().cast(),
            )
        };
        if status != 0 {
            return Err(status);
        }
        let mut thread: *mut c_void = null_mut();
        // SAFETY: our own handle; kernel mode asks for no access check.
        let status = unsafe {
            ntddk::ObReferenceObjectByHandle(
                handle,
                wdk_sys::THREAD_ALL_ACCESS,
                null_mut(),
                nt::KERNEL_MODE,
                &raw mut thread,
                null_mut(),
            )
        };
        if status != 0 {
            // Without the object the thread's end could not be waited for but by its handle.
            worker.stop.store(true, Ordering::Release);
            worker.wake();
            // SAFETY: our own handle, waited for once.
            let _ended = unsafe { ntddk::ZwWaitForSingleObject(handle, 0, null_mut()) };
        }
        // SAFETY: our own handle, closed once.
        unsafe { nt::close_handle(handle) };
        if status != 0 {
            return Err(status);
        }
        // INVARIANT: referenced just now.
        Ok(Self { worker: NonNull::from(worker), thread })
    }
}

impl Drop for Thread {
    /// Runs in `DriverEntry` or `DriverUnload`, at `PASSIVE_LEVEL`. Waits for the worker to do what is queued: teardowns, each of
    /// which ends by itself.
    fn drop(&mut self) {
        // SAFETY: it stays until after this.
        let worker = unsafe { self.worker.as_ref() };
        worker.stop.store(true, Ordering::Release);
        worker.wake();
        // SAFETY: PASSIVE_LEVEL; a referenced thread object.
        unsafe { nt::wait(self.thread) };
        // SAFETY: the reference from `start`.
        unsafe { ntddk::ObfDereferenceObject(self.thread) };
    }
}

unsafe extern "C" fn thread_routine(context: *mut c_void) {
    // SAFETY: the worker, by `Thread::start`.
    let worker = unsafe { &*context.cast::<Worker>() };
    // SAFETY: a system thread's routine starts at PASSIVE_LEVEL.
    worker.run(unsafe { Passive::assume() });
    // SAFETY: a system thread ends itself; nothing of this frame needs dropping.
    let _does_not_return = unsafe { ntddk::PsTerminateSystemThread(0) };
}
