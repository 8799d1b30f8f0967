//! `WskControlClient`: what a client asks of or tells its registration.
//!
//! One idea: every operation but one is done in the call, and has no IRP; only the news of a change to the transports waits, and the
//! transports change when the harness says so.
//!
//! Source: *`WskControlClient`*, *WSK Client Control Operations* and the page of each.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wsk::sys;

use super::events::{self, Control};
use super::registration::Client;
use super::request::{Owner, Request};
use super::socket::Socket;
use super::status::{self, Status};
use super::{Provider, dispatch, kernel, rules};
use crate::call::{self, Stopped};
use crate::rules::record;

/// `WSK_TRANSPORT_LIST_QUERY`.
pub const TRANSPORT_LIST_QUERY: u32 = 2;
/// `WSK_TRANSPORT_LIST_CHANGE`.
pub const TRANSPORT_LIST_CHANGE: u32 = 3;
/// `WSK_CACHE_SD`.
pub const CACHE_SD: u32 = 4;
/// `WSK_RELEASE_SD`.
pub const RELEASE_SD: u32 = 5;
/// `WSK_SET_STATIC_EVENT_CALLBACKS`.
pub const SET_STATIC_EVENT_CALLBACKS: u32 = 7;
/// `WSK_TDI_BEHAVIOR`.
pub const TDI_BEHAVIOR: u32 = 8;

/// `WSK_TRANSPORT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    pub version: u16,
    pub kind: u16,
    pub protocol: u32,
    pub family: sys::AddressFamily,
    pub provider: sys::Guid,
}

/// A security descriptor that a client has cached; its address is what the client holds.
pub struct CachedDescriptor {
    _original: usize,
}

/// What control operations have left behind.
#[derive(Default)]
pub struct State {
    /// Cached security descriptors, by the address that the client has.
    descriptors: BTreeMap<usize, Box<CachedDescriptor>>,
    /// IRPs that wait for a change to the transports.
    changes: BTreeMap<u64, Request>,
}

impl State {
    /// Security descriptors that were cached and not released.
    pub fn descriptors(&self) -> usize {
        self.descriptors.len()
    }
}

fn transports() -> Vec<Transport> {
    let provider = sys::Guid { data1: 0x6c61_6221, data2: 0, data3: 0, data4: *b"loopback" };
    let mut found = Vec::new();
    for family in [sys::AF_INET, sys::AF_INET6] {
        for (kind, protocol) in [(sys::SOCK_STREAM, sys::IPPROTO_TCP), (sys::SOCK_DGRAM, sys::IPPROTO_UDP)] {
            found.push(Transport { version: 1, kind, protocol, family, provider });
        }
    }
    found
}

/// The driver's buffers of one control operation.
struct Buffers {
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
}

pub extern "win64" fn control_client(
    client: *mut sys::Client,
    code: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
    irp: *mut sys::Irp,
) -> Status {
    if irp.is_null() {
        let buffers = Buffers { input_size, input, output_size, output, returned };
        // SAFETY: the driver passes buffers of the sizes that it says.
        return call::or_escape(unsafe { without_irp(client, code, &buffers) });
    }
    dispatch::client_call("WskControlClient", client, irp, |provider, _, request| {
        if code == TRANSPORT_LIST_CHANGE {
            Ok(provider.await_change(request))
        } else {
            provider.conclude(request, status::INVALID_PARAMETER, 0) // its IRP must be NULL
        }
    })
}

/// # Safety
/// The buffers are null or of the sizes that they say.
unsafe fn without_irp(client: *mut sys::Client, code: u32, buffers: &Buffers) -> Result<Status, Stopped> {
    dispatch::refuse_in_completion("WskControlClient")?;
    let provider = kernel::provider();
    let call = provider.enter_client("WskControlClient", client)?;
    match code {
        // SAFETY: the caller vouches for the buffers.
        TRANSPORT_LIST_QUERY => Ok(unsafe { list_transports(buffers) }),
        TRANSPORT_LIST_CHANGE => {
            let message = "WskControlClient for WSK_TRANSPORT_LIST_CHANGE got no IRP";
            Err(record(&rules::NO_IRP, message, Vec::new()))
        }
        // SAFETY: the caller vouches for the buffers.
        CACHE_SD => Ok(unsafe { provider.cache_descriptor(buffers) }),
        // SAFETY: the caller vouches for the buffers.
        RELEASE_SD => unsafe { provider.release_descriptor(buffers) },
        // SAFETY: the caller vouches for the buffers.
        SET_STATIC_EVENT_CALLBACKS => Ok(unsafe { set_static(&call.client, buffers) }),
        TDI_BEHAVIOR if buffers.input.is_null() || buffers.input_size < size_of::<u32>() => {
            Ok(status::INVALID_PARAMETER)
        }
        TDI_BEHAVIOR if call.client.sockets.load(Ordering::SeqCst) != 0 => Ok(status::INVALID_DEVICE_STATE),
        TDI_BEHAVIOR => Ok(status::SUCCESS), // there is no TDI to bypass
        _ => Ok(status::NOT_SUPPORTED),
    }
}

/// # Safety
/// As [`without_irp`].
unsafe fn list_transports(buffers: &Buffers) -> Status {
    let found = transports();
    let size = size_of_val(found.as_slice());
    if !buffers.returned.is_null() {
        // SAFETY: the driver passes NULL or a variable.
        unsafe { buffers.returned.write(size) };
    }
    if buffers.output.is_null() || buffers.output_size < size {
        return status::BUFFER_OVERFLOW;
    }
    // SAFETY: the buffer has room for the list, as its size says.
    unsafe { buffers.output.cast::<u8>().copy_from_nonoverlapping(found.as_ptr().cast(), size) };
    status::SUCCESS
}

/// # Safety
/// As [`without_irp`].
unsafe fn set_static(client: &Client, buffers: &Buffers) -> Status {
    if buffers.input.is_null() || buffers.input_size < size_of::<Control>() {
        return status::INVALID_PARAMETER;
    }
    // SAFETY: the caller vouches for the struct.
    let control = unsafe { buffers.input.cast::<Control>().read_unaligned() };
    let known = events::OF_CONNECTION | events::ACCEPT | events::RECEIVE_FROM;
    if control.npi.is_null() || control.mask == 0 || control.mask & !known != 0 {
        return status::INVALID_PARAMETER;
    }
    if client.sockets.load(Ordering::SeqCst) != 0 {
        return status::INVALID_DEVICE_STATE; // it must come before the first socket
    }
    client.static_events.store(control.mask, Ordering::SeqCst);
    status::SUCCESS
}

impl Provider {
    /// # Safety
    /// As [`without_irp`].
    unsafe fn cache_descriptor(&self, buffers: &Buffers) -> Status {
        let pointers = size_of::<usize>();
        let sizes = buffers.input_size == pointers && buffers.output_size == pointers;
        if !sizes || buffers.input.is_null() || buffers.output.is_null() {
            return status::INVALID_PARAMETER;
        }
        // SAFETY: the caller vouches for the variable.
        let original = unsafe { buffers.input.cast::<usize>().read_unaligned() };
        if original == 0 {
            return status::INVALID_PARAMETER;
        }
        let address = self.copy_descriptor(original);
        // SAFETY: the caller vouches for the variable.
        unsafe { buffers.output.cast::<usize>().write_unaligned(address) };
        status::SUCCESS
    }

    /// One more cached copy, which the client releases too.
    pub fn copy_descriptor(&self, original: usize) -> usize {
        let cached = Box::new(CachedDescriptor { _original: original });
        let address = std::ptr::from_ref(&*cached) as usize;
        self.control.lock().descriptors.insert(address, cached);
        address
    }

    /// Only a security descriptor that is cached may be given to a socket.
    pub fn check_descriptor(&self, function: &str, address: usize) -> Result<(), Stopped> {
        if self.control.lock().descriptors.contains_key(&address) {
            return Ok(());
        }
        let message = format!("{function} got the security descriptor {address:#x}, which WSK_CACHE_SD did not give");
        Err(record(&rules::DESCRIPTOR_UNKNOWN, message, Vec::new()))
    }

    /// The security descriptor that a new socket is given, if any.
    pub fn descriptor(&self, function: &str, given: *mut sys::SecurityDescriptor) -> Result<Option<usize>, Stopped> {
        if given.is_null() {
            return Ok(None);
        }
        self.check_descriptor(function, given as usize).map(|()| Some(given as usize))
    }

    /// # Safety
    /// As [`without_irp`].
    unsafe fn release_descriptor(&self, buffers: &Buffers) -> Result<Status, Stopped> {
        if buffers.input.is_null() || buffers.input_size != size_of::<usize>() {
            return Ok(status::INVALID_PARAMETER);
        }
        // SAFETY: the caller vouches for the variable.
        let address = unsafe { buffers.input.cast::<usize>().read_unaligned() };
        let found = self.control.lock().descriptors.remove(&address);
        if found.is_some() {
            return Ok(status::SUCCESS);
        }
        let message = format!("WSK_RELEASE_SD got {address:#x}, which WSK_CACHE_SD did not give or which is released");
        Err(record(&rules::DESCRIPTOR_UNKNOWN, message, Vec::new()))
    }

    /// Keeps an IRP until the transports change.
    pub fn await_change(&self, request: Request) -> Status {
        request.mark_pending();
        let mut control = self.control.lock();
        if request.arm() {
            control.changes.insert(request.number, request);
        } else {
            self.finish_later(request.finish(status::CANCELLED, 0));
        }
        status::PENDING
    }

    /// Ends a pending IRP for its cancel routine.
    pub fn cancel_change(self: &Arc<Self>, number: u64) -> Result<(), Stopped> {
        let pending = self.control.lock().changes.remove(&number);
        pending.map_or(Ok(()), |request| self.complete(request.finish(status::CANCELLED, 0)))
    }

    /// Ends the IRPs that wait for a change: those of `client`, or all.
    pub fn end_changes(&self, client: Option<&Arc<Client>>, status: Status) {
        self.end_some_changes(status, |owner| client.is_none_or(|client| Arc::ptr_eq(owner.client(), client)));
    }

    /// Ends the IRPs that wait for a change on behalf of a socket.
    pub fn end_changes_of(&self, socket: &Socket, status: Status) {
        self.end_some_changes(
            status,
            |owner| matches!(owner, Owner::Socket(found) if std::ptr::eq(Arc::as_ptr(found), socket)),
        );
    }

    fn end_some_changes(&self, status: Status, wanted: impl Fn(&Owner) -> bool) {
        let mut control = self.control.lock();
        for (number, request) in std::mem::take(&mut control.changes) {
            if wanted(&request.owner) && request.disarm() {
                self.finish_later(request.finish(status, 0));
            } else {
                control.changes.insert(number, request);
            }
        }
    }
}
