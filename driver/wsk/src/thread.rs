//! Threads that a client stays registered for.

use crate::client::Hold;
use crate::kernel::{ThreadHandle, end_thread};
use crate::rendezvous::Rendezvous;
use crate::worker::Work;
use crate::{Error, Passive, try_box};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;

/// A closure for a thread.
type Body = Box<dyn FnOnce(Passive) + Send>;

/// # Invariants
/// - `body` is the new thread's. `handle` is the starting thread's until it arrives at `done`; then the worker's.
/// - The second of the two threads that arrives at `done` has the worker free the record.
struct Thread {
    work: Work,
    done: Rendezvous,
    body: UnsafeCell<Option<Body>>,
    handle: UnsafeCell<Option<ThreadHandle>>,
    hold: Hold,
}

/// Runs `body` on a new thread. See [`Client::spawn`](crate::Client::spawn).
pub(crate) fn spawn(hold: Hold, body: impl FnOnce(Passive) + Send + 'static, passive: Passive) -> Result<(), Error> {
    let body: Body = try_box(body)?;
    let thread = Box::leak(try_box(Thread {
        work: Work::new(see_off),
        done: Rendezvous::new(),
        body: UnsafeCell::new(Some(body)),
        handle: UnsafeCell::new(None),
        hold,
    })?);
    let thread = NonNull::from(thread);
    // SAFETY: the record stays until both threads have arrived; the routine ends itself; the hold keeps the image until the worker has
    // seen the thread off.
    match unsafe { ThreadHandle::start(routine, thread.as_ptr().cast(), passive) } {
        Ok(handle) => {
            // SAFETY: this thread has not arrived.
            let record = unsafe { thread.as_ref() };
            // SAFETY: this thread's until it arrives (invariant).
            unsafe { *record.handle.get() = Some(handle) };
            // SAFETY: once for this thread.
            unsafe { arrive(thread) };
            Ok(())
        }
        Err(error) => {
            // SAFETY: no thread has it.
            drop(unsafe { Box::from_raw(thread.as_ptr()) });
            Err(error)
        }
    }
}

/// One of the two threads needs the record no more.
///
/// # Safety
/// Called once by each.
unsafe fn arrive(thread: NonNull<Thread>) {
    // SAFETY: this thread has not arrived, so the record is there.
    let record = unsafe { thread.as_ref() };
    if record.done.arrive() {
        let work = NonNull::from(&record.work);
        // SAFETY: the second of two queues it; the worker waits for this thread before it frees it, or this is the starting thread, and
        // the queue keeps what it needs.
        unsafe { record.hold.queue(work) };
    }
}

unsafe extern "C" fn routine(context: *mut c_void) {
    // SAFETY: by `spawn`: not null.
    let thread: NonNull<Thread> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: this thread has not arrived.
    let record = unsafe { thread.as_ref() };
    // SAFETY: this thread's (invariant).
    if let Some(body) = unsafe { &mut *record.body.get() }.take() {
        // SAFETY: a system thread's routine starts at PASSIVE_LEVEL.
        body(unsafe { Passive::assume() });
    }
    // SAFETY: once for this thread.
    unsafe { arrive(thread) };
    // SAFETY: a system thread; nothing of its frame is needed any more.
    unsafe { end_thread() };
}

/// Waits for the end of a thread that has nothing left to do, and frees its record. On the worker.
unsafe fn see_off(work: NonNull<Work>, passive: Passive) {
    // SAFETY: the place is built into a record.
    let thread: NonNull<Thread> = unsafe { work.byte_sub(core::mem::offset_of!(Thread, work)) }.cast();
    // SAFETY: from `spawn`; both threads have arrived, so it is the worker's.
    let mut thread = unsafe { Box::from_raw(thread.as_ptr()) };
    if let Some(handle) = thread.handle.get_mut().take() {
        handle.join(passive);
    }
}
