//! Names: `WskGetAddressInfo`, `WskGetNameInfo` and `WskFreeAddressInfo`.
//!
//! One idea: nobody outside the lab is asked. A name is a number, `localhost`, or one that the test has set; a look-up takes as
//! long as the test says, or until it lets it go.
//!
//! Source: *`WskGetAddressInfo`*, *`WskGetNameInfo`*, *`WskFreeAddressInfo`*, *ADDRINFOEXW*.

mod list;
mod question;
mod services;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wsk::sys;

pub use list::AddressInfo;
use list::Lists;
use question::{Known, NAMESPACES, Question};

use super::request::Request;
use super::status::{self, Status};
use super::{Provider, address, dispatch, kernel, rules};
use crate::call::{self, Stopped};
use crate::nt::UNICODE_STRING;
use crate::rules::record;

/// Bytes of `SOCKADDR_STORAGE`.
const LONGEST_ADDRESS: usize = 128;

/// A look-up, and where its answer goes.
enum LookUp {
    Addresses { question: Question, result: *mut *mut AddressInfo },
    Names { address: SocketAddr, flags: u32, node: *mut sys::UnicodeString, service: *mut sys::UnicodeString },
}

struct Pending {
    request: Request,
    look_up: LookUp,
    /// When it is answered; none as long as look-ups are held.
    due: Option<Instant>,
}

/// The names that a machine knows, and the look-ups and results that are out.
pub struct Names {
    known: Known,
    hold: bool,
    delay: Duration,
    pending: BTreeMap<u64, Pending>,
    lists: Lists,
}

// SAFETY: the pointers lead to places that the driver keeps valid until its IRP is completed; they are followed under the lock.
unsafe impl Send for Names {}

impl Default for Names {
    fn default() -> Self {
        let localhost = vec![IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        Self {
            known: Known::from([("localhost".to_owned(), localhost)]),
            hold: false,
            delay: Duration::ZERO,
            pending: BTreeMap::new(),
            lists: Lists::default(),
        }
    }
}

impl Names {
    /// Lets `name` resolve.
    pub fn set(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.known.insert(name.to_lowercase(), addresses);
    }

    /// Has look-ups that start from now on take so long.
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// Lists that were not freed.
    pub fn lists(&self) -> usize {
        self.lists.given()
    }

    /// Look-ups that are not answered.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// When the next look-up is answered.
    pub fn next_due(&self) -> Option<Instant> {
        self.pending.values().filter_map(|pending| pending.due).min()
    }

    /// The status of a look-up whose time has come; its answer is where the driver wants it.
    fn answer(&mut self, look_up: &LookUp) -> Status {
        match look_up {
            LookUp::Addresses { question, result } => match question.answer(&self.known) {
                Ok(found) => {
                    let list = self.lists.give(question, &found);
                    // SAFETY: the driver keeps the place for the list valid until its IRP is completed.
                    unsafe { result.write(list) };
                    status::SUCCESS
                }
                Err(status) => status,
            },
            LookUp::Names { address, flags, node, service } => {
                match question::names_of(&self.known, *address, *flags) {
                    Ok((host, port)) => {
                        // SAFETY: the driver passes NULL or strings with room for MaximumLength bytes, until the IRP is completed.
                        let first = unsafe { put(*node, &host) };
                        // SAFETY: the driver passes NULL or strings with room for MaximumLength bytes, until the IRP is completed.
                        let second = unsafe { put(*service, &port) };
                        if first == status::SUCCESS { second } else { first }
                    }
                    Err(status) => status,
                }
            }
        }
    }
}

/// # Safety
/// `string` is null or points to a valid `UNICODE_STRING`.
unsafe fn text(string: *const sys::UnicodeString) -> Option<String> {
    // SAFETY: the caller vouches for the struct.
    let string = unsafe { string.cast::<UNICODE_STRING>().as_ref() }?;
    // SAFETY: the caller vouches for the string.
    Some(unsafe { string.text() })
}

/// IoStatus.Information of a look-up: its page says that it holds the status.
const fn information(status: Status) -> usize {
    status.cast_unsigned() as usize
}

pub extern "win64" fn get_address_info(
    client: *mut sys::Client,
    node: *mut sys::UnicodeString,
    service: *mut sys::UnicodeString,
    namespace: u32,
    provider_id: *mut sys::Guid,
    hints: *mut sys::AddressInfo,
    result: *mut *mut sys::AddressInfo,
    process: *mut sys::Process,
    thread: *mut sys::Thread,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::client_call("WskGetAddressInfo", client, irp, |provider, _, request| {
        // SAFETY: the driver passes NULL or a valid string.
        let node = unsafe { text(node) };
        // SAFETY: the driver passes NULL or a valid string.
        let service = unsafe { text(service) };
        // SAFETY: the driver passes NULL or an ADDRINFOEXW.
        let hints = unsafe { hints.cast::<AddressInfo>().as_ref() };
        // All other fields of hints are zero.
        let blank = hints.is_none_or(|hints| {
            hints.address_length == 0
                && hints.canonical_name.is_null()
                && hints.address.is_null()
                && hints.next.is_null()
        });
        let question = Question {
            flags: hints.map_or(0, |hints| hints.flags),
            family: hints.map_or(0, |hints| hints.family),
            kind: hints.map_or(0, |hints| hints.kind),
            protocol: hints.map_or(0, |hints| hints.protocol),
            node,
            service,
        };
        let wrong_owner = process.is_null() && !thread.is_null();
        if result.is_null() || !question.is_valid() || !blank || wrong_owner {
            let status = status::INVALID_PARAMETER;
            return provider.conclude(request, status, information(status));
        }
        // The provider here has no GUID that a driver could know.
        if !NAMESPACES.contains(&namespace) || !provider_id.is_null() {
            return provider.conclude(request, status::NO_MATCH, information(status::NO_MATCH));
        }
        provider.look_up(request, LookUp::Addresses { question, result: result.cast() })
    })
}

pub extern "win64" fn free_address_info(client: *mut sys::Client, list: *mut sys::AddressInfo) {
    let outcome = (|| {
        dispatch::refuse_in_completion("WskFreeAddressInfo")?;
        let provider = kernel::provider();
        let _call = provider.enter_client("WskFreeAddressInfo", client)?;
        let freed = provider.names.lock().lists.free(list as usize);
        if freed {
            return Ok(());
        }
        let message = format!("WskFreeAddressInfo got {list:p}, which is no list of WskGetAddressInfo");
        Err(record(&rules::ADDRESS_LIST_FREED_TWICE, message, Vec::new()))
    })();
    call::or_escape(outcome);
}

pub extern "win64" fn get_name_info(
    client: *mut sys::Client,
    socket_address: *mut sys::SockAddr,
    length: u32,
    node: *mut sys::UnicodeString,
    service: *mut sys::UnicodeString,
    flags: u32,
    process: *mut sys::Process,
    thread: *mut sys::Thread,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::client_call("WskGetNameInfo", client, irp, |provider, _, request| {
        // SAFETY: the driver passes a SOCKADDR of the length that it says.
        let found = unsafe { read_address(socket_address, length as usize) };
        let nothing = node.is_null() && service.is_null();
        let wrong_owner = process.is_null() && !thread.is_null();
        match found {
            Ok(address) if question::are_flags(flags) && !nothing && !wrong_owner => {
                provider.look_up(request, LookUp::Names { address, flags, node, service })
            }
            _ => {
                let status = status::INVALID_PARAMETER;
                provider.conclude(request, status, information(status))
            }
        }
    })
}

/// # Safety
/// `address` is null or points to `length` bytes.
unsafe fn read_address(address: *const sys::SockAddr, length: usize) -> Result<SocketAddr, Status> {
    if !(size_of::<sys::AddressFamily>()..=LONGEST_ADDRESS).contains(&length) {
        return Err(status::INVALID_PARAMETER);
    }
    // SAFETY: the caller vouches for the address, which has room for its family.
    let family = unsafe { address::family(address) }?;
    if ![sys::AF_INET, sys::AF_INET6].contains(&family) || length < address::length(family) {
        return Err(status::INVALID_PARAMETER);
    }
    // SAFETY: the address is as long as those of its family.
    unsafe { address::read(address, family) }
}

/// Writes `text` into the driver's string, if there is one.
///
/// # Safety
/// `place` is null or a valid `UNICODE_STRING` with room for `MaximumLength` bytes.
unsafe fn put(place: *mut sys::UnicodeString, text: &str) -> Status {
    // SAFETY: the caller vouches for the struct.
    let Some(string) = (unsafe { place.cast::<UNICODE_STRING>().as_mut() }) else {
        return status::SUCCESS;
    };
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    let Ok(bytes) = u16::try_from(units.len() * 2) else {
        return status::BUFFER_TOO_SMALL;
    };
    if string.Buffer.is_null() || string.MaximumLength < bytes {
        return status::BUFFER_TOO_SMALL;
    }
    // SAFETY: the caller vouches for MaximumLength bytes, which are enough.
    unsafe { units.as_ptr().copy_to_nonoverlapping(string.Buffer, units.len()) };
    string.Length = bytes - 2;
    status::SUCCESS
}

impl Provider {
    fn look_up(self: &Arc<Self>, request: Request, look_up: LookUp) -> Result<Status, Stopped> {
        if self.is_lost() {
            return self.conclude(request, status::DEVICE_NOT_READY, information(status::DEVICE_NOT_READY));
        }
        let mut names = self.names.lock();
        if !names.hold && names.delay.is_zero() {
            let status = names.answer(&look_up);
            drop(names);
            return self.conclude(request, status, information(status));
        }
        request.mark_pending();
        let due = (!names.hold).then(|| Instant::now() + names.delay);
        if request.arm() {
            names.pending.insert(request.number, Pending { request, look_up, due });
            drop(names);
            self.network().look();
        } else {
            self.finish_later(request.finish(status::CANCELLED, information(status::CANCELLED)));
        }
        Ok(status::PENDING)
    }

    /// Ends a pending look-up for its cancel routine.
    pub fn cancel_look_up(self: &Arc<Self>, number: u64) -> Result<(), Stopped> {
        let pending = self.names.lock().pending.remove(&number);
        let status = status::CANCELLED;
        pending.map_or(Ok(()), |pending| self.complete(pending.request.finish(status, information(status))))
    }

    /// Makes look-ups wait, or answers those that wait.
    pub fn hold_look_ups(&self, hold: bool) {
        self.names.lock().hold = hold;
        if !hold {
            self.end_look_ups(|_| true, None);
        }
    }

    /// Answers the look-ups whose time has come.
    pub fn answer_due(&self) {
        let now = Instant::now();
        self.end_look_ups(|pending| pending.due.is_some_and(|due| due <= now), None);
    }

    /// Ends every pending look-up.
    pub fn fail_look_ups(&self, status: Status) {
        self.end_look_ups(|_| true, Some(status));
    }

    /// Ends those that are `wanted`: with `status`, or with their answers.
    fn end_look_ups(&self, wanted: impl Fn(&Pending) -> bool, status: Option<Status>) {
        let mut names = self.names.lock();
        for (number, pending) in std::mem::take(&mut names.pending) {
            if wanted(&pending) && pending.request.disarm() {
                let status = status.unwrap_or_else(|| names.answer(&pending.look_up));
                self.finish_later(pending.request.finish(status, information(status)));
            } else {
                names.pending.insert(number, pending); // its cancel routine comes for it, or its time
            }
        }
    }
}
