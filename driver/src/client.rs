//! Clients and handles: a client is a process that opened the device, and all handles that the process opens share it.

use crate::driver::{Driver, KINDS};
use crate::instance::Instance;
use crate::irp::Irp;
use crate::list::Links;
use crate::process::Process;
use crate::quota::Charges;
use crate::table::SocketTable;
use crate::target::{Home, TARGETS, Target};
use crate::worker::Work;
use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use wdk_sys::NTSTATUS;
use wsk::{OutOfPool, Passive, Ref};
use wskclient_abi::{Kind, Namespace, WsaError};
use wskclient_lifecycle::{Ledger, Released, Share};

/// A client. Its handles, its sockets, what waits in it, its providers that are not down, and the worker's queue keep it.
///
/// # Invariants
/// - `links` is in the driver's list from the first handle until the client is dropped, if it ever had a handle.
/// - `handles` changes under the lock of the driver's list; 0 for good once it is 0 again.
pub struct Client {
    work: Work,
    links: UnsafeCell<Links>,
    driver: &'static Driver,
    process: Process,
    /// Handles that are not dead.
    pub handles: AtomicU32,
    instances: Instances,
    /// The sockets, by handle.
    pub table: SocketTable,
    /// What the client's requests come to.
    pub ledger: Ledger<KINDS>,
    /// What its pending requests are charged.
    pub charges: Charges,
    /// Sockets that have a handle and are not being closed.
    pub open: AtomicU32,
    /// Sockets that are being closed.
    pub closing: AtomicU32,
    /// Sockets that are being closed gracefully.
    pub lingering: AtomicU32,
    listed: AtomicBool,
    postponed: AtomicBool,
    /// It died with sockets, which startups wait for; see [`Driver::is_clearing_up`].
    leaves_sockets: AtomicBool,
}

/// What a client costs, with the count of its pointers and a pool header.
const _: () = assert!(size_of::<Client>() + size_of::<usize>() + 16 <= 2048);

// SAFETY: `links` is used under the lock of the driver's list; the rest is synchronised.
unsafe impl Sync for Client {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Client {}

impl Client {
    /// A client without handles.
    pub fn try_new(driver: &'static Driver, process: Process) -> Result<Ref<Self>, OutOfPool> {
        Ref::try_new(Self {
            work: Work::new(run),
            links: UnsafeCell::new(Links::new()),
            driver,
            process,
            handles: AtomicU32::new(0),
            instances: Instances::new(),
            table: SocketTable::new(),
            ledger: Ledger::new(),
            charges: Charges::none(),
            open: AtomicU32::new(0),
            closing: AtomicU32::new(0),
            lingering: AtomicU32::new(0),
            listed: AtomicBool::new(false),
            postponed: AtomicBool::new(false),
            leaves_sockets: AtomicBool::new(false),
        })
    }

    /// The driver's state.
    pub const fn driver(&self) -> &'static Driver {
        self.driver
    }

    /// The process.
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The instance that the client starts and uses.
    pub const fn instance(&self, target: Target) -> &Instance {
        match target {
            Target::Application => &self.instances.application,
            Target::Transport => &self.instances.transport,
            Target::San => self.driver.san(),
            Target::Namespace(Namespace::Dns) => &self.instances.dns,
            Target::Namespace(Namespace::Numeric) => &self.instances.numeric,
        }
    }

    /// Whether no handle is left through which anybody could ask for anything.
    pub fn is_dead(&self) -> bool {
        // Whoever dies writes and then looks for what is left; whoever leaves something writes and then looks whether it died.
        fence(Ordering::SeqCst);
        self.handles.load(Ordering::Acquire) == 0
    }

    /// The place in the driver's list.
    pub fn links(&self) -> NonNull<Links> {
        self.listed.store(true, Ordering::Relaxed);
        // SAFETY: a field of a live object is not null.
        unsafe { NonNull::new_unchecked(self.links.get()) }
    }

    /// Whether the client has been put in the driver's list.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// The client whose place in the driver's list this is.
    pub const fn from_links(links: NonNull<Links>) -> NonNull<Self> {
        // SAFETY: only clients' places are in that list.
        unsafe { links.byte_sub(core::mem::offset_of!(Self, links)) }.cast()
    }

    /// Has the worker look at the client's providers. `<= DISPATCH_LEVEL`, with no lock held.
    pub fn queue_work(&self) {
        self.driver.worker.queue(&self.work, || {
            // SAFETY: whoever calls has the client, so a reference to it exists.
            let _given_to_the_run = unsafe { Ref::again(self) }.into_raw();
        });
    }

    /// Its startups wait until the driver has cleared up after the dead.
    pub fn postpone(&self) {
        self.postponed.store(true, Ordering::Release);
    }

    /// Whether its startups were [`postpone`](Self::postpone)d, once.
    pub fn take_postponed(&self) -> bool {
        self.postponed.swap(false, Ordering::AcqRel)
    }

    /// Takes a request: it is pending until [`complete`](Self::complete).
    pub fn take(&self, kind: Kind) {
        self.ledger.take(kind as usize);
    }

    /// Whether a call is out that blocks, in a client that knows no overlapped I/O (contract: WSA-7): one on a socket of
    /// `application`, or a look-up.
    pub fn has_blocking_calls(&self) -> bool {
        let found =
            Cell::new(Namespace::ALL.into_iter().any(|one| self.instance(Target::Namespace(one)).has_look_ups()));
        self.table.for_each(|socket| {
            if socket.spec().target == Target::Application {
                found.set(found.get() || socket.has_blocking_calls());
            }
        });
        found.get()
    }

    /// Cancels the blocking calls: they end with `WSAEINTR`. False if there was none.
    fn cancel_blocking_calls(&self) -> bool {
        let look_ups = Namespace::ALL.into_iter().map(|one| self.instance(Target::Namespace(one)).interrupt_look_ups());
        let count = Cell::new(look_ups.fold(0, u32::wrapping_add));
        self.table.for_each(|socket| {
            if socket.spec().target == Target::Application {
                count.set(count.get().wrapping_add(socket.cancel_blocking_calls()));
            }
        });
        count.get() != 0 || self.has_blocking_calls()
    }

    /// `WSACancelBlockingCall` (contract: WSA-7, WSA-8).
    ///
    /// # Errors
    /// `WSANOTINITIALISED`; `WSAEOPNOTSUPP` in 2.x, which has no such call; `WSAEINVAL` when no blocking call is outstanding.
    pub fn cancel_blocking(&self) -> Result<(), WsaError> {
        let application = self.instance(Target::Application);
        if application.references() == 0 {
            Err(WsaError::NotInitialised)
        } else if !application.is_before_2_0() {
            Err(WsaError::NotSupported)
        } else if self.cancel_blocking_calls() {
            Ok(())
        } else {
            Err(WsaError::Invalid)
        }
    }

    /// Closes the sockets that nobody can name any more and that no teardown of the client's comes to: a provider that is counted
    /// for the driver may be up for others. Startups wait for them (contract: WSP-9).
    fn close_orphans(&self) {
        if !self.has_lingering_only() && !self.leaves_sockets.swap(true, Ordering::SeqCst) {
            self.driver.clears_up();
        }
        self.table.for_each(|socket| {
            if socket.spec().target.is_drivers() {
                socket.close();
            }
        });
    }

    /// Whether it has no sockets but those that linger. One that lingers counts as such until just before it gives its slot back.
    pub fn has_lingering_only(&self) -> bool {
        self.table.used() == self.lingering.load(Ordering::Acquire)
    }

    /// Whether it died with sockets that are not all given back. Whoever gives one back has the worker look.
    pub fn leaves_sockets(&self) -> bool {
        // Who dies writes and then looks at the sockets; a socket that goes leaves its slot and then looks here.
        fence(Ordering::SeqCst);
        self.leaves_sockets.load(Ordering::Acquire)
    }

    /// Lets startups go on if nothing but lingering sockets is left of a dead client. On the worker.
    fn see_to_orphans(&self) {
        if self.leaves_sockets() && self.has_lingering_only() && self.leaves_sockets.swap(false, Ordering::SeqCst) {
            self.driver.cleared_up();
        }
    }

    /// Counts a request's completion. Call it before the caller can see it.
    pub fn count_completion(&self, kind: Kind, status: NTSTATUS) {
        self.ledger.complete(kind as usize, status == WsaError::OperationAborted.status());
    }

    /// Completes a request that was taken, and returns its status.
    pub fn complete(&self, irp: Irp, kind: Kind, status: NTSTATUS, information: usize) -> NTSTATUS {
        self.count_completion(kind, status);
        self.discharge(&irp, kind);
        irp.complete(status, information)
    }
}

/// Whom requests came through: a [`Handle`], compared and not followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Opener(*const c_void);

impl Opener {
    /// Nobody.
    pub const NONE: Self = Self(core::ptr::null());

    /// That of a request: its file object's context.
    pub fn of(irp: &Irp) -> Self {
        // SAFETY: null, or the request's file object.
        unsafe { irp.file_object().as_ref() }.map_or(Self::NONE, |file| Self(file.FsContext.cast_const()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.client_gone(self);
    }
}

/// The worker's run for a client.
unsafe fn run(work: NonNull<Work>, passive: Passive) {
    // SAFETY: the place is built into a client.
    let client: NonNull<Client> = unsafe { work.byte_sub(core::mem::offset_of!(Client, work)) }.cast();
    // SAFETY: the reference that `queue_work` gave up.
    let client = unsafe { Ref::from_raw(client) };
    for target in Target::ALL.into_iter().filter(|target| !target.is_drivers()) {
        client.instance(target).run(Home::Client(&client), passive);
    }
    client.see_to_orphans();
}

/// What a client has started for itself. What is counted for the driver is the driver's.
struct Instances {
    application: Instance,
    transport: Instance,
    dns: Instance,
    numeric: Instance,
}

impl Instances {
    const fn new() -> Self {
        Self {
            application: Instance::new(Target::Application),
            transport: Instance::new(Target::Transport),
            dns: Instance::new(Target::Namespace(Namespace::Dns)),
            numeric: Instance::new(Target::Namespace(Namespace::Numeric)),
        }
    }
}

/// A file object of the device: `FsContext` points to it. Its startups and cleanups that wait keep it too.
pub struct Handle {
    work: Work,
    client: Ref<Client>,
    shares: UnsafeCell<[Share; TARGETS]>,
    dead: AtomicBool,
}

// SAFETY: each share is used under the lock of its instance's lifecycle.
unsafe impl Sync for Handle {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Handle {}

impl Handle {
    /// A handle of a client, which counts it already.
    pub fn try_new(client: Ref<Client>) -> Result<Ref<Self>, OutOfPool> {
        let driver = client.driver();
        let counted = client.clone();
        let shares = UnsafeCell::new([const { Share::none() }; TARGETS]);
        Ref::try_new(Self { work: Work::new(run_for_dead), client, shares, dead: AtomicBool::new(false) })
            .inspect_err(|OutOfPool| driver.handle_died(&counted))
    }

    /// The handle's client.
    pub const fn client(&self) -> &Ref<Client> {
        &self.client
    }

    /// The references that were taken through this handle. Used under the lock of the target's lifecycle.
    pub const fn share(&self, target: Target) -> *mut Share {
        let shares: *mut Share = self.shares.get().cast();
        shares.wrapping_add(target.index())
    }

    /// What the requests that come through this handle have in common, as long as the handle lives.
    pub const fn opener(&self) -> Opener {
        Opener(core::ptr::from_ref(self).cast())
    }

    /// Whether the handle's last user-mode handle is closed.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// The last user-mode handle of a file object is closed: `IRP_MJ_CLEANUP`, or `IRP_MJ_CLOSE` where the system sends no cleanup.
    /// What the handle still holds is given back (contract: WSP-8), and the requests that came through it are cancelled.
    pub fn die(&self) {
        if self.dead.swap(true, Ordering::AcqRel) {
            return;
        }
        self.client.driver().handle_died(&self.client);
        for target in Target::ALL {
            let instance = self.client.instance(target);
            let released = instance.handle_died(self);
            if released == Released::Last {
                instance.begin_teardown(&self.client);
            }
        }
        self.cancel_requests();
        if self.client.is_dead() {
            self.client.close_orphans();
        }
        // A teardown that was under way already may be one that startups wait for now.
        self.client.queue_work();
        // What the worker is taking out of a queue at this moment, to hand it to WSK, is nowhere to be found: the worker looks again
        // when it has handed it out.
        self.client.driver().worker.queue(&self.work, || {
            // SAFETY: whoever calls has the handle, so a reference to it exists.
            let _given_to_the_run = unsafe { Ref::again(self) }.into_raw();
        });
    }

    /// Cancels the requests that came through this handle.
    pub fn cancel_requests(&self) {
        let opener = self.opener();
        for target in Target::ALL {
            self.client.instance(target).cancel_requests_of(opener);
        }
        self.client.table.for_each(|socket| socket.cancel_requests_of(opener));
        // Nobody comes in yet, or any more, where these are.
        self.client.table.for_each_kept(|socket| socket.cancel_creation_and_closes_of(opener));
    }
}

/// The worker's run for a handle that has died.
unsafe fn run_for_dead(work: NonNull<Work>, _: Passive) {
    // SAFETY: the place is built into a handle.
    let handle: NonNull<Handle> = unsafe { work.byte_sub(core::mem::offset_of!(Handle, work)) }.cast();
    // SAFETY: the reference that `die` gave up.
    unsafe { Ref::from_raw(handle) }.cancel_requests();
}
