//! The teardown of a provider: from its last reference to the completion of its cleanups.

use super::Instance;
use crate::client::Client;
use crate::socket::Socket;
use crate::target::Home;
use crate::trace::{self, Phase};
use core::sync::atomic::Ordering;
use wsk::{Passive, Ref};
use wskclient_abi::STATUS_SUCCESS;
use wskclient_lifecycle::{Closed, Lifecycle, State};

impl Instance {
    /// The last reference is released: nobody comes in any more, and the worker does the rest.
    pub fn begin_teardown(&self, client: &Ref<Client>) {
        client.driver().watchdog.watch();
        // Drained or not, the worker looks.
        let (Closed::Empty | Closed::Draining | Closed::Already) = self.gate.close();
        self.home(client).queue_work();
    }

    /// When the teardown began that is under way, if one is.
    pub fn stopping_since(&self) -> Option<u64> {
        let stopping = self.lifecycle().state() == State::Stopping;
        stopping.then(|| self.stopping_since.load(Ordering::Relaxed))
    }

    /// Lets startups go on if nothing but lingering sockets is left of a dead client.
    pub(super) fn leave_lingering(&self, home: Home<'_>) {
        let Home::Client(client) = home else { return };
        let may_linger = self.target.policy().lingers_at_teardown && client.has_lingering_only();
        if may_linger && self.of_dead.swap(false, Ordering::Relaxed) {
            client.driver().cleared_up();
        }
    }

    /// Whether a teardown is under way that startups wait for.
    pub fn is_awaited(&self) -> bool {
        self.of_dead.load(Ordering::Relaxed)
    }

    /// Closes every socket, each once. Linear in their number: what the teardown has come to is moved to the other list.
    pub(super) fn end_sockets(&self) {
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
    pub(super) fn finish_teardown(&self, home: Home<'_>, passive: Passive) {
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
}
