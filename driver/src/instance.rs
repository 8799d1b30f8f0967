//! A provider that is started: by a client for itself, or by all of them together; from the first startup to the end of the teardown.
//!
//! Requests change counts where they arrive; every transition that takes work is made on the worker, one after the other. So a
//! startup that arrives during the teardown waits, and starts afresh; and a teardown finds nobody starting.

mod members;
mod starting;
mod teardown;

use self::members::Sockets;
use crate::cancel::Why;
use crate::client::{Client, Handle, Opener};
use crate::clock;
use crate::driver::Driver;
use crate::irp::Irp;
use crate::list::List;
use crate::lock::{Guard, SpinLock};
use crate::queue::{IrpQueue, Owner, Parked};
use crate::startup::StartupRequest;
use crate::target::{Home, Target};
use crate::trace;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use wdk_sys::NTSTATUS;
use wsk::{Passive, Ref};
use wskclient_abi::{Awaited, Kind, STATUS_PENDING, STATUS_SUCCESS, WinsockVersion, WsaError};
use wskclient_lifecycle::{Gate, Lifecycle, Released, Share, Startup, State};

/// A target's startups, and what belongs to it.
///
/// # Invariants
/// - The gate is open while the lifecycle is up, from just before the first reference counts. Every socket of the instance is inside
///   from its creation until WSK has it back.
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
    /// When the teardown under way began. Written under the lifecycle's lock.
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
            sockets: SpinLock::new(Sockets::none()),
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
            if lifecycle.state() == State::Stopping {
                // From here on there is a teardown to watch.
                self.stopping_since.store(clock::now(), Ordering::Relaxed);
                self.long_teardown.store(false, Ordering::Relaxed);
            }
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
        let count = |lifecycle: &mut Lifecycle, share: &mut Share| match lifecycle.state() {
            state if self.waits_for_the_dead(state, client.driver()) => Startup::Waits(state),
            _ => self.count(lifecycle, share, request),
        };
        let startup = self.event(handle, |lifecycle, share| (!handle.is_dead()).then(|| count(lifecycle, share)));
        let Some(startup) = startup else { return irp.complete(WsaError::OperationAborted.status(), 0) };
        match startup {
            Startup::Counted(references) => {
                client.take_in_passing(&irp, Kind::Startup);
                let length = irp.reply(&request.reply(references, &client.driver().limits));
                client.complete(irp, Kind::Startup, STATUS_SUCCESS, length)
            }
            Startup::Refused => irp.complete(WsaError::NoBuffers.status(), 0),
            Startup::Waits(_) => {
                let Ok(charge) = client.charge(&irp, Kind::Startup) else {
                    return irp.complete(WsaError::NoBuffers.status(), 0);
                };
                charge.take();
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
    fn count(&self, lifecycle: &mut Lifecycle, share: &mut Share, request: &StartupRequest) -> Startup {
        let startup = lifecycle.startup(share);
        if let Startup::Counted(_) = startup {
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

    /// What the instance is part of, for a client that uses it.
    fn home<'a>(&self, client: &'a Ref<Client>) -> Home<'a> {
        self.target.home(client)
    }

    /// Cancels what waits and came through a handle.
    pub fn cancel_requests_of(&self, opener: Opener) {
        for queue in [&self.startups, &self.cleanups] {
            queue.drain_of(opener, |parked| parked.complete(WsaError::OperationAborted.status(), 0));
        }
        self.cancel_look_ups(Why::Aborted, |look_up| look_up.came_through(opener));
    }

    /// Looks at the startups and cleanups that wait, and at the look-ups that are out: whose, their kind, and when each was taken.
    /// `visit` is called under a spin lock.
    pub fn parked(&self, mut visit: impl FnMut(&Client, Kind, u64)) {
        for queue in [&self.startups, &self.cleanups] {
            queue.for_each(&mut visit);
        }
        self.each_look_up(|look_up| visit(look_up.client(), look_up.kind(), look_up.since()));
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
            State::Down | State::Up if driver.is_clearing_up() => Awaited::Teardown,
            State::Down | State::Up => Awaited::Worker,
        };
        oldest.map(|since| (since, awaited))
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
}
