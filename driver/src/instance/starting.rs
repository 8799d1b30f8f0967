//! The start of a provider, for the startups that wait: on the worker, since it may wait for the network subsystem.

use super::Instance;
use crate::driver::{Acquired, CAPTURE_ATTEMPTS, Driver};
use crate::queue::{Owner, Parked};
use crate::startup::StartupRequest;
use crate::target::Home;
use core::sync::atomic::Ordering;
use wsk::Passive;
use wskclient_abi::{STATUS_SUCCESS, WsaError};
use wskclient_lifecycle::{Lifecycle, Released, Startup, State};

impl Instance {
    /// Brings the instance up for the startups that wait, if it is not, and counts them.
    pub(super) fn start(&self, home: Home<'_>, passive: Passive) {
        let driver = home.driver();
        if self.waits_for_the_dead(self.lifecycle().state(), driver) {
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

    /// Whether startups wait until what a dead process left, perhaps this one's predecessor, is given back: its ports are free then
    /// (contract: WSP-9). Who has a provider that is up goes on with it, but for one that is others' too.
    pub(super) fn waits_for_the_dead(&self, state: State, driver: &Driver) -> bool {
        let may_be_anew = match state {
            State::Down => true,
            State::Up => self.target.is_drivers(),
            State::Starting | State::Stopping => false,
        };
        may_be_anew && driver.is_clearing_up()
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
                Startup::Counted(references) => self.answer(parked, &request, references),
                Startup::Refused => parked.complete(WsaError::NoBuffers.status(), 0),
                Startup::Waits(_) => {
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
