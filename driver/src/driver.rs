//! The driver's state: what there is once, however many clients there are.

use crate::client::Client;
use crate::clock;
use crate::instance::Instance;
use crate::list::{Links, List};
use crate::lock::SpinLock;
use crate::outstanding::Wait;
use crate::parameters::Parameters;
use crate::process::Process;
use crate::quota::Limits;
use crate::target::{Home, Target};
use crate::watchdog::Watchdog;
use crate::worker::{Work, Worker};
use core::cell::UnsafeCell;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use wsk::{OutOfPool, Passive, Provider, Ref, Registration};
use wskclient_abi::{Awaited, Kind, SocketHandle, Waiter};
use wskclient_lifecycle::Ledger;

/// As many kinds of request as there are.
pub const KINDS: usize = Kind::ALL.len();

/// The state, in the device's extension: nonpaged, and it stays where it is until `DriverUnload` has stopped the worker.
pub struct Driver {
    /// What the driver was told when it started.
    pub parameters: Parameters,
    /// The one thread.
    pub worker: Worker,
    /// Names what the driver waits for too long.
    pub watchdog: Watchdog,
    /// The registration with WSK.
    pub subsystem: Subsystem,
    /// What each client may hold.
    pub limits: Limits,
    work: Work,
    san: Instance,
    postponed: AtomicBool,
    clients: SpinLock<List>,
    retired: Ledger<KINDS>,
    teardowns: AtomicU64,
    lingers_cut: AtomicU64,
    clearing_up: AtomicU32,
    client_count: AtomicU32,
}

impl Driver {
    /// No client, not registered.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            worker: Worker::new(),
            watchdog: Watchdog::new(),
            subsystem: Subsystem::new(),
            limits: parameters.limits,
            work: Work::new(run),
            san: Instance::new(Target::San),
            postponed: AtomicBool::new(false),
            clients: SpinLock::new(List::new()),
            retired: Ledger::new(),
            teardowns: AtomicU64::new(0),
            lingers_cut: AtomicU64::new(0),
            clearing_up: AtomicU32::new(0),
            client_count: AtomicU32::new(0),
        }
    }

    /// The one instance of the SAN provider.
    pub const fn san(&self) -> &Instance {
        &self.san
    }

    /// Has the worker look at the driver's own instance. `<= DISPATCH_LEVEL`, with no lock held.
    pub fn queue_work(&self) {
        // The driver's state outlives the worker: no reference is needed.
        self.worker.queue(&self.work, || ());
    }

    /// Startups of the driver's own instance wait until the driver has cleared up after the dead.
    pub fn postpone(&self) {
        self.postponed.store(true, Ordering::Release);
    }

    /// The client of a process, with one handle more: the one it has, or a new one.
    pub fn client_of(&'static self, process: &Process) -> Result<Ref<Client>, OutOfPool> {
        if let Some(client) = self.find(process, None) {
            return Ok(client);
        }
        let new = Client::try_new(self, process.clone())?;
        Ok(self.find(process, Some(&new)).unwrap_or(new))
    }

    /// The living client of a process, with one handle more. If there is none, `new` becomes it.
    fn find(&self, process: &Process, new: Option<&Ref<Client>>) -> Option<Ref<Client>> {
        let mut clients = self.clients.lock();
        let mut next = clients.first();
        while let Some(links) = next {
            // SAFETY: clients are in this list from here until they are dropped, and leave it under its lock.
            let client = unsafe { Client::from_links(links).as_ref() };
            if client.process() == process && client.handles.load(Ordering::Relaxed) != 0 {
                client.handles.fetch_add(1, Ordering::Relaxed);
                // SAFETY: a handle that is not dead keeps the client, and handles die under this lock.
                return Some(unsafe { Ref::again(client) });
            }
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
        let new = new?;
        new.handles.store(1, Ordering::Relaxed);
        // SAFETY: a new client is in no list; it leaves this one when it is dropped.
        unsafe { clients.push(new.links()) };
        self.client_count.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// A handle of the client dies. A client without handles is nobody's: its process starts with a new one.
    pub fn handle_died(&self, client: &Client) {
        let _clients = self.clients.lock();
        client.handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// A client is being dropped.
    pub fn client_gone(&self, client: &Client) {
        if client.is_listed() {
            let mut clients = self.clients.lock();
            // SAFETY: in this list since `find`.
            unsafe { clients.remove(client.links()) };
            self.client_count.fetch_sub(1, Ordering::Relaxed);
            // Under the same lock, so that no snapshot counts the client twice or not at all.
            self.retired.absorb(&client.ledger);
        }
    }

    /// Calls `visit` for every client, and then `retired` with what those that are gone have counted, under one lock: no client is
    /// counted twice or not at all.
    pub fn for_each_client(&self, mut visit: impl FnMut(&Client), retired: impl FnOnce(&Ledger<KINDS>)) {
        let clients = self.clients.lock();
        let mut next = clients.first();
        while let Some(links) = next {
            // SAFETY: in this list, which a client leaves under the lock that is held, and so alive.
            visit(unsafe { Client::from_links(links).as_ref() });
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
        retired(&self.retired);
    }

    /// The client after that one, or the first one; it is kept. None after the last.
    pub fn next_client(&self, after: Option<&Ref<Client>>) -> Option<Ref<Client>> {
        let clients = self.clients.lock();
        let mut next = match after {
            // SAFETY: a client that is kept stays in this list, if it came from it.
            Some(client) => unsafe { Links::after(client.links()) },
            None => clients.first(),
        };
        while let Some(links) = next {
            // SAFETY: in this list, which a client leaves under the lock that is held, and so alive.
            let client = unsafe { Client::from_links(links).as_ref() };
            // SAFETY: a client leaves the list, under its lock, before its memory is given back.
            if let Some(client) = unsafe { Ref::upgrade(client) } {
                return Some(client);
            }
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
        None
    }

    /// How many clients there are.
    pub fn clients(&self) -> u32 {
        self.client_count.load(Ordering::Relaxed)
    }

    /// What a client without handles held begins to be given back: by a teardown, or sockets that no teardown comes to. See
    /// [`is_clearing_up`](Self::is_clearing_up).
    pub fn clears_up(&self) {
        self.clearing_up.fetch_add(1, Ordering::AcqRel);
    }

    /// A teardown is over; `of_dead` says whether it was counted by [`clears_up`](Self::clears_up). On the worker.
    pub fn teardown_finished(&self, of_dead: bool) {
        self.teardowns.fetch_add(1, Ordering::Relaxed);
        if of_dead {
            self.cleared_up();
        }
    }

    /// What a dead client held is given back, but for what lingers.
    pub fn cleared_up(&self) {
        if self.clearing_up.fetch_sub(1, Ordering::AcqRel) == 1 {
            while let Some(client) = self.next_postponed() {
                client.queue_work();
            }
            if self.postponed.swap(false, Ordering::AcqRel) {
                self.queue_work();
            }
        }
    }

    /// Whether something that a dead client held is still being given back: no provider is started meanwhile. Sockets that linger are
    /// not waited for.
    pub fn is_clearing_up(&self) -> bool {
        self.clearing_up.load(Ordering::Acquire) != 0
    }

    fn next_postponed(&self) -> Option<Ref<Client>> {
        let clients = self.clients.lock();
        let mut next = clients.first();
        while let Some(links) = next {
            // SAFETY: in this list, which a client leaves under the lock that is held, and so alive.
            let client = unsafe { Client::from_links(links).as_ref() };
            if client.handles.load(Ordering::Relaxed) != 0 && client.take_postponed() {
                // SAFETY: a handle that is not dead keeps the client, and handles die under this lock.
                return Some(unsafe { Ref::again(client) });
            }
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
        None
    }

    /// A graceful close has been cut short.
    pub fn linger_cut(&self) {
        self.lingers_cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Graceful closes that have been cut short.
    pub fn lingers_cut(&self) -> u64 {
        self.lingers_cut.load(Ordering::Relaxed)
    }

    /// Teardowns that are over.
    pub fn teardowns(&self) -> u64 {
        self.teardowns.load(Ordering::Relaxed)
    }
}

/// The worker's run for the driver's own instance.
unsafe fn run(work: NonNull<Work>, passive: Passive) {
    // SAFETY: the place is built into the driver's state.
    let driver: NonNull<Driver> = unsafe { work.byte_sub(core::mem::offset_of!(Driver, work)) }.cast();
    // SAFETY: the state outlives the worker.
    let driver: &'static Driver = unsafe { driver.as_ref() };
    driver.san.run(Home::Driver(driver), passive);
}

/// Milliseconds that one attempt to capture the provider may take: a startup that is cancelled meanwhile waits no longer.
const CAPTURE_SLICE: u32 = 250;
/// Attempts until a startup answers `WSASYSNOTREADY`: half a minute.
pub const CAPTURE_ATTEMPTS: u32 = 120;

/// What came of an attempt to bring the network subsystem up.
pub enum Acquired {
    /// It is up.
    Ready,
    /// It is not ready yet: try again.
    NotYet,
    /// It won't be.
    Failed,
}

/// The registration as a WSK client: from the first reference in the driver to the last (contract: CARD-1).
///
/// # Invariants
/// - `users` is touched by the worker only.
/// - The registration is captured while there are users.
pub struct Subsystem {
    registration: Registration,
    users: UnsafeCell<u32>,
    /// What the worker is waiting for in WSK, an [`Awaited`]'s number; [`NOTHING`].
    awaited: AtomicU8,
    /// Since when.
    since: AtomicU64,
    /// That it lasts has been noted.
    noted: AtomicBool,
}

/// The worker waits for nothing in WSK.
const NOTHING: u8 = u8::MAX;

// SAFETY: the worker alone touches the cell; the registration is made for any thread.
unsafe impl Sync for Subsystem {}

impl Subsystem {
    const fn new() -> Self {
        Self {
            registration: Registration::new(),
            users: UnsafeCell::new(0),
            awaited: AtomicU8::new(NOTHING),
            since: AtomicU64::new(0),
            noted: AtomicBool::new(false),
        }
    }

    const fn registration(&self) -> Pin<&Registration> {
        // SAFETY: part of the driver's state, which does not move.
        unsafe { Pin::new_unchecked(&self.registration) }
    }

    /// One user more, if the subsystem is up or comes up now. On the worker. May wait for [`CAPTURE_SLICE`], but only while there
    /// is no user, and so nothing else to be done.
    pub fn acquire(&self, passive: Passive) -> Acquired {
        // SAFETY: on the worker (invariant).
        let users = unsafe { &mut *self.users.get() };
        if *users == 0 {
            match self.bring_up(passive) {
                Acquired::Ready => {}
                other => return other,
            }
        } else if !self.is_served() {
            // Lost while in use: there is no waiting for it, since others need the worker.
            return Acquired::Failed;
        }
        *users = users.wrapping_add(1);
        Acquired::Ready
    }

    fn bring_up(&self, passive: Passive) -> Acquired {
        const NO_INTERFACE: i32 = 0xC000_02B9_u32.cast_signed();
        // SAFETY: the worker drives the registration; it is deregistered below, or in `release`.
        let registered = unsafe { self.registration().register(passive) };
        // SAFETY: the worker drives the registration, and this runs on it.
        let capture = || unsafe { self.registration().capture(CAPTURE_SLICE, passive) };
        match registered.and_then(|()| self.awaiting(Awaited::Provider, capture)) {
            Ok(()) => Acquired::Ready,
            Err(status) if status != NO_INTERFACE && self.registration.is_registered() => Acquired::NotYet,
            Err(_) => Acquired::Failed,
        }
    }

    /// Nobody waits for the subsystem any more, or it won't come. On the worker.
    pub fn give_up(&self, passive: Passive) {
        // SAFETY: on the worker (invariant).
        if unsafe { *self.users.get() } == 0 {
            // SAFETY: the worker drives the registration; no users, so no socket and no call.
            self.awaiting(Awaited::Deregistration, || unsafe { self.registration().deregister(passive) });
        }
    }

    /// One user less; the last one deregisters. On the worker.
    pub fn release(&self, passive: Passive) {
        // SAFETY: on the worker (invariant).
        let users = unsafe { &mut *self.users.get() };
        *users = users.saturating_sub(1);
        if *users == 0 {
            // SAFETY: the worker drives the registration; the last user has no socket and no call left.
            self.awaiting(Awaited::Deregistration, || unsafe { self.registration().deregister(passive) });
        }
    }

    /// Does what may block the worker, and tells others so meanwhile.
    fn awaiting<R>(&self, awaited: Awaited, call: impl FnOnce() -> R) -> R {
        self.since.store(clock::now(), Ordering::Relaxed);
        self.noted.store(false, Ordering::Relaxed);
        self.awaited.store(awaited as u8, Ordering::Release);
        let result = call();
        self.awaited.store(NOTHING, Ordering::Release);
        result
    }

    /// What the worker is waiting for in WSK. Any IRQL.
    pub fn wait(&self) -> Option<Wait<'_>> {
        let awaited = Awaited::from_number(self.awaited.load(Ordering::Acquire))?;
        Some(Wait {
            socket: SocketHandle(0),
            provider: None,
            waiter: Waiter::Worker,
            awaited,
            kind: None,
            since: self.since.load(Ordering::Relaxed),
            noted: &self.noted,
        })
    }

    /// Whether the provider that is captured is still there: it can be captured once more, at once. For who is inside the gate of an
    /// instance that is up, or the worker while there are users.
    pub fn is_served(&self) -> bool {
        // SAFETY: whoever may call keeps the capture.
        unsafe { self.registration().is_served() }
    }

    /// The captured provider, for who is inside the gate of an instance that is up.
    pub fn provider(&self) -> Option<Provider> {
        self.registration.provider()
    }

    /// Whether the driver is registered.
    pub fn is_registered(&self) -> bool {
        self.registration.is_registered()
    }
}

/// The driver's state of a device.
///
/// # Safety
/// `device` is our device, with its state constructed.
pub unsafe fn of_device(device: NonNull<wdk_sys::DEVICE_OBJECT>) -> &'static Driver {
    // SAFETY: the device is there.
    let state: *mut Driver = unsafe { (*device.as_ptr()).DeviceExtension.cast() };
    // SAFETY: the extension holds the state as long as requests and clients exist.
    unsafe { &*state }
}
