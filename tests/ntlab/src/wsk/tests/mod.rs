//! The provider under test: a driver made of Rust functions on one side, the host's own sockets on the other.

mod cancel;
mod choices;
mod control;
mod events;
mod faults;
mod memory;
mod names;
mod options;
mod passing;
mod registration;
mod rules;
mod sock;
mod sockets;

use std::ffi::c_void;
use std::mem::transmute_copy;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use wsk::sys;

use self::sock::{Sock, Transfer, forget};
use super::status::{self, Status};
use super::{Options, address};
use crate::call;
use crate::exports::bindings;
use crate::machine::Machine;
use crate::nt;
use crate::rules::Rule;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The address that an import of `name` is bound to, as a function.
fn import<F>(name: &str) -> F {
    let address = bindings()[name].address;
    assert_eq!(size_of::<F>(), size_of::<usize>());
    // SAFETY: every caller names the type of the routine that it imports.
    unsafe { transmute_copy(&address) }
}

/// A machine with every choice left to the seed.
fn machine(seed: u64) -> Machine {
    Machine::new(crate::Options { seed, ..crate::Options::default() })
}

/// Runs `body` as driver code on `machine`; no rule may be broken.
fn run<R>(machine: &Machine, body: impl FnOnce() -> R) -> R {
    // A failed assertion unwinds beside the recovery point, not through it.
    let result = call::guard(&machine.inner, || catch_unwind(AssertUnwindSafe(body)));
    match result {
        Ok(Err(panic)) => resume_unwind(panic),
        Ok(Ok(result)) if machine.violations().is_empty() => result,
        _ => panic!("{}", machine.violations().iter().map(ToString::to_string).collect::<String>()),
    }
}

/// Runs `body` as driver code on `machine`, which must break `rule`.
fn provoke(machine: &Machine, rule: &'static Rule, body: impl FnOnce()) {
    let _ = call::guard(&machine.inner, body);
    let found = machine.violations();
    let names: Vec<_> = found.iter().map(|violation| violation.rule.name).collect();
    assert!(found.first().is_some_and(|violation| violation.rule == rule), "expected {}, found {names:?}", rule.name);
}

/// The driver's part of one IRP.
struct Completion {
    results: Mutex<Vec<(Status, usize)>>,
    change: Condvar,
    /// Called by the completion routine.
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// An IRP of the driver's own.
struct Io {
    irp: *mut nt::IRP,
    completion: Arc<Completion>,
}

// SAFETY: the tests pass an IRP to another thread only to cancel it, while its owner waits.
unsafe impl Send for Io {}

extern "win64" fn completed(_: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP, context: *const Completion) -> Status {
    // SAFETY: `set_completion` gave this reference away, for one completion.
    let completion = unsafe { Arc::from_raw(context) };
    // SAFETY: the IRP is the driver's again.
    let irp = unsafe { &*irp };
    let then = completion.then.lock().take();
    if let Some(then) = then {
        then();
    }
    let result = irp.IoStatus.get();
    completion.results.lock().push((result.Status, result.Information));
    completion.change.notify_all();
    super::kernel::MORE_PROCESSING_REQUIRED
}

impl Io {
    fn new() -> Self {
        let allocate: extern "win64" fn(i8, u8) -> *mut nt::IRP = import("IoAllocateIrp");
        let completion =
            Arc::new(Completion { results: Mutex::default(), change: Condvar::new(), then: Mutex::default() });
        let io = Self { irp: allocate(1, 0), completion };
        io.set_completion(nt::SL_INVOKE_ON_SUCCESS | nt::SL_INVOKE_ON_ERROR | nt::SL_INVOKE_ON_CANCEL);
        io
    }

    fn set_completion(&self, control: u8) {
        // SAFETY: the IRP is the driver's own and has one location.
        let irp = unsafe { &*self.irp };
        // SAFETY: the location is free: the IRP was allocated with one.
        let next = unsafe { &*irp.next() };
        next.set_completion(
            completed as *const () as usize,
            Arc::into_raw(Arc::clone(&self.completion)).cast_mut().cast(),
            control,
        );
    }

    fn irp(&self) -> *mut sys::Irp {
        self.irp.cast()
    }

    fn then(&self, then: impl FnOnce() + Send + 'static) {
        *self.completion.then.lock() = Some(Box::new(then));
    }

    fn is_pending(&self) -> bool {
        self.completion.results.lock().is_empty()
    }

    /// Waits for the completion, and frees the IRP.
    fn wait(self) -> (Status, usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut results = self.completion.results.lock();
        while results.is_empty() {
            assert!(!self.completion.change.wait_until(&mut results, deadline).timed_out(), "the IRP is still pending");
        }
        assert_eq!(results.len(), 1, "completed more than once");
        let result = results[0];
        drop(results);
        let free: extern "win64" fn(*mut nt::IRP) = import("IoFreeIrp");
        free(self.irp);
        result
    }

    fn cancel(&self) -> bool {
        let cancel: extern "win64" fn(*mut nt::IRP) -> u8 = import("IoCancelIrp");
        cancel(self.irp) != 0
    }
}

/// Nonpaged memory with its MDL.
struct Memory {
    bytes: Box<[u8]>,
    mdl: Box<nt::MDL>,
    buffer: Box<sys::Buf>,
}

impl Memory {
    fn new(bytes: &[u8]) -> Self {
        let mut bytes: Box<[u8]> = bytes.into();
        let start: *mut c_void = bytes.as_mut_ptr().cast();
        let page = start.map_addr(|address| address & !(nt::PAGE_SIZE - 1));
        let mdl = Box::new(nt::MDL {
            Next: null_mut::<nt::MDL>().into(),
            Size: 56.into(),
            MdlFlags: nt::MDL_SOURCE_IS_NONPAGED_POOL.into(),
            Process: null_mut::<c_void>().into(),
            MappedSystemVa: start.into(),
            StartVa: page.into(),
            ByteCount: u32::try_from(bytes.len()).unwrap().into(),
            ByteOffset: u32::try_from(start.addr() - page.addr()).unwrap().into(),
        });
        let length = bytes.len();
        let buffer = Box::new(sys::Buf { mdl: std::ptr::from_ref(&*mdl).cast_mut().cast(), offset: 0, length });
        Self { bytes, mdl, buffer }
    }

    fn buffer(&self) -> *mut sys::Buf {
        std::ptr::from_ref(&*self.buffer).cast_mut()
    }
}

/// A place for a SOCKADDR.
#[derive(Default)]
struct Place(Box<[u64; 4]>);

impl Place {
    fn of(address: SocketAddr) -> Self {
        let mut place = Self::default();
        // SAFETY: 32 bytes hold every SOCKADDR.
        unsafe { address::write(place.pointer(), address) };
        place
    }

    fn pointer(&mut self) -> *mut sys::SockAddr {
        self.0.as_mut_ptr().cast()
    }

    fn read(&mut self, family: sys::AddressFamily) -> SocketAddr {
        // SAFETY: 32 bytes are a readable SOCKADDR.
        unsafe { address::read(self.pointer(), family) }.expect("an address of the family")
    }
}

/// The IRP's outcome, whether the call returned it or `STATUS_PENDING`.
fn settle(returned: Status, io: Io) -> (Status, usize) {
    let (status, information) = io.wait();
    assert!(returned == status::PENDING || returned == status, "returned {returned:#x}, completed with {status:#x}");
    (status, information)
}

/// Outcome without Information.
fn settled(returned: Status, io: Io) -> Status {
    settle(returned, io).0
}

static CLIENT_DISPATCH: sys::ClientDispatch =
    sys::ClientDispatch { version: sys::VERSION_1_0, reserved: 0, client_event: None };

/// A registered client with a captured provider.
struct Client {
    registration: Box<sys::Registration>,
    npi: sys::ProviderNpi,
}

#[expect(clippy::unnecessary_box_returns, reason = "a registration block stays where it is")]
fn blank_registration() -> Box<sys::Registration> {
    Box::new(sys::Registration { state: 0, context: null_mut(), lock: 0 })
}

fn register(registration: &mut sys::Registration) -> Status {
    let mut npi = sys::ClientNpi { client_context: null_mut(), dispatch: &raw const CLIENT_DISPATCH };
    let register: extern "win64" fn(*mut sys::ClientNpi, *mut sys::Registration) -> Status = import("WskRegister");
    register(&raw mut npi, registration)
}

fn deregister(registration: &mut sys::Registration) {
    let deregister: extern "win64" fn(*mut sys::Registration) = import("WskDeregister");
    deregister(registration);
}

fn capture(registration: &mut sys::Registration, timeout: u32) -> Result<sys::ProviderNpi, Status> {
    let capture: extern "win64" fn(*mut sys::Registration, u32, *mut sys::ProviderNpi) -> Status =
        import("WskCaptureProviderNPI");
    let mut npi = sys::ProviderNpi { client: null_mut(), dispatch: null() };
    let status = capture(registration, timeout, &raw mut npi);
    if status == status::SUCCESS { Ok(npi) } else { Err(status) }
}

fn release(registration: &mut sys::Registration) {
    let release: extern "win64" fn(*mut sys::Registration) = import("WskReleaseProviderNPI");
    release(registration);
}

impl Client {
    fn new() -> Self {
        let mut registration = blank_registration();
        assert_eq!(register(&mut registration), status::SUCCESS);
        let npi = capture(&mut registration, sys::NO_WAIT).expect("the provider is ready");
        Self { registration, npi }
    }

    fn end(mut self) {
        release(&mut self.registration);
        deregister(&mut self.registration);
    }

    fn dispatch(&self) -> &'static sys::ProviderDispatch {
        // SAFETY: the provider's table is static.
        unsafe { &*self.npi.dispatch }
    }

    fn try_socket(&self, family: sys::AddressFamily, flags: u32) -> Result<Sock, Status> {
        let datagram = flags == sys::FLAG_DATAGRAM_SOCKET;
        let (kind, protocol) =
            if datagram { (sys::SOCK_DGRAM, sys::IPPROTO_UDP) } else { (sys::SOCK_STREAM, sys::IPPROTO_TCP) };
        let io = Io::new();
        let socket = self.dispatch().socket.unwrap();
        // SAFETY: the arguments are those of WskSocket.
        let returned = unsafe {
            socket(
                self.npi.client,
                family,
                kind,
                protocol,
                flags,
                null_mut(),
                null(),
                null_mut(),
                null_mut(),
                null_mut(),
                io.irp(),
            )
        };
        match settle(returned, io) {
            (status::SUCCESS, object) => Ok(Sock { object: object as *mut sys::Socket, family }),
            (status, _) => Err(status),
        }
    }

    fn socket(&self, flags: u32) -> Sock {
        self.try_socket(sys::AF_INET, flags).expect("a socket")
    }

    /// A connection-oriented socket that is bound.
    fn bound(&self) -> Sock {
        let socket = self.socket(sys::FLAG_CONNECTION_SOCKET);
        assert_eq!(socket.bind("0.0.0.0:0"), status::SUCCESS);
        socket
    }

    /// A connection to `peer`.
    fn connected(&self, peer: SocketAddr) -> Sock {
        let socket = self.bound();
        assert_eq!(socket.connect(peer), status::SUCCESS);
        socket
    }

    /// A listening socket and where it listens.
    fn listening(&self) -> (Sock, SocketAddr) {
        self.listening_at("0.0.0.0:0")
    }

    fn listening_at(&self, local: &str) -> (Sock, SocketAddr) {
        let socket = self.socket(sys::FLAG_LISTEN_SOCKET);
        assert_eq!(socket.bind(local), status::SUCCESS);
        let local = socket.local().expect("bound");
        (socket, local)
    }
}

/// Seeds that a test goes through, so that it meets each of the provider's choices.
fn each_seed(test: impl Fn(&Machine)) {
    for seed in 0..8 {
        let machine = machine(seed);
        test(&machine);
        let counters = machine.network().counters();
        assert_eq!((counters.sockets, counters.irps, counters.registrations), (0, 0, 0), "seed {seed}: {counters:?}");
    }
}

/// Waits until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn set_options(machine: &Machine, options: Options) {
    machine.network().set_options(options);
}
