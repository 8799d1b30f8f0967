//! What belongs to a provider that is started: the sockets and the look-ups that are inside its gate.

use super::Instance;
use crate::cancel::Why;
use crate::client::Client;
use crate::list::{Links, List};
use crate::names::{HeldLookUps, LookUp};
use crate::socket::Socket;
use core::ptr::NonNull;
use wsk::Ref;
use wskclient_lifecycle::Left;

/// The instance's sockets.
pub(super) struct Sockets {
    /// Those that the teardown has not come to.
    pub(super) open: List,
    /// Those that the teardown has begun to close.
    pub(super) ending: List,
}

impl Sockets {
    pub(super) const fn none() -> Self {
        Self { open: List::new(), ending: List::new() }
    }

    /// The list that a socket is in.
    const fn list(&mut self, ending: bool) -> &mut List {
        if ending { &mut self.ending } else { &mut self.open }
    }
}

impl Instance {
    /// Goes in, to create a socket: false unless the provider is up.
    pub fn enter(&self) -> bool {
        self.gate.enter_any()
    }

    /// Goes in once more, for a request that outlasts the member that it is made on.
    pub fn enter_again(&self) {
        self.gate.enter_again();
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

    /// Whether look-ups are out.
    pub fn has_look_ups(&self) -> bool {
        !self.look_ups.lock().is_empty()
    }

    /// Cancels the look-ups of a client that knows no overlapped I/O; how many.
    pub fn interrupt_look_ups(&self) -> u32 {
        self.cancel_look_ups(Why::Interrupted, |_| true)
    }

    /// Looks at every look-up, oldest first. `visit` is called under a spin lock.
    pub(super) fn each_look_up(&self, mut visit: impl FnMut(&LookUp)) {
        let look_ups = self.look_ups.lock();
        let mut next = look_ups.first();
        while let Some(links) = next {
            // SAFETY: a look-up leaves the list, under its lock, before it goes.
            visit(unsafe { LookUp::from_links(links).as_ref() });
            // SAFETY: in this list.
            next = unsafe { Links::after(links) };
        }
    }

    /// Cancels the look-ups that are wanted and were not cancelled before; how many. They are held in one pass, and cancelled with no
    /// lock held. They are finished on the worker.
    pub(super) fn cancel_look_ups(&self, why: Why, wanted: impl Fn(&LookUp) -> bool) -> u32 {
        let mut held = HeldLookUps::none();
        self.each_look_up(|look_up| {
            if wanted(look_up) {
                // SAFETY: in the list, under its lock.
                unsafe { held.hold(look_up, why) };
            }
        });
        held.cancel()
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
}
