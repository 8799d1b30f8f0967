//! A provider that is started: by a client for itself, or by all of them together; from the first startup to the end of the teardown.
//!
//! Requests change counts where they arrive; every transition that takes work is made on the worker, one after the other. So a
//! startup that arrives during the teardown waits, and starts afresh; and a teardown finds nobody starting.

use crate::cancel::Why;
use crate::client::{Client, Handle, Opener};
use crate::clock;
use crate::driver::{Acquired, CAPTURE_ATTEMPTS, Driver};
use crate::irp::Irp;
use crate::list::{Links, List};
use crate::lock::{Guard, SpinLock};
use crate::names::LookUp;
use crate::queue::{IrpQueue, Owner, Parked};
use crate::socket::Socket;
use crate::startup::StartupRequest;
use crate::target::{Home, Target};
use crate::trace::{self, Phase};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use wdk_sys::NTSTATUS;
use wsk::{Passive, Ref};
use wskclient_abi::{Awaited, Kind, STATUS_PENDING, STATUS_SUCCESS, WinsockVersion, WsaError};
use wskclient_lifecycle::{Closed, Gate, Left, Lifecycle, Released, Share, State};

/// A target's startups, and what belongs to it.
///
/// # Invariants
/// - The gate is open while the lifecycle is up, from just before the first reference counts. Every socket of the instance is inside from its creation until WSK has it
///   back.
/// - Every such socket is in one of the two lists, under their lock. Look-ups are inside, and in their list, while they are out.
/// - While the lifecycle is up or stopping, one reference to the client is given up for the instance, if it is a client's.
pub struct Instance {
    target: Target,
    lifecycle: SpinLock<Lifecycle>,
    /// As the lifecycle says, to be read without its lock.
    references: AtomicU32,
    /// The lowest version that was negotiated since the first reference. Written under the lifecycle's lock.
    version: AtomicU16,
    /// Attempts to capture the provider for the startups that wait. The worker's.
    attempts: AtomicU32,
    /// The teardown under way is of a client without handles.
    of_dead: AtomicBool,
    /// When the teardown under way began.
    stopping_since: AtomicU64,
    /// That it lasts has been noted.
    pub long_teardown: AtomicBool,
    /// That the startups wait for long has been noted.
    pub long_startup: AtomicBool,
    gate: Gate,
    sockets: SpinLock<Sockets>,
    look_ups: SpinLock<List>,
    startups: IrpQueue,
    cleanups: IrpQueue,
}

/// The instance's sockets.
pub struct Sockets {
    /// Those that the teardown has not come to.
    open: List,
    /// Those that the teardown has begun to close.
    ending: List,
}

impl Sockets {
    /// The list that a socket is in.
    const fn list(&mut self, ending: bool) -> &mut List {
        if ending { &mut self.ending } else { &mut self.open }
    }
}

impl Instance {
    /// Down.
    pub const fn new(target: Target) -> Self {
        Self {
            target,
            lifecycle: SpinLock::new(Lifecycle::new()),
            references: AtomicU32::new(0),
            version: AtomicU16::new(0),
            attempts: AtomicU32::new(0),
            of_dead: AtomicBool::new(false),
            stopping_since: AtomicU64::new(0),
            long_teardown: AtomicBool::new(false),
            long_startup: AtomicBool::new(false),
            gate: Gate::closed(),
            sockets: SpinLock::new(Sockets { open: List::new(), ending: List::new() }),
            look_ups: SpinLock::new(List::new()),
            startups: IrpQueue::new(),
            cleanups: IrpQueue::new(),
        }
    }

    fn lifecycle(&self) -> Guard<'_, Lifecycle> {
        self.lifecycle.lock()
    }

    /// Something happens to the lifecycle through a handle.
    pub fn event<R>(&self, handle: &Handle, event: impl FnOnce(&mut Lifecycle, &mut Share) -> R) -> R {
        self.change(
            || handle.client().process().identifier(),
            |lifecycle| {
                let share = handle.share(self.target);
                // SAFETY: shares of this target are used under this lock only.
                let outcome = event(lifecycle, unsafe { &mut *share });
                self.references.store(lifecycle.references(), Ordering::Release);
                outcome
            },
        )
    }

    /// Changes the lifecycle, on behalf of a process, and tells the trace: under the lock, so that it is told in order.
    fn change<R>(&self, process: impl FnOnce() -> u32, change: impl FnOnce(&mut Lifecycle) -> R) -> R {
        let mut lifecycle = self.lifecycle();
        let before = lifecycle.state();
        let outcome = change(&mut lifecycle);
        if before != lifecycle.state() {
            trace::transition(self.target.provider(), before, lifecycle.state(), lifecycle.references(), process);
        }
        outcome
    }

    /// A handle of the client dies.
    pub fn handle_died(&self, handle: &Handle) -> Released {
        self.event(handle, |lifecycle, share| {
            let released = lifecycle.handle_died(share);
            let client = handle.client();
            let clears_up = lifecycle.state() == State::Stopping && client.handles.load(Ordering::Acquire) == 0;
            // Under the lock, and so before the end of this teardown takes the mark away.
            if clears_up && !self.of_dead.swap(true, Ordering::Relaxed) {
                client.driver().clears_up();
            }
            released
        })
    }

    /// What it is of.
    pub const fn target(&self) -> Target {
        self.target
    }

    /// References held.
    pub fn references(&self) -> u32 {
        self.references.load(Ordering::Acquire)
    }

    /// A startup whose input is valid (contract: WSA-2, WSP-1).
    pub fn startup(&self, handle: &Ref<Handle>, mut irp: Irp, request: &StartupRequest) -> NTSTATUS {
        let client = handle.client();
        if !self.is_served(client) {
            return irp.complete(WsaError::SystemNotReady.status(), 0);
        }
        let count = |lifecycle: &mut Lifecycle, share: &mut Share| self.count(lifecycle, share, request);
        let startup = self.event(handle, |lifecycle, share| (!handle.is_dead()).then(|| count(lifecycle, share)));
        let Some(startup) = startup else { return irp.complete(WsaError::OperationAborted.status(), 0) };
        match startup {
            wskclient_lifecycle::Startup::Counted(references) => {
                client.take(Kind::Startup);
                let length = irp.reply(&request.reply(references, &client.driver().limits));
                client.complete(irp, Kind::Startup, STATUS_SUCCESS, length)
            }
            wskclient_lifecycle::Startup::Refused => irp.complete(WsaError::NoBuffers.status(), 0),
            wskclient_lifecycle::Startup::Waits(_) => {
                client.take(Kind::Startup);
                irp.mark_pending();
                if self.startups.is_empty() {
                    self.long_startup.store(false, Ordering::Relaxed);
                }
                self.startups.park(Parked::new(irp, Owner::Handle(handle.clone()), Kind::Startup));
                client.driver().watchdog.watch();
                self.home(client).queue_work();
                STATUS_PENDING
            }
        }
    }

    /// Counts a startup, if the instance is up. Under the lifecycle's lock.
    fn count(
        &self,
        lifecycle: &mut Lifecycle,
        share: &mut Share,
        request: &StartupRequest,
    ) -> wskclient_lifecycle::Startup {
        let startup = lifecycle.startup(share);
        if let wskclient_lifecycle::Startup::Counted(_) = startup {
            let lowest = WinsockVersion(self.version.load(Ordering::Relaxed)).lower(request.version);
            self.version.store(lowest.0, Ordering::Relaxed);
        }
        startup
    }

    /// Whether startups were made for a version without overlapped I/O: then every call that stays out is a blocking one. As Windows'
    /// `ws2_32.dll` does for a process, the lowest version of all startups since the first counts.
    pub fn is_before_2_0(&self) -> bool {
        self.references() != 0 && !WinsockVersion(self.version.load(Ordering::Relaxed)).has_overlapped_io()
    }

    /// Whether the network subsystem still serves what is up (contract: WSA-6). What is not up is the worker's to find out.
    fn is_served(&self, client: &Ref<Client>) -> bool {
        if !self.enter() {
            return true;
        }
        let served = client.driver().subsystem.is_served();
        self.leave(client);
        served
    }

    /// Whether look-ups are out.
    pub fn has_look_ups(&self) -> bool {
        !self.look_ups.lock().is_empty()
    }

    /// Cancels the look-ups of a client that knows no overlapped I/O; how many.
    pub fn interrupt_look_ups(&self) -> u32 {
        self.cancel_look_ups(Why::Interrupted, |_| true)
    }

    /// A cleanup (contract: WSA-2, WSP-1). The last one completes when the teardown is over; if it is cancelled before, only the
    /// waiting ends.
    pub fn cleanup(&self, handle: &Ref<Handle>, irp: Irp) -> NTSTATUS {
        let client = handle.client();
        if self.target == Target::Application && self.is_before_2_0() && client.has_blocking_calls() {
            // Nothing is lost: the calls are cancelled first (contract: WSA-7).
            return irp.complete(WsaError::InProgress.status(), 0);
        }
        let released = self.event(handle, Lifecycle::cleanup);
        match released {
            Released::None => irp.complete(WsaError::NotInitialised.status(), 0),
            Released::Remaining(_) => {
                client.take(Kind::Cleanup);
                client.complete(irp, Kind::Cleanup, STATUS_SUCCESS, 0)
            }
            Released::Last => {
                client.take(Kind::Cleanup);
                irp.mark_pending();
                self.cleanups.park(Parked::new(irp, Owner::Handle(handle.clone()), Kind::Cleanup));
                self.begin_teardown(client);
                STATUS_PENDING
            }
        }
    }

    /// The last reference is released: nobody comes in any more, and the worker does the rest.
    pub fn begin_teardown(&self, client: &Ref<Client>) {
        self.stopping_since.store(clock::now(), Ordering::Relaxed);
        self.long_teardown.store(false, Ordering::Relaxed);
        client.driver().watchdog.watch();
        // Drained or not, the worker looks.
        let (Closed::Empty | Closed::Draining | Closed::Already) = self.gate.close();
        self.home(client).queue_work();
    }

    /// What the instance is part of, for a client that uses it.
    fn home<'a>(&self, client: &'a Ref<Client>) -> Home<'a> {
        self.target.home(client)
    }

    /// Cancels what waits and came through a handle.
    pub fn cancel_requests_of(&self, opener: Opener) {
        for queue in [&self.startups, &self.cleanups] {
            while let Some(parked) = queue.pop_of(opener) {
                parked.complete(WsaError::OperationAborted.status(), 0);
            }
        }
        self.cancel_look_ups(Why::Aborted, |look_up| look_up.came_through(opener));
    }

    /// Looks at the startups and cleanups that wait, and at the look-ups that are out: whose, their kind, and when each was taken. `visit` is called under a spin lock.
    pub fn parked(&self, mut visit: impl FnMut(&Client, Kind, u64)) {
        for queue in [&self.startups, &self.cleanups] {
            queue.for_each(&mut visit);
        }
        let look_ups = self.look_ups.lock();
        let mut next = look_ups.first();
        while let Some(links) = next {
            // SAFETY: in the list, so there while the lock is held.
            let look_up = unsafe { LookUp::from_links(links).as_ref() };
            visit(look_up.client(), look_up.kind(), look_up.since());
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
    }

    /// When the teardown began that is under way, if one is.
    pub fn stopping_since(&self) -> Option<u64> {
        let stopping = self.lifecycle().state() == State::Stopping;
        stopping.then(|| self.stopping_since.load(Ordering::Relaxed))
    }

    /// The first of the sockets that the teardown has begun to close.
    pub fn first_ending(&self) -> Option<Ref<Socket>> {
        let mut sockets = self.sockets.lock();
        let links = sockets.list(true).first()?;
        // SAFETY: the place is built into a socket, which stays while it is in the list.
        let socket = unsafe { Socket::from_links(links).as_ref() };
        // SAFETY: it has left neither the list nor the last pointer to it.
        Some(unsafe { Ref::again(socket) })
    }

    /// Since when the oldest startup waits that does, and what for.
    pub fn startup_waits(&self, driver: &Driver) -> Option<(u64, Awaited)> {
        let mut oldest = None;
        self.startups.for_each(|_, _, since| {
            oldest.get_or_insert(since);
        });
        let awaited = match self.lifecycle().state() {
            State::Starting => Awaited::Provider,
            State::Stopping => Awaited::Teardown,
            State::Down if driver.is_clearing_up() => Awaited::Teardown,
            State::Down | State::Up => Awaited::Worker,
        };
        oldest.map(|since| (since, awaited))
    }

    /// Goes in, to create a socket: false unless the provider is up.
    pub fn enter(&self) -> bool {
        self.gate.enter_any()
    }

    /// Comes out.
    pub fn leave(&self, client: &Ref<Client>) {
        if self.gate.leave() == Left::Last {
            self.home(client).queue_work();
        }
    }

    /// A socket that is inside the gate joins the instance.
    pub fn add(&self, links: NonNull<Links>, client: &Ref<Client>) {
        // SAFETY: a new socket is in no list, and leaves this one before it goes.
        unsafe { self.sockets.lock().open.push(links) };
        // A teardown may have come by between the entering and this, and have missed the socket.
        if self.gate.is_closed() {
            self.home(client).queue_work();
        }
    }

    /// A socket leaves the instance; it knows whether the teardown has come to it.
    pub fn remove(&self, socket: &Socket) {
        let mut sockets = self.sockets.lock();
        // SAFETY: under the lock that the mark is used under.
        let ending = unsafe { socket.ending() };
        // SAFETY: in this list, by the mark.
        unsafe { sockets.list(ending).remove(socket.links()) };
    }

    /// A look-up that is inside the gate joins the instance.
    pub fn add_look_up(&self, links: NonNull<Links>, client: &Ref<Client>) {
        // SAFETY: a new look-up is in no list, and leaves this one before it goes.
        unsafe { self.look_ups.lock().push(links) };
        // As for sockets.
        if self.gate.is_closed() {
            self.home(client).queue_work();
        }
    }

    /// A look-up leaves the instance.
    ///
    /// # Safety
    /// It has been added.
    pub unsafe fn remove_look_up(&self, links: NonNull<Links>) {
        // SAFETY: the caller's promise.
        unsafe { self.look_ups.lock().remove(links) };
    }

    /// Cancels the look-ups that are wanted, each once; how many. They are finished on the worker.
    fn cancel_look_ups(&self, why: Why, wanted: impl Fn(&LookUp) -> bool) -> u32 {
        let mut count = 0_u32;
        while let Some(look_up) = self.hold_look_up(why, &wanted) {
            look_up.cancel_held();
            count = count.wrapping_add(1);
        }
        count
    }

    fn hold_look_up(&self, why: Why, wanted: impl Fn(&LookUp) -> bool) -> Option<Ref<LookUp>> {
        let look_ups = self.look_ups.lock();
        let mut next = look_ups.first();
        while let Some(links) = next {
            // SAFETY: a look-up leaves the list before it goes.
            let look_up = unsafe { LookUp::from_links(links).as_ref() };
            if wanted(look_up) && look_up.hold_for_cancel(why) {
                // SAFETY: it has not left the list, so a reference to it exists.
                return Some(unsafe { Ref::again(look_up) });
            }
            // SAFETY: in the list whose lock is held.
            next = unsafe { Links::after(links) };
        }
        None
    }

    /// The worker's run: makes every transition that can be made now.
    pub fn run(&self, home: Home<'_>, passive: Passive) {
        if self.lifecycle().state() == State::Stopping {
            self.cancel_look_ups(Why::Aborted, |_| true);
            self.end_sockets();
            if !self.gate.is_drained() {
                self.leave_lingering(home);
                return;
            }
            self.finish_teardown(home, passive);
        }
        if !self.startups.is_empty() {
            self.start(home, passive);
        } else if self.lifecycle().state() == State::Starting {
            // Everybody who waited has given up.
            self.change(|| home.process(), Lifecycle::start_ended);
            home.driver().watchdog.watch();
            home.driver().subsystem.give_up(passive);
        }
    }

    /// Lets startups go on if nothing but lingering sockets is left of a dead client.
    fn leave_lingering(&self, home: Home<'_>) {
        let Home::Client(client) = home else { return };
        // A socket that lingers counts as such until just before it gives its slot back.
        let only_lingering = client.table.used() == client.lingering.load(Ordering::Acquire);
        if self.target.policy().lingers_at_teardown && only_lingering && self.of_dead.swap(false, Ordering::Relaxed) {
            client.driver().cleared_up();
        }
    }

    /// Whether a teardown is under way that startups wait for.
    pub fn is_awaited(&self) -> bool {
        self.of_dead.load(Ordering::Relaxed)
    }

    /// Closes every socket, each once. Linear in their number: what the teardown has come to is moved to the other list.
    fn end_sockets(&self) {
        while let Some(socket) = self.next_to_end() {
            socket.close();
        }
    }

    fn next_to_end(&self) -> Option<Ref<Socket>> {
        let mut sockets = self.sockets.lock();
        let links = sockets.open.pop()?;
        // SAFETY: in no list now.
        unsafe { sockets.ending.push(links) };
        // SAFETY: the place is built into a socket, which stays while it is in the list.
        let socket = unsafe { Socket::from_links(links).as_ref() };
        // SAFETY: under the lock that the mark is used under.
        unsafe { socket.set_ending() };
        // SAFETY: it has left neither the list nor the last pointer to it (a socket leaves the list before it goes).
        Some(unsafe { Ref::again(socket) })
    }

    /// Nothing is inside: gives back what the instance holds, and completes the cleanups.
    fn finish_teardown(&self, home: Home<'_>, passive: Passive) {
        let driver = home.driver();
        let since = self.stopping_since.load(Ordering::Relaxed);
        let tell = |phase| trace::teardown(self.target.provider(), phase, since, || home.process());
        tell(Phase::Drained);
        driver.subsystem.release(passive);
        driver.worker.release();
        tell(Phase::Released);
        self.change(|| home.process(), Lifecycle::stopped);
        driver.teardown_finished(self.of_dead.swap(false, Ordering::Relaxed));
        tell(Phase::Finished);
        while let Some(parked) = self.cleanups.pop() {
            parked.complete(STATUS_SUCCESS, 0);
        }
        // SAFETY: kept since the instance came up, and it is down.
        unsafe { home.let_go() };
    }

    /// Brings the instance up for the startups that wait, if it is not, and counts them.
    fn start(&self, home: Home<'_>, passive: Passive) {
        let driver = home.driver();
        if self.lifecycle().state() == State::Down && driver.is_clearing_up() {
            // What a dead process left, perhaps this one's predecessor, is given back first: its ports are free then (contract: WSP-9).
            home.postpone();
            return;
        }
        if self.change(|| home.process(), Lifecycle::begin) {
            self.attempts.store(0, Ordering::Relaxed);
        }
        let state = self.lifecycle().state();
        match state {
            State::Starting => match driver.subsystem.acquire(passive) {
                Acquired::Ready => self.admit_first(home, passive),
                Acquired::NotYet if self.attempts.fetch_add(1, Ordering::Relaxed) < CAPTURE_ATTEMPTS => {
                    home.queue_work();
                }
                Acquired::NotYet | Acquired::Failed => self.refuse_all(home, passive),
            },
            State::Up => {}
            // A teardown has begun meanwhile: its end runs this again.
            State::Stopping | State::Down => return,
        }
        self.admit(home);
    }

    /// The subsystem is there: the first startup that still waits takes the first reference.
    fn admit_first(&self, home: Home<'_>, passive: Passive) {
        let driver = home.driver();
        let Some((parked, request)) = self.pop_startup() else {
            // Everybody who waited has given up.
            self.change(|| home.process(), Lifecycle::start_ended);
            driver.subsystem.release(passive);
            return;
        };
        driver.worker.keep();
        home.keep();
        let _generation = self.gate.open();
        let Owner::Handle(handle) = &parked.owner else { return };
        let started = self.event(handle, |lifecycle, share| {
            self.version.store(request.version.0, Ordering::Relaxed);
            lifecycle.started(share)
        });
        debug_assert!(started, "it was starting, with no reference");
        self.answer(parked, &request, 1);
    }

    /// Counts the startups that wait, while the instance is up.
    fn admit(&self, home: Home<'_>) {
        while self.lifecycle().state() == State::Up {
            let Some((parked, request)) = self.pop_startup() else {
                return;
            };
            let Owner::Handle(handle) = &parked.owner else { return };
            let startup = self.event(handle, |lifecycle, share| self.count(lifecycle, share, &request));
            match startup {
                wskclient_lifecycle::Startup::Counted(references) => self.answer(parked, &request, references),
                wskclient_lifecycle::Startup::Refused => parked.complete(WsaError::NoBuffers.status(), 0),
                wskclient_lifecycle::Startup::Waits(_) => {
                    // The last reference went meanwhile.
                    self.startups.park(parked);
                    home.queue_work();
                    return;
                }
            }
        }
    }

    /// Answers a startup that has been counted. If its handle has died meanwhile, the reference goes with it.
    fn answer(&self, mut parked: Parked, request: &StartupRequest, references: u32) {
        let Owner::Handle(handle) = &parked.owner else { return };
        let handle = handle.clone();
        if handle.is_dead() {
            parked.complete(WsaError::OperationAborted.status(), 0);
            let released = self.handle_died(&handle);
            if released == Released::Last {
                self.begin_teardown(handle.client());
            }
            return;
        }
        let length = parked.irp.reply(&request.reply(references, &handle.client().driver().limits));
        parked.complete(STATUS_SUCCESS, length);
    }

    /// The next startup that waits. Its input was valid when it was parked, and nobody has written it since.
    fn pop_startup(&self) -> Option<(Parked, StartupRequest)> {
        loop {
            let parked = self.startups.pop()?;
            match StartupRequest::decode(&parked.irp) {
                Ok(request) => return Some((parked, request)),
                Err(status) => parked.complete(status, 0),
            }
        }
    }

    /// The network subsystem is not there: nobody is counted (contract: WSA-6).
    fn refuse_all(&self, home: Home<'_>, passive: Passive) {
        // Those that have waited: whoever comes from now on, perhaps because one of them was told, tries anew.
        let waiting = self.startups.count();
        self.change(|| home.process(), Lifecycle::start_ended);
        home.driver().watchdog.watch();
        home.driver().subsystem.give_up(passive);
        for parked in core::iter::from_fn(|| self.startups.pop()).take(waiting) {
            parked.complete(WsaError::SystemNotReady.status(), 0);
        }
        if !self.startups.is_empty() {
            home.queue_work();
        }
    }
}
