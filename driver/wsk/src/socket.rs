//! What every socket has: its life from the call that makes it to the end of `WskCloseSocket`.
//!
//! One idea: calls come in through a gate, and the close shuts it. Whoever makes the gate both shut and empty gives the socket to
//! `WskCloseSocket`: the closer, or the last caller to leave. So the close overlaps no call, and nobody has to think of that.

use crate::address::{Family, Storage};
use crate::client::Hold;
use crate::gate::{Closed, Gate};
use crate::kernel::{Event as KernelEvent, EventKind, MORE_PROCESSING_REQUIRED, OwnIrp};
use crate::operation::{self, Arguments, NotMade, Operation, Outcome, UNSUCCESSFUL};
use crate::worker::Work;
use crate::{
    Callbacks, Category, Claim, Client, Error, Event, MayCall, OutOfPool, Passive, Ref, Returned, Running, Sink,
    SocketRef, sys,
};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::net::SocketAddr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use sys::NtStatus;

/// Who is told of a socket's events.
pub(crate) type Listening = Box<dyn Fn(Event) + Send + Sync>;

/// # Invariants
/// - `wsk` is written once, by the end of the operation that makes the socket, before anybody else has it; it is used inside the gate,
///   and by the one close.
/// - `hold` is there until WSK has closed the socket, or never made it; it is used inside the gate, or by the one close.
/// - `close_irp` is out at WSK, or nobody's. WSK has a reference to this while it is out.
pub struct SocketState {
    work: Work,
    gate: Gate,
    category: Category,
    family: Family,
    /// An accept is out.
    accepting: AtomicBool,
    wsk: UnsafeCell<Option<SocketRef>>,
    hold: UnsafeCell<Option<Hold>>,
    events: Option<Listening>,
    close_irp: OwnIrp,
    close_claim: Claim,
    closed: KernelEvent,
}

// SAFETY: by the type's invariants one party at a time writes the cells, in an order that the gate makes.
unsafe impl Send for SocketState {}
// SAFETY: by the type's invariants one party at a time writes the cells, in an order that the gate makes.
unsafe impl Sync for SocketState {}

/// The callbacks of sockets that have somebody to tell.
static CALLBACKS: Callbacks = Callbacks::new::<SocketState>();

impl Sink for SocketState {
    unsafe fn event(context: *mut c_void, event: Event) {
        let _running = Running::enter(context);
        // SAFETY: the socket was created with its state as the context, which stays until it is closed.
        let socket = unsafe { &*context.cast::<Self>() };
        if let Some(events) = &socket.events {
            events(event);
        }
    }
}

impl SocketState {
    fn try_new(
        hold: Hold,
        family: Family,
        category: Category,
        events: Option<Listening>,
    ) -> Result<Ref<Self>, OutOfPool> {
        let socket = Ref::try_new(Self {
            work: Work::new(close_queued),
            gate: Gate::open(),
            category,
            family,
            accepting: AtomicBool::new(false),
            wsk: UnsafeCell::new(None),
            hold: UnsafeCell::new(Some(hold)),
            events,
            close_irp: OwnIrp::try_new()?,
            close_claim: Claim::new(),
            closed: KernelEvent::new(),
        })?;
        // SAFETY: in pool, where it stays; nobody else has it.
        unsafe { socket.closed.initialize(EventKind::Stays) };
        Ok(socket)
    }

    /// What the socket is for.
    pub(crate) const fn category(&self) -> Category {
        self.category
    }

    pub(crate) const fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn check_family(&self, address: &SocketAddr) -> Result<(), Error> {
        if Family::of(address) == self.family { Ok(()) } else { Err(Error::Family) }
    }

    /// An accept goes out, if none is.
    pub(crate) fn begin_accept(&self) -> Result<(), Error> {
        if self.accepting.swap(true, Ordering::AcqRel) { Err(Error::Busy) } else { Ok(()) }
    }

    /// The accept is back, or did not go out.
    pub(crate) fn end_accept(&self) {
        self.accepting.store(false, Ordering::Release);
    }

    /// Gives the socket back to WSK.
    ///
    /// # Safety
    /// The gate is closed and empty, and this is the one party that found it so; WSK may be called, unless there is no socket.
    unsafe fn give_back(socket: &Ref<Self>) {
        // SAFETY: the one close (invariant).
        let Some(wsk) = (unsafe { *socket.wsk.get() }) else { return socket.given_back() };
        let context = socket.clone().into_raw();
        // SAFETY: nobody's until now (invariant); the routine takes over the reference that is the context.
        unsafe { socket.close_irp.set_completion_routine(close_completed, context.as_ptr().cast()) };
        // SAFETY: nobody is in a call or makes one, and this is the one close (caller); outside of completions and callbacks (caller).
        let status = unsafe { wsk.close(socket.close_irp.as_ptr()) };
        if socket.close_claim.returned(status == operation::PENDING) == Returned::NeverTaken {
            // SAFETY: the routine won't run: the reference is ours again.
            drop(unsafe { Ref::from_raw(context) });
            socket.given_back();
        }
    }

    /// WSK has nothing of the socket any more.
    fn given_back(&self) {
        // SAFETY: the one close's (invariant).
        let hold = unsafe { &mut *self.hold.get() }.take();
        self.closed.set();
        drop(hold);
    }
}

/// WSK has closed the socket. At any IRQL up to `DISPATCH_LEVEL`, perhaps inside the call.
unsafe extern "C" fn close_completed(_: *mut c_void, _: *mut sys::Irp, context: *mut c_void) -> NtStatus {
    let _running = Running::enter(context);
    // SAFETY: by `give_back`: not null.
    let socket: NonNull<SocketState> = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: the reference that `give_back` gave up.
    let socket = unsafe { Ref::from_raw(socket) };
    let _nobody_else_could = socket.close_claim.arrived();
    socket.given_back();
    MORE_PROCESSING_REQUIRED
}

/// Closes a socket that was dropped. On the worker.
unsafe fn close_queued(work: NonNull<Work>, _: Passive) {
    // SAFETY: the place is built into a socket.
    let socket: NonNull<SocketState> = unsafe { work.byte_sub(core::mem::offset_of!(SocketState, work)) }.cast();
    // SAFETY: the reference that was queued.
    let socket = unsafe { Ref::from_raw(socket) };
    // SAFETY: whoever queued it found the gate closed and empty, and left the rest to this.
    unsafe { SocketState::give_back(&socket) };
}

/// Somebody inside a socket's gate, who may call WSK.
///
/// # Invariants
/// - The gate counts this value.
pub(crate) struct Inside<'a>(&'a Ref<SocketState>);

impl Inside<'_> {
    pub const fn socket(&self) -> &Ref<SocketState> {
        self.0
    }

    pub fn hold(&self) -> Result<Hold, Error> {
        // SAFETY: inside the gate (invariant).
        unsafe { &*self.0.hold.get() }.clone().ok_or(Error::Closed)
    }

    /// Enables event callbacks, `EVENT_` bits.
    pub fn enable_events(&self, mask: u32) -> Result<(), Error> {
        // SAFETY: inside the gate (invariant).
        let wsk = unsafe { *self.0.wsk.get() }.ok_or(Error::Closed)?;
        // SAFETY: inside the gate, so open; created with callbacks. WSK refuses one that is not connected, or bound.
        unsafe { wsk.enable_events(mask) }.map_err(Error::of_status)
    }

    /// Makes a call on the socket.
    ///
    /// # Safety
    /// As for [`operation::start`]; the arguments are right for the socket.
    pub unsafe fn start<T: Outcome>(
        &self,
        mut arguments: Arguments,
        call: impl FnOnce(SocketRef, NonNull<Arguments>, NonNull<sys::Irp>) -> NtStatus,
    ) -> Result<Operation<T>, NotMade> {
        let Ok(hold) = self.hold() else { return Err(arguments.not_made(Error::Closed)) };
        // SAFETY: inside the gate (invariant).
        let Some(wsk) = (unsafe { *self.0.wsk.get() }) else { return Err(arguments.not_made(Error::Closed)) };
        arguments.on = Some(self.0.clone());
        // SAFETY: the caller's promise.
        unsafe { operation::start(hold, arguments, |arguments, irp| call(wsk, arguments, irp)) }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.0.gate.leave() {
            // SAFETY: closed, and this was the last inside; who is inside may call WSK.
            unsafe { SocketState::give_back(self.0) };
        }
    }
}

/// The owner of a socket, which it closes when it is dropped: on the client's worker, for it may be dropped anywhere.
pub struct Handle(Ref<SocketState>);

impl Handle {
    /// A socket that WSK has not made yet.
    pub(crate) fn try_new(
        hold: Hold,
        family: Family,
        category: Category,
        events: Option<Listening>,
    ) -> Result<Self, OutOfPool> {
        Ok(Self(SocketState::try_new(hold, family, category, events)?))
    }

    /// Comes inside, to make a call.
    pub(crate) fn enter(&self, _: MayCall) -> Result<Inside<'_>, Error> {
        // INVARIANT: counted by `enter`.
        if self.0.gate.enter() { Ok(Inside(&self.0)) } else { Err(Error::Closed) }
    }

    /// What WSK is told of it: the context and the callbacks.
    pub(crate) fn callbacks(&self) -> (*mut c_void, &'static Callbacks) {
        (core::ptr::from_ref::<SocketState>(&self.0).cast_mut().cast(), &CALLBACKS)
    }

    /// WSK has made it, or not.
    pub(crate) fn made(&mut self, status: NtStatus, information: usize) {
        if status == 0 {
            // SAFETY: nobody else has it yet (invariant).
            unsafe { *self.0.wsk.get() = SocketRef::from_information(information) };
        }
    }

    /// Itself, if WSK has made it.
    pub(crate) fn if_made(self) -> Option<Self> {
        // SAFETY: nobody else has it yet (invariant).
        unsafe { *self.0.wsk.get() }.map(|_| self)
    }

    fn close(&self, _: MayCall) {
        if self.0.gate.close() == Closed::Empty {
            // SAFETY: closed and empty just now; the token.
            unsafe { SocketState::give_back(&self.0) };
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.gate.close() != Closed::Empty {
            return;
        }
        // SAFETY: the one close (invariant).
        if unsafe { *self.0.wsk.get() }.is_none() {
            return self.0.given_back();
        }
        // SAFETY: the one close (invariant).
        if let Some(hold) = unsafe { &*self.0.hold.get() } {
            let socket = self.0.clone().into_raw();
            // SAFETY: a field of the socket.
            let work = NonNull::from(unsafe { &socket.as_ref().work });
            // SAFETY: queued this once, with a reference that keeps it.
            unsafe { hold.queue(work) };
        }
    }
}

/// What every socket can do. Functions that call WSK take a [`MayCall`], for which a [`Passive`] serves; `<= DISPATCH_LEVEL`.
///
/// A call on a socket that this client has [closed](Self::close) fails with [`Error::Closed`]. Dropping a socket closes it, too.
#[expect(private_bounds, reason = "sockets are made by this crate only")]
pub trait Socket: Owner {
    /// Binds to a local address; a listener begins to listen. Source: *`WskBind`*.
    ///
    /// # Errors
    /// [`Error::Family`], [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    fn bind(&self, address: &SocketAddr, call: impl Into<MayCall>) -> Result<Operation<Result<(), Error>>, Error> {
        let handle = self.handle();
        let inside = handle.enter(call.into())?;
        let category = inside.socket().category();
        let arguments = with_address(inside.socket(), address)?;
        let call = |wsk: SocketRef, arguments, irp| {
            // SAFETY: inside the gate; an address of the socket's family, in the arguments.
            unsafe { wsk.bind(category, first_address(arguments), irp) }
        };
        // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
        unsafe { inside.start(arguments, call) }.map_err(Error::from)
    }

    /// Asks for the local address. Source: *`WskGetLocalAddress`*.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers: the socket is not bound.
    fn local_address(&self, call: impl Into<MayCall>) -> Result<Operation<Result<SocketAddr, Error>>, Error> {
        let handle = self.handle();
        let inside = handle.enter(call.into())?;
        let category = inside.socket().category();
        let call = |wsk: SocketRef, arguments, irp| {
            // SAFETY: inside the gate; room for any address, in the arguments.
            unsafe { wsk.local_address(category, first_address(arguments), irp) }
        };
        // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
        unsafe { inside.start(Arguments::new(), call) }.map_err(Error::from)
    }

    /// Sets an option that is a `ULONG`. Source: *`WskControlSocket`*.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::OutOfMemory`]; of the outcome, what WSK answers.
    fn set_option(
        &self,
        option: SocketOption,
        value: u32,
        call: impl Into<MayCall>,
    ) -> Result<Operation<Result<(), Error>>, Error> {
        let arguments = Arguments { value, ..Arguments::new() };
        control(self.handle(), arguments, sys::CONTROL_SET_OPTION, option, call.into())
    }

    /// Asks for an option that is a `ULONG`. Source: *`WskControlSocket`*.
    ///
    /// # Errors
    /// As for [`set_option`](Self::set_option).
    fn option(&self, option: SocketOption, call: impl Into<MayCall>) -> Result<Operation<Result<u32, Error>>, Error> {
        control(self.handle(), Arguments::new(), sys::CONTROL_GET_OPTION, option, call.into())
    }

    /// Closes the socket: at once, or when the last call on it has returned. Its operations end with [`Error::Cancelled`], later calls
    /// with [`Error::Closed`]; a connection is reset unless both sides have shut it down. Nothing if it was closed before.
    /// Source: *`WskCloseSocket`*.
    fn close(&self, call: impl Into<MayCall>) {
        self.handle().close(call.into());
    }

    /// Waits until WSK has closed the socket. `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// [`Error::TimedOut`]: not within `limit`.
    fn wait_closed(&self, limit: Duration, passive: Passive) -> Result<(), Error> {
        self.handle().0.closed.wait(limit, passive)
    }
}

/// Who owns a socket.
pub(crate) trait Owner {
    fn handle(&self) -> &Handle;
    fn of(handle: Handle) -> Self
    where
        Self: Sized;
}

/// A socket option by its level and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOption {
    /// `SOL_SOCKET`, or a protocol's number.
    pub level: u32,
    /// The option's number there.
    pub name: u32,
}

impl SocketOption {
    /// `SO_KEEPALIVE`.
    pub const KEEP_ALIVE: Self = Self { level: sys::SOL_SOCKET, name: 8 };
    /// `SO_RCVBUF`.
    pub const RECEIVE_BUFFER: Self = Self { level: sys::SOL_SOCKET, name: 0x1002 };
    /// `TCP_NODELAY`.
    pub const NO_DELAY: Self = Self { level: sys::IPPROTO_TCP, name: 1 };
}

fn control<T: Outcome>(
    handle: &Handle,
    arguments: Arguments,
    kind: sys::ControlSocketType,
    option: SocketOption,
    call: MayCall,
) -> Result<Operation<T>, Error> {
    let inside = handle.enter(call)?;
    let call = |wsk: SocketRef, arguments: NonNull<Arguments>, irp| {
        // SAFETY: the arguments are there.
        let value = unsafe { &raw mut (*arguments.as_ptr()).value };
        let (whole, none) = ((value.cast(), size_of::<u32>()), (core::ptr::null_mut(), 0));
        let (input, output) = if kind == sys::CONTROL_SET_OPTION { (whole, none) } else { (none, whole) };
        // SAFETY: inside the gate; the value is in the arguments.
        unsafe { wsk.control(kind, (option.level, option.name), input, output, irp) }
    };
    // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
    unsafe { inside.start(arguments, call) }.map_err(Error::from)
}

/// Arguments with an address in the first place.
pub(crate) fn with_address(socket: &SocketState, address: &SocketAddr) -> Result<Arguments, Error> {
    socket.check_family(address)?;
    let mut arguments = Arguments::new();
    arguments.addresses[0].set(address);
    Ok(arguments)
}

/// Where the first address is.
pub(crate) const fn first_address(arguments: NonNull<Arguments>) -> NonNull<sys::SockAddr> {
    address(arguments, 0)
}

/// Where the description of the buffer is.
pub(crate) const fn buf(arguments: NonNull<Arguments>) -> NonNull<sys::Buf> {
    // SAFETY: within the arguments.
    unsafe { arguments.byte_add(core::mem::offset_of!(Arguments, buf)) }.cast()
}

/// Where an address is.
pub(crate) const fn address(arguments: NonNull<Arguments>, index: usize) -> NonNull<sys::SockAddr> {
    let offset = core::mem::offset_of!(Arguments, addresses) + index * size_of::<Storage>();
    // SAFETY: within the arguments.
    unsafe { arguments.byte_add(offset) }.cast()
}

/// Asks WSK for a socket.
pub(crate) fn open<T: Outcome>(
    client: &Client,
    family: Family,
    category: Category,
    events: Option<Listening>,
    _: MayCall,
) -> Result<Operation<T>, Error> {
    let hold = client.hold()?;
    let provider = hold.provider()?;
    let made = Handle::try_new(hold.clone(), family, category, events)?;
    let callbacks = made.callbacks();
    let ended = |arguments: &mut Arguments, status, information| {
        if let Some(made) = &mut arguments.made {
            made.made(status, information);
        }
    };
    let arguments = Arguments { made: Some(made), ended, ..Arguments::new() };
    // SAFETY: the hold keeps the capture; the socket's state stays until it is closed.
    let call = |_, irp| unsafe { provider.socket(family.number(), category, callbacks, irp) };
    // SAFETY: `call` makes that one call, with these arguments, which stay until its IRP completes.
    unsafe { operation::start(hold, arguments, call) }.map_err(Error::from)
}

impl Outcome for Result<(), Error> {
    fn of(_: Arguments, status: NtStatus, _: usize) -> Self {
        Error::check(status)
    }
}

impl Outcome for Result<SocketAddr, Error> {
    fn of(arguments: Arguments, status: NtStatus, _: usize) -> Self {
        Error::check(status)?;
        arguments.addresses[0].get().ok_or(Error::Family)
    }
}

impl Outcome for Result<u32, Error> {
    fn of(arguments: Arguments, status: NtStatus, _: usize) -> Self {
        Error::check(status).map(|()| arguments.value)
    }
}

/// The socket that WSK has made.
pub(crate) fn opened(arguments: Arguments, status: NtStatus) -> Result<Handle, Error> {
    Error::check(status)?;
    arguments.made.and_then(Handle::if_made).ok_or(Error::Failed(UNSUCCESSFUL))
}
