//! What netio.sys exports: registration, and the capture of the provider's NPI.
//!
//! One idea: a registration is known by the address of its block, and what the driver promised to leave alone is compared with what it
//! was. A wait that could never end is a violation after five seconds, with the list of what it waits for.
//!
//! Source: *`WskRegister`*, *`WskDeregister`*, *`WskCaptureProviderNPI`*, *`WskReleaseProviderNPI`*, *Registering a Winsock Kernel
//! Application*, *Unregistering a Winsock Kernel Application*.

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wsk::sys;

use super::status::{self, Status};
use super::{Provider, ProviderState, dispatch, kernel, rules};
use crate::call::{self, Stopped};
use crate::exports::{Export, routines};
use crate::machine;
use crate::rules::record;

/// How long `WskDeregister` waits before what it waits for is named.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a wait looks whether the machine has stopped.
const SLICE: Duration = Duration::from_millis(50);
/// The high half of a registration block's state.
const MARK: u64 = 0x5753_4b52 << 32;

/// What netio.sys exports.
#[must_use]
pub fn exports() -> Vec<Export> {
    let mut exports = routines! { "netio.sys";
        PASSIVE: WskRegister => register, WskDeregister => deregister;
        DISPATCH: WskCaptureProviderNPI => capture, WskReleaseProviderNPI => release;
    };
    exports.push(Export::routine(
        "netio.sys",
        "WskQueryProviderCharacteristics",
        query_characteristics as *const (),
        crate::irql::DISPATCH,
    ));
    exports
}

/// The client's dispatch table as it was at the registration.
#[derive(Clone, Copy, PartialEq, Eq)]
struct DispatchCopy {
    version: u16,
    reserved: u16,
    event: usize,
}

impl DispatchCopy {
    /// # Safety
    /// `dispatch` points to a client's dispatch table.
    unsafe fn read(dispatch: *const sys::ClientDispatch) -> Self {
        // SAFETY: the caller vouches for the table.
        let table = unsafe { &*dispatch };
        Self {
            version: table.version,
            reserved: table.reserved,
            event: table.client_event.map_or(0, |event| event as usize),
        }
    }
}

#[derive(Default)]
struct Captures {
    count: usize,
    /// Functions of the provider's dispatch table that have not returned.
    inside: Vec<&'static str>,
    deregistering: bool,
}

/// A registered WSK client.
pub struct Client {
    number: u64,
    block: usize,
    dispatch: usize,
    copy: DispatchCopy,
    captures: Mutex<Captures>,
    /// Sockets whose close has not completed.
    pub sockets: AtomicUsize,
    /// Set by `WSK_SET_STATIC_EVENT_CALLBACKS`.
    pub static_events: AtomicU32,
    irps: AtomicUsize,
}

impl Client {
    /// The pointer that the driver passes to the provider's functions.
    fn pointer(self: &Arc<Self>) -> *mut sys::Client {
        Arc::as_ptr(self).cast_mut().cast()
    }

    /// One more IRP of the client is in WSK.
    pub fn irp_taken(&self) {
        self.irps.fetch_add(1, Ordering::SeqCst);
    }

    /// The completion of an IRP has returned.
    pub fn irp_returned(&self) {
        self.irps.fetch_sub(1, Ordering::SeqCst);
    }

    fn is_idle(&self) -> bool {
        let captures = self.captures.lock();
        captures.count == 0
            && captures.inside.is_empty()
            && self.sockets.load(Ordering::SeqCst) == 0
            && self.irps.load(Ordering::SeqCst) == 0
    }

    /// What a deregistration waits for.
    fn outstanding(&self) -> String {
        let captures = self.captures.lock();
        format!(
            "{} captures, {} sockets, {} IRPs, {} calls",
            captures.count,
            self.sockets.load(Ordering::SeqCst),
            self.irps.load(Ordering::SeqCst),
            captures.inside.len()
        )
    }
}

/// A call to one of the provider's functions, until it returns.
pub struct Call {
    pub client: Arc<Client>,
    function: &'static str,
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut captures = self.client.captures.lock();
        if let Some(index) = captures.inside.iter().position(|&inside| std::ptr::eq(inside, self.function)) {
            captures.inside.swap_remove(index);
        }
    }
}

/// Every registration.
#[derive(Default)]
pub struct Table {
    by_block: HashMap<usize, Arc<Client>>,
    by_pointer: HashMap<usize, Arc<Client>>,
    /// Blocks that were deregistered.
    former: HashSet<usize>,
}

impl Table {
    /// Registrations, and captures that are not released.
    pub fn counts(&self) -> (usize, usize) {
        (self.by_block.len(), self.by_block.values().map(|client| client.captures.lock().count).sum())
    }

    /// One line for each registration.
    pub fn live(&self) -> Vec<String> {
        self.by_block
            .values()
            .map(|client| format!("WSK registration {:#x}: {}", client.block, client.outstanding()))
            .collect()
    }
}

impl Provider {
    /// Enters a function of the provider's dispatch table.
    pub fn enter_client(&self, function: &'static str, client: *mut sys::Client) -> Result<Call, Stopped> {
        let found = self.registrations.lock().by_pointer.get(&(client as usize)).cloned();
        let captured = found.filter(|client| {
            let mut captures = client.captures.lock();
            let allowed = captures.count != 0;
            if allowed {
                captures.inside.push(function);
            }
            allowed
        });
        captured.map(|client| Call { client, function }).ok_or_else(|| {
            let message = format!("{function} was called for client {client:p}, which has captured nothing");
            record(&rules::NOT_CAPTURED, message, Vec::new())
        })
    }

    /// The registration of a block that must be as `WskRegister` left it.
    fn registered(&self, function: &'static str, block: *mut sys::Registration) -> Result<Arc<Client>, Stopped> {
        let found = self.registrations.lock().by_block.get(&(block as usize)).cloned();
        let Some(client) = found else {
            let message = format!("{function} got {block:p}, which is not registered");
            return Err(record(&rules::NOT_REGISTERED, message, Vec::new()));
        };
        // SAFETY: the driver registered this block, which it has to keep.
        let contents = unsafe { &*block };
        if contents.state != MARK | client.number || contents.context != client.pointer().cast() {
            let message = format!("{function} found the registration block {block:p} overwritten");
            return Err(record(&rules::REGISTRATION_CHANGED, message, Vec::new()));
        }
        // SAFETY: the driver registered with this table, which it has to keep.
        if unsafe { DispatchCopy::read(client.dispatch as *const sys::ClientDispatch) } != client.copy {
            let message = format!("{function} found the client's dispatch table {:#x} changed", client.dispatch);
            return Err(record(&rules::REGISTRATION_CHANGED, message, Vec::new()));
        }
        Ok(client)
    }

    fn register(
        self: &Arc<Self>,
        npi: *const sys::ClientNpi,
        block: *mut sys::Registration,
    ) -> Result<Status, Stopped> {
        // SAFETY: the driver passes NULL or a client NPI.
        let Some(npi) = (unsafe { npi.as_ref() }) else {
            return Ok(status::INVALID_PARAMETER);
        };
        if npi.dispatch.is_null() || block.is_null() {
            return Ok(status::INVALID_PARAMETER);
        }
        self.start();
        // SAFETY: the driver passes its dispatch table.
        let copy = unsafe { DispatchCopy::read(npi.dispatch) };
        let client = Arc::new(Client {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            block: block as usize,
            dispatch: npi.dispatch as usize,
            copy,
            captures: Mutex::default(),
            sockets: AtomicUsize::new(0),
            static_events: AtomicU32::new(0),
            irps: AtomicUsize::new(0),
        });
        let pointer = client.pointer();
        let contents = sys::Registration { state: MARK | client.number, context: pointer.cast::<c_void>(), lock: 0 };
        // SAFETY: the driver passes the block for this registration.
        unsafe { block.write(contents) };
        let mut table = self.registrations.lock();
        if table.by_block.contains_key(&(block as usize)) {
            drop(table);
            let message = format!("WskRegister got {block:p}, which is registered");
            return Err(record(&rules::REGISTERED_TWICE, message, Vec::new()));
        }
        table.former.remove(&(block as usize));
        table.by_pointer.insert(pointer as usize, Arc::clone(&client));
        table.by_block.insert(block as usize, client);
        Ok(status::SUCCESS)
    }

    fn capture(
        &self,
        block: *mut sys::Registration,
        timeout: u32,
        npi: *mut sys::ProviderNpi,
    ) -> Result<Status, Stopped> {
        if timeout != sys::NO_WAIT && crate::irql::current() > crate::irql::PASSIVE {
            let message = format!("WskCaptureProviderNPI was to wait at IRQL {}", crate::irql::current());
            return Err(record(&crate::rules::IRQL_TOO_HIGH, message, Vec::new()));
        }
        let holds_up = |what: &str| what == "DriverEntry" || what.starts_with("the dispatch routine");
        if timeout == sys::INFINITE_WAIT && crate::thread::this().is_inside(holds_up) {
            let message = "WskCaptureProviderNPI was to wait for ever in DriverEntry or a dispatch routine";
            return Err(record(&rules::CAPTURE_WAITS, message, Vec::new()));
        }
        if self.registrations.lock().former.contains(&(block as usize)) {
            return Ok(status::DEVICE_NOT_READY);
        }
        let client = self.registered("WskCaptureProviderNPI", block)?;
        if client.copy.version != sys::VERSION_1_0 {
            return Ok(status::NOINTERFACE);
        }
        let deadline = (timeout != sys::INFINITE_WAIT).then(|| Instant::now() + Duration::from_millis(timeout.into()));
        let mut state = self.state.lock();
        loop {
            let mut captures = client.captures.lock();
            if captures.deregistering {
                return Ok(status::DEVICE_NOT_READY);
            }
            if *state == ProviderState::Refused {
                return Ok(status::NOINTERFACE);
            }
            if *state == ProviderState::Ready {
                captures.count += 1;
                drop(captures);
                drop(state);
                let found = sys::ProviderNpi { client: client.pointer(), dispatch: dispatch::provider_dispatch() };
                // SAFETY: the driver passes a place for the NPI.
                unsafe { npi.write(found) };
                return Ok(status::SUCCESS);
            }
            drop(captures);
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(status::DEVICE_NOT_READY);
            }
            kernel::give_turn_up();
            self.change.wait_for(&mut state, left.min(SLICE));
            if machine::current().is_stopped() {
                return Err(Stopped);
            }
        }
    }

    fn release(&self, block: *mut sys::Registration) -> Result<(), Stopped> {
        let client = self.registered("WskReleaseProviderNPI", block)?;
        let mut captures = client.captures.lock();
        let balanced = captures.count != 0;
        captures.count = captures.count.saturating_sub(1);
        drop(captures);
        self.changed();
        if balanced {
            return Ok(());
        }
        let message = format!("WskReleaseProviderNPI got {block:p}, of which nothing is captured");
        Err(record(&rules::RELEASE_WITHOUT_CAPTURE, message, Vec::new()))
    }

    fn deregister(&self, block: *mut sys::Registration) -> Result<(), Stopped> {
        let client = self.registered("WskDeregister", block)?;
        client.captures.lock().deregistering = true;
        self.end_changes(Some(&client), status::CANCELLED);
        self.changed();
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        while !client.is_idle() {
            if machine::current().is_stopped() {
                return Err(Stopped);
            }
            if Instant::now() >= deadline {
                drop(state);
                let message = format!("WskDeregister waits for {}", client.outstanding());
                return Err(record(&rules::DEREGISTER_WAITS, message, self.live()));
            }
            kernel::give_turn_up();
            self.change.wait_for(&mut state, SLICE);
        }
        drop(state);
        self.registered("WskDeregister", block)?;
        let mut table = self.registrations.lock();
        table.by_block.remove(&(block as usize));
        table.by_pointer.remove(&(client.pointer() as usize));
        table.former.insert(block as usize);
        Ok(())
    }
}

// What holds a reference is dropped before a thread may escape.

extern "win64" fn register(npi: *mut sys::ClientNpi, block: *mut sys::Registration) -> Status {
    let machine = machine::current();
    machine.require_resident(block as usize, "a WSK_REGISTRATION");
    // SAFETY: the driver passes NULL or a client NPI.
    if let Some(npi) = unsafe { npi.as_ref() } {
        machine.require_resident(npi.dispatch as usize, "a WSK_CLIENT_DISPATCH");
    }
    let outcome = kernel::provider().register(npi, block);
    call::or_escape(outcome)
}

extern "win64" fn deregister(block: *mut sys::Registration) {
    let outcome = kernel::provider().deregister(block);
    call::or_escape(outcome);
}

extern "win64" fn capture(block: *mut sys::Registration, timeout: u32, npi: *mut sys::ProviderNpi) -> Status {
    let outcome = kernel::provider().capture(block, timeout, npi);
    call::or_escape(outcome)
}

extern "win64" fn release(block: *mut sys::Registration) {
    let outcome = kernel::provider().release(block);
    call::or_escape(outcome);
}

/// `WSK_PROVIDER_CHARACTERISTICS`.
#[repr(C)]
struct Characteristics {
    highest_version: u16,
    lowest_version: u16,
}

extern "win64" fn query_characteristics(block: *mut sys::Registration, place: *mut Characteristics) -> Status {
    let outcome = kernel::provider().registered("WskQueryProviderCharacteristics", block).map(drop);
    call::or_escape(outcome);
    let found = Characteristics { highest_version: sys::VERSION_1_0, lowest_version: sys::VERSION_1_0 };
    // SAFETY: the driver passes a place for the characteristics.
    unsafe { place.write(found) };
    status::SUCCESS
}
