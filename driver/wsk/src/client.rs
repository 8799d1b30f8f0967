//! A WSK client: registered, with the provider captured, until nothing of it is left.

use crate::gate::{Closed, Gate};
use crate::kernel::{Event, EventKind, ThreadHandle, end_thread};
use crate::worker::{Work, Worker};
use crate::{Error, Passive, Provider, Ref, Registration, wait_for_routines};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::fmt;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

/// A registered WSK client. Clones are the same client.
///
/// Sockets, operations and threads of the client hold it: it is deregistered only when none of them is left, and nothing that was
/// captured is used afterwards. A client that is never [deregistered](Self::deregister) stays registered, whatever is dropped: its
/// driver must not be unloaded.
///
/// Source: *Registering a Winsock Kernel Application*, *Unregistering a Winsock Kernel Application*.
#[derive(Clone)]
pub struct Client(Ref<Shared>);

/// # Invariants
/// - The registration is registered, and stays where it is, from [`Client::register`] until [`Client::deregister`] has found nobody
///   inside the gate.
/// - The worker's thread runs from `register` until then, with the reference that it was started with.
/// - `registration` is driven, and `thread` touched, by whoever has set `driving`.
struct Shared {
    gate: Gate,
    /// Signalled when nobody is inside the closed gate.
    idle: Event,
    registration: Registration,
    driving: AtomicBool,
    worker: Worker,
    thread: UnsafeCell<Option<ThreadHandle>>,
}

// SAFETY: `thread` is touched by one party at a time (invariant); the rest is made for several.
unsafe impl Send for Shared {}
// SAFETY: `thread` is touched by one party at a time (invariant); the rest is made for several.
unsafe impl Sync for Shared {}

impl Shared {
    fn registration(&self) -> Pin<&Registration> {
        // SAFETY: in pool, where it stays (invariant).
        unsafe { Pin::new_unchecked(&self.registration) }
    }

    /// The right to drive the registration, if nobody else has it.
    fn drive(&self) -> Result<Driving<'_>, Error> {
        if self.driving.swap(true, Ordering::Acquire) { Err(Error::Busy) } else { Ok(Driving(self)) }
    }
}

/// See [`Shared::drive`].
struct Driving<'a>(&'a Shared);

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.0.driving.store(false, Ordering::Release);
    }
}

/// A place inside the client's gate: the client stays registered, and what is captured stays captured.
///
/// # Invariants
/// - The gate counts this value.
pub(crate) struct Hold(Ref<Shared>);

impl Hold {
    /// The captured provider.
    pub fn provider(&self) -> Result<Provider, Error> {
        self.0.registration.provider().ok_or(Error::NotCaptured)
    }

    /// Has the worker do something.
    ///
    /// # Safety
    /// As for [`Worker::queue`], but for the worker, which this keeps.
    pub unsafe fn queue(&self, work: NonNull<Work>) {
        // The run may let go of the last hold while the call has not returned.
        let client = self.0.clone();
        // SAFETY: the caller's promise.
        unsafe { client.worker.queue(work) };
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.0.gate.bring();
        // INVARIANT: counted just now.
        Self(self.0.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.gate.leave() {
            self.0.idle.set();
        }
    }
}

impl Client {
    /// Registers a client. `PASSIVE_LEVEL`. Source: *`WskRegister`*.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; what `WskRegister` and the start of a thread answer. Nothing is left behind.
    pub fn register(passive: Passive) -> Result<Self, Error> {
        let shared = Ref::try_new(Shared {
            gate: Gate::open(),
            idle: Event::new(),
            registration: Registration::new(),
            driving: AtomicBool::new(false),
            worker: Worker::new(),
            thread: UnsafeCell::new(None),
        })?;
        // SAFETY: in pool, where it stays; nobody else has it.
        unsafe { shared.idle.initialize(EventKind::Stays) };
        // SAFETY: in pool, where it stays; nobody else has it.
        unsafe { shared.worker.initialize() };
        // SAFETY: nobody else has it; `deregister` comes below, or from who has the client.
        unsafe { shared.registration().register(passive) }.map_err(Error::of_status)?;
        let context = shared.clone().into_raw();
        // SAFETY: the routine takes over the reference that is its context, and ends itself; `deregister` waits for it.
        match unsafe { ThreadHandle::start(worker_thread, context.as_ptr().cast(), passive) } {
            Ok(thread) => {
                // SAFETY: nobody else has the client.
                unsafe { *shared.thread.get() = Some(thread) };
                Ok(Self(shared))
            }
            Err(error) => {
                // SAFETY: no thread took it.
                drop(unsafe { Ref::from_raw(context) });
                // SAFETY: nobody else has it, and nothing was captured.
                unsafe { shared.registration().deregister(passive) };
                Err(error)
            }
        }
    }

    pub(crate) fn hold(&self) -> Result<Hold, Error> {
        // INVARIANT: counted by `enter`.
        if self.0.gate.enter() { Ok(Hold(self.0.clone())) } else { Err(Error::Deregistered) }
    }

    /// Captures the provider, waiting for it to be ready; at once if it is captured. `PASSIVE_LEVEL`, where waiting harms nobody:
    /// with a short limit, again and again, a start-up can be given up in between. Source: *`WskCaptureProviderNPI`*.
    ///
    /// # Errors
    /// [`Error::TimedOut`]: it is not ready within `limit`. [`Error::Busy`]: another thread is capturing. [`Error::Deregistered`].
    /// What WSK answers: there is no provider for this version.
    pub fn capture(&self, limit: Duration, passive: Passive) -> Result<(), Error> {
        /// `STATUS_DEVICE_NOT_READY`.
        const NOT_READY: i32 = 0xC000_00A3_u32.cast_signed();
        let _hold = self.hold()?;
        let driving = self.0.drive()?;
        // The largest number would be for ever.
        let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).min(u32::MAX - 1);
        // SAFETY: this thread drives it; registered, for the gate is open or held.
        match unsafe { driving.0.registration().capture(milliseconds, passive) } {
            Ok(()) => Ok(()),
            Err(NOT_READY) => Err(Error::TimedOut),
            Err(status) => Err(Error::of_status(status)),
        }
    }

    /// Whether the captured provider is still there. `<= DISPATCH_LEVEL`.
    #[must_use]
    pub fn is_served(&self) -> bool {
        let Ok(hold) = self.hold() else { return false };
        // SAFETY: the hold keeps the capture.
        hold.provider().is_ok() && unsafe { self.0.registration().is_served() }
    }

    /// Deregisters the client: nothing new begins from now on, what is left is waited for, the capture is given back. Nothing if it was
    /// deregistered before. `PASSIVE_LEVEL`. Source: *`WskDeregister`*.
    ///
    /// # Errors
    /// [`Error::TimedOut`]: sockets, operations or threads of the client are left after `limit`. It stays registered until this is
    /// called again. [`Error::Busy`]: another thread is deregistering it.
    pub fn deregister(&self, limit: Duration, passive: Passive) -> Result<(), Error> {
        let nobody = self.0.gate.close() == Closed::Empty || self.0.gate.inside() == 0;
        if !nobody {
            self.0.idle.wait(limit, passive)?;
        }
        let driving = self.0.drive()?;
        // SAFETY: this thread drives it.
        if let Some(thread) = unsafe { &mut *driving.0.thread.get() }.take() {
            self.0.worker.stop();
            thread.join(passive);
            // SAFETY: this thread drives it; nobody is inside: no socket, no call, and nobody asks for the provider any more.
            unsafe { driving.0.registration().deregister(passive) };
            wait_for_routines(passive);
        }
        Ok(())
    }

    /// Sockets, operations and threads that hold the client: what [`deregister`](Self::deregister) would wait for.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.0.gate.inside()
    }

    /// Runs `body` on a thread of its own, which the client stays registered for. `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Deregistered`], what the system answers. The closure is dropped.
    pub fn spawn(&self, body: impl FnOnce(Passive) + Send + 'static, passive: Passive) -> Result<(), Error> {
        crate::thread::spawn(self.hold()?, body, passive)
    }
}

unsafe extern "C" fn worker_thread(context: *mut c_void) {
    // SAFETY: by `register`: not null.
    let shared: NonNull<Shared> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the reference that `register` gave up.
    let shared = unsafe { Ref::from_raw(shared) };
    // SAFETY: a system thread's routine starts at PASSIVE_LEVEL.
    shared.worker.run(unsafe { Passive::assume() });
    drop(shared);
    // SAFETY: a system thread; nothing of its frame is needed any more.
    unsafe { end_thread() };
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("outstanding", &self.outstanding()).finish_non_exhaustive()
    }
}
