//! An IRP while the provider has it: taken, perhaps pending, completed once.
//!
//! One idea: an IRP in WSK is a [`Request`], a value that is neither copied nor dropped, so whoever holds it completes it. While it
//! waits it lies in a lane of its socket, with a cancel routine; to take it out one must hold the socket's lock and get the cancel
//! routine back from the IRP. If that is gone, `IoCancelIrp` is on its way and the cancel routine takes the IRP instead.
//!
//! Source: *Using IRPs with Winsock Kernel Functions*, *Using the System's Cancel Spin Lock*.

use std::fmt;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wsk::sys;

use super::kernel;
use super::registration::Client;
use super::rules;
use super::socket::Socket;
use super::status::{self, Status};
use super::{Provider, ProviderState};
use crate::call::{self, Stopped};
use crate::irp;
use crate::nt;
use crate::rules::record;

/// Every bit that `IoSetCompletionRoutine` sets when it is told TRUE, TRUE, TRUE.
const INVOKE_ALWAYS: u8 = nt::SL_INVOKE_ON_SUCCESS | nt::SL_INVOKE_ON_ERROR | nt::SL_INVOKE_ON_CANCEL;
/// What a driver finds in the fields of an IRP that belong to whoever has it.
const SCRIBBLE: usize = 0xdead_5757_dead_5757;

/// Whose work an IRP is.
#[derive(Clone)]
pub enum Owner {
    /// A function of a socket.
    Socket(Arc<Socket>),
    /// A function of the provider's dispatch table.
    Client(Arc<Client>),
}

impl Owner {
    /// The registration behind it.
    pub fn client(&self) -> &Arc<Client> {
        match self {
            Self::Socket(socket) => &socket.client,
            Self::Client(client) => client,
        }
    }
}

/// What the provider remembers of an IRP that it has.
#[derive(Clone)]
pub struct Record {
    pub owner: Owner,
    pub number: u64,
    pub function: &'static str,
    pub since: Instant,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IRP of {}", self.function)?;
        if let Owner::Socket(socket) = &self.owner {
            write!(f, " on {socket}")?;
        }
        write!(f, ", for {} ms", self.since.elapsed().as_millis())
    }
}

/// An IRP that the provider has and has to complete.
#[must_use = "an IRP that was taken has to be completed"]
pub struct Request {
    irp: *mut nt::IRP,
    pub owner: Owner,
    /// Its place among all IRPs of the provider, in the order of the calls.
    pub number: u64,
}

// SAFETY: the IRP belongs to the provider until it is completed, and only the holder of the request uses it.
unsafe impl Send for Request {}

/// An IRP whose result is known.
#[must_use = "an IRP that is finished has to be completed"]
pub struct Finished {
    pub request: Request,
    pub status: Status,
    pub information: usize,
    /// How many more turns of the network thread it is held back.
    pub hold: u32,
}

impl Request {
    fn irp(&self) -> &nt::IRP {
        // SAFETY: the IRP is valid until the provider completes it, which consumes the request.
        unsafe { &*self.irp }
    }

    fn location(&self) -> &nt::IO_STACK_LOCATION {
        // SAFETY: `take` made sure of a location and made it the current one.
        unsafe { &*self.irp().current() }
    }

    /// The IRP, for the record.
    pub fn address(&self) -> usize {
        self.irp as usize
    }

    /// `IoMarkIrpPending`.
    pub fn mark_pending(&self) {
        let location = self.location();
        location.Control.set(location.Control.get() | nt::SL_PENDING_RETURNED);
        irp::history(self.irp, "marked pending by WSK, control", location.Control.get().into());
    }

    /// Lets the IRP be cancelled. False: it has been cancelled already, and the caller still has it.
    ///
    /// Called with the lock held under which the cancel routine looks for the request.
    #[must_use]
    pub fn arm(&self) -> bool {
        kernel::set_cancel_routine(self.irp, cancel_routine as *const () as usize);
        self.irp().Cancel.load(Ordering::SeqCst) == 0 || !self.disarm()
    }

    /// Takes the cancel routine back. False: it runs, or is about to, and completes the IRP.
    #[must_use]
    pub fn disarm(&self) -> bool {
        kernel::set_cancel_routine(self.irp, 0) != 0
    }

    /// The result of the IRP, once.
    pub fn finish(self, status: Status, information: usize) -> Finished {
        Finished { request: self, status, information, hold: 0 }
    }
}

impl Provider {
    /// Takes an IRP as the next lower driver does: checks it, and uses its next stack location.
    pub fn take(
        self: &Arc<Self>,
        function: &'static str,
        irp: *mut sys::Irp,
        owner: Owner,
    ) -> Result<Request, Stopped> {
        let irp: *mut nt::IRP = irp.cast();
        // SAFETY: null, or an IRP of the driver; the lab's memory protection catches one that is freed.
        let Some(packet) = (unsafe { irp.as_ref() }) else {
            return Err(record(&rules::NO_IRP, format!("{function} got no IRP"), Vec::new()));
        };
        let (location, count) = (packet.CurrentLocation.get(), packet.StackCount.get());
        let found = self.irps.lock().get(&(irp as usize)).cloned();
        if let Some(found) = found {
            let message = format!("{function} got an {found}");
            return Err(record(&rules::IRP_IN_USE, message, irp::events(irp)));
        }
        if location <= 1 {
            let message = format!("{function} got an IRP with {count} stack locations, of which none is free");
            return Err(record(&crate::rules::NO_STACK_LOCATION, message, irp::events(irp)));
        }
        // SAFETY: the location below the current one is inside the IRP, for `location` is above 1.
        let next = unsafe { &*packet.next() };
        let control = next.Control.get() & INVOKE_ALWAYS;
        if location == count + 1 && irp::is_used(irp) {
            let message = format!("{function} got an IRP of the driver's own that was completed and not reused since");
            return Err(record(&rules::IRP_NOT_REUSED, message, irp::events(irp)));
        }
        if location == count + 1 && (next.CompletionRoutine.get() == 0 || control != INVOKE_ALWAYS) {
            let message = format!(
                "{function} got an IRP of the driver's own with completion routine {:#x} and control {control:#04x}",
                next.CompletionRoutine.get()
            );
            return Err(record(&rules::NO_COMPLETION_ROUTINE, message, irp::events(irp)));
        }
        packet.advance();
        next.MajorFunction.set(nt::IRP_MJ_INTERNAL_DEVICE_CONTROL);
        next.MinorFunction.set(0);
        next.Control.set(control);
        next.Parameters.set([SCRIBBLE; 4]);
        next.DeviceObject.set(null_mut());
        packet.DriverContext.set([SCRIBBLE as nt::PVOID; 4]);
        irp::history(irp, function, irp as usize);

        if self.totals.irps.fetch_add(1, Ordering::SeqCst) + 1 == self.lose_at.load(Ordering::SeqCst) {
            self.set_state(ProviderState::Lost);
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let found = Record { owner: owner.clone(), number, function, since: Instant::now() };
        self.irps.lock().insert(irp as usize, found);
        owner.client().irp_taken();
        if let Owner::Socket(socket) = &owner {
            socket.irp_taken();
        }
        Ok(Request { irp, owner, number })
    }

    /// Makes an IRP of the client one of a socket that it has made.
    pub fn pass_to_socket(&self, mut request: Request, socket: &Arc<Socket>) -> Request {
        request.owner = Owner::Socket(Arc::clone(socket));
        if let Some(found) = self.irps.lock().get_mut(&request.address()) {
            found.owner = request.owner.clone();
        }
        socket.irp_taken();
        request
    }

    /// Ends an IRP inside the call that brought it: completes it now, or leaves that to the network thread.
    ///
    /// The result is what the call returns.
    pub fn conclude(self: &Arc<Self>, request: Request, status: Status, information: usize) -> Result<Status, Stopped> {
        if self.completes_inline() {
            // Windows may do either: return the final status, or mark the IRP and return STATUS_PENDING.
            let pending = self.coin();
            if pending {
                request.mark_pending();
            }
            self.complete(request.finish(status, information))?;
            Ok(if pending { status::PENDING } else { status })
        } else {
            request.mark_pending();
            self.finish_later(request.finish(status, information));
            Ok(status::PENDING)
        }
    }

    /// Completes an IRP on this thread. The caller holds no lock.
    pub fn complete(self: &Arc<Self>, finished: Finished) -> Result<(), Stopped> {
        let Finished { request, status, information, .. } = finished;
        self.irps.lock().remove(&request.address());
        request.irp().set_status(status, information);
        let Request { irp, owner, .. } = request;
        let outcome = self.at_some_level(|_| kernel::in_completion(|| irp::complete(irp)));
        if let Owner::Socket(socket) = &owner {
            socket.irp_returned(self);
        }
        owner.client().irp_returned();
        self.changed();
        outcome
    }
}

/// The provider's cancel routine: called with the cancel spin lock held, which it releases first.
extern "win64" fn cancel_routine(_device: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) {
    let outcome = cancel(irp);
    call::or_escape(outcome);
}

fn cancel(irp: *mut nt::IRP) -> Result<(), Stopped> {
    kernel::release_cancel_lock(irp)?;
    let provider = kernel::provider();
    let found = provider.irps.lock().get(&(irp as usize)).cloned();
    match found {
        Some(Record { owner: Owner::Socket(socket), number, .. }) => {
            socket.cancel(&provider, number)?;
            provider.cancel_change(number)
        }
        Some(Record { owner: Owner::Client(_), number, .. }) => {
            provider.cancel_look_up(number)?;
            provider.cancel_change(number)
        }
        None => Ok(()),
    }
}
