//! Names: `WskGetAddressInfo`, `WskGetNameInfo` and `WskFreeAddressInfo`.
//!
//! One idea: nobody outside the lab is asked. A name is a number, `localhost`, or one that the test has set; a look-up takes as
//! long as the test holds it.
//!
//! Source: *`WskGetAddressInfo`*, *`WskGetNameInfo`*, *`WskFreeAddressInfo`*, *ADDRINFOEXW*.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::null_mut;
use std::sync::Arc;

use wsk::sys;

use super::request::Request;
use super::status::{self, Status};
use super::{Provider, address, dispatch, kernel, rules};
use crate::call::{self, Stopped};
use crate::nt::UNICODE_STRING;
use crate::rules::record;

/// `AI_PASSIVE`.
const AI_PASSIVE: i32 = 1;
/// `AI_CANONNAME`.
const AI_CANONNAME: i32 = 2;
/// `AI_NUMERICHOST`.
const AI_NUMERICHOST: i32 = 4;
/// `NI_NUMERICHOST`.
const NI_NUMERICHOST: u32 = 2;
/// `NI_NUMERICSERV`.
const NI_NUMERICSERV: u32 = 8;

/// Service names and their ports.
const SERVICES: &[(&str, u16)] = &[
    ("echo", 7),
    ("discard", 9),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("https", 443),
];

/// `ADDRINFOEXW`.
#[repr(C)]
pub struct AddressInfo {
    pub flags: i32,
    pub family: i32,
    pub kind: i32,
    pub protocol: i32,
    pub address_length: usize,
    pub canonical_name: *mut u16,
    pub address: *mut sys::SockAddr,
    pub blob: *mut c_void,
    pub blob_length: usize,
    pub provider: *mut sys::Guid,
    pub next: *mut AddressInfo,
}
const _: () = assert!(size_of::<AddressInfo>() == 72);

/// One result with what it points to.
struct Node {
    info: AddressInfo,
    address: sys::SockAddrIn6,
    name: Vec<u16>,
}

/// What a look-up asks for.
#[derive(Clone)]
struct Question {
    node: Option<String>,
    service: Option<String>,
    flags: i32,
    family: i32,
    kind: i32,
    protocol: i32,
}

struct Pending {
    request: Request,
    question: Question,
    result: *mut *mut AddressInfo,
}

/// The names that a machine knows, and the look-ups and results that are out.
pub struct Names {
    known: HashMap<String, Vec<IpAddr>>,
    hold: bool,
    pending: BTreeMap<u64, Pending>,
    /// Lists by the address of their head.
    #[expect(clippy::vec_box, reason = "drivers hold the nodes' addresses")]
    lists: HashMap<usize, Vec<Box<Node>>>,
}

// SAFETY: the pointers lead into the lists themselves, or to places that the driver keeps valid until its IRP is completed; they
// are followed under the lock.
unsafe impl Send for Names {}

impl Default for Names {
    fn default() -> Self {
        let localhost = vec![IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        Self {
            known: HashMap::from([("localhost".to_owned(), localhost)]),
            hold: false,
            pending: BTreeMap::new(),
            lists: HashMap::new(),
        }
    }
}

impl Names {
    /// Lets `name` resolve.
    pub fn set(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.known.insert(name.to_lowercase(), addresses);
    }

    /// Lists that were not freed.
    pub fn lists(&self) -> usize {
        self.lists.len()
    }

    fn resolve(&self, question: &Question) -> Result<Vec<SocketAddr>, Status> {
        let port = question.service.as_deref().map_or(Some(0), port_of).ok_or(status::NO_MATCH)?;
        let addresses = match question.node.as_deref() {
            None if question.flags & AI_PASSIVE != 0 => {
                vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()]
            }
            None => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
            Some(node) => match node.parse::<IpAddr>() {
                Ok(address) => vec![address],
                Err(_) if question.flags & AI_NUMERICHOST != 0 => return Err(status::NO_MATCH),
                Err(_) => self.known.get(&node.to_lowercase()).cloned().ok_or(status::NO_MATCH)?,
            },
        };
        let wanted = |ip: &IpAddr| {
            question.family == 0
                || question.family == i32::from(if ip.is_ipv4() { sys::AF_INET } else { sys::AF_INET6 })
        };
        let found: Vec<_> = addresses.into_iter().filter(wanted).map(|ip| SocketAddr::new(ip, port)).collect();
        if found.is_empty() { Err(status::NO_MATCH) } else { Ok(found) }
    }

    /// Makes the list for the driver.
    fn list(&mut self, question: &Question, found: &[SocketAddr]) -> *mut AddressInfo {
        let mut nodes = Vec::new();
        let mut next: *mut AddressInfo = null_mut();
        for (index, &address) in found.iter().enumerate().rev() {
            let family = if address.is_ipv4() { sys::AF_INET } else { sys::AF_INET6 };
            let name = if index == 0 && question.flags & AI_CANONNAME != 0 {
                question.node.iter().flat_map(|node| node.encode_utf16()).chain([0]).collect()
            } else {
                Vec::new()
            };
            let mut node = Box::new(Node {
                info: AddressInfo {
                    flags: 0,
                    family: family.into(),
                    kind: question.kind,
                    protocol: question.protocol,
                    address_length: address::length(family),
                    canonical_name: null_mut(),
                    address: null_mut(),
                    blob: null_mut(),
                    blob_length: 0,
                    provider: null_mut(),
                    next,
                },
                address: sys::SockAddrIn6 { family, port: [0; 2], flow_info: 0, address: [0; 16], scope_id: 0 },
                name,
            });
            node.info.address = (&raw mut node.address).cast();
            if !node.name.is_empty() {
                node.info.canonical_name = node.name.as_mut_ptr();
            }
            // SAFETY: the node has room for the longest SOCKADDR.
            unsafe { address::write(node.info.address, address) };
            next = &raw mut node.info;
            nodes.push(node);
        }
        self.lists.insert(next as usize, nodes);
        next
    }

    /// The status of a look-up whose time has come; its list is where the driver wants it.
    fn answer(&mut self, question: &Question, result: *mut *mut AddressInfo) -> Status {
        let found = match self.resolve(question) {
            Ok(found) => found,
            Err(status) => return status,
        };
        let list = self.list(question, &found);
        // SAFETY: the driver keeps the place for the list valid until its IRP is completed.
        unsafe { result.write(list) };
        status::SUCCESS
    }
}

fn port_of(service: &str) -> Option<u16> {
    let known = || SERVICES.iter().find(|(name, _)| name.eq_ignore_ascii_case(service)).map(|&(_, port)| port);
    service.parse().ok().or_else(known)
}

/// # Safety
/// `string` is null or points to a valid `UNICODE_STRING`.
unsafe fn text(string: *const sys::UnicodeString) -> Option<String> {
    // SAFETY: the caller vouches for the struct.
    let string = unsafe { string.cast::<UNICODE_STRING>().as_ref() }?;
    // SAFETY: the caller vouches for the string.
    Some(unsafe { string.text() })
}

pub extern "win64" fn get_address_info(
    client: *mut sys::Client,
    node: *mut sys::UnicodeString,
    service: *mut sys::UnicodeString,
    _namespace: u32,
    _provider: *mut sys::Guid,
    hints: *mut sys::AddressInfo,
    result: *mut *mut sys::AddressInfo,
    _process: *mut sys::Process,
    _thread: *mut sys::Thread,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::client_call("WskGetAddressInfo", client, irp, |provider, _, request| {
        // SAFETY: the driver passes NULL or a valid string.
        let node = unsafe { text(node) };
        // SAFETY: as above.
        let service = unsafe { text(service) };
        // SAFETY: the driver passes NULL or an ADDRINFOEXW.
        let hints = unsafe { hints.cast::<AddressInfo>().as_ref() };
        let question = Question {
            flags: hints.map_or(0, |hints| hints.flags),
            family: hints.map_or(0, |hints| hints.family),
            kind: hints.map_or(0, |hints| hints.kind),
            protocol: hints.map_or(0, |hints| hints.protocol),
            node,
            service,
        };
        if result.is_null() || (question.node.is_none() && question.service.is_none()) {
            return provider.conclude(request, status::INVALID_PARAMETER, 0);
        }
        provider.look_up(request, question, result.cast())
    })
}

pub extern "win64" fn free_address_info(_client: *mut sys::Client, list: *mut sys::AddressInfo) {
    let freed = kernel::provider().names.lock().lists.remove(&(list as usize)).is_some();
    if !freed {
        let message = format!("WskFreeAddressInfo got {list:p}, which is no list of WskGetAddressInfo");
        call::escape(record(&rules::ADDRESS_LIST_FREED_TWICE, message, Vec::new()));
    }
}

pub extern "win64" fn get_name_info(
    client: *mut sys::Client,
    socket_address: *mut sys::SockAddr,
    length: u32,
    node: *mut sys::UnicodeString,
    service: *mut sys::UnicodeString,
    flags: u32,
    _process: *mut sys::Process,
    _thread: *mut sys::Thread,
    irp: *mut sys::Irp,
) -> Status {
    dispatch::client_call("WskGetNameInfo", client, irp, |provider, _, request| {
        let family = if length as usize >= address::length(sys::AF_INET6) { sys::AF_INET6 } else { sys::AF_INET };
        if (length as usize) < address::length(sys::AF_INET) {
            return provider.conclude(request, status::INVALID_PARAMETER, 0);
        }
        // SAFETY: the driver passes a SOCKADDR of the length that it says.
        let found = unsafe { address::read(socket_address, family) }
            // SAFETY: a SOCKADDR_IN may lie in a larger buffer.
            .or_else(|_| unsafe { address::read(socket_address, sys::AF_INET) });
        let status = found.map_or_else(
            |status| status,
            |found| {
                let (host, port) = provider.names_of(found, flags);
                // SAFETY: the driver passes NULL or strings with room for MaximumLength bytes, until the IRP is completed.
                let first = unsafe { put(node, &host) };
                // SAFETY: as above.
                let second = unsafe { put(service, &port) };
                if first == status::SUCCESS { second } else { first }
            },
        );
        provider.conclude(request, status, 0)
    })
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
    fn look_up(
        self: &Arc<Self>,
        request: Request,
        question: Question,
        result: *mut *mut AddressInfo,
    ) -> Result<Status, Stopped> {
        let mut names = self.names.lock();
        if !names.hold {
            let status = names.answer(&question, result);
            drop(names);
            return self.conclude(request, status, 0);
        }
        request.mark_pending();
        if request.arm() {
            names.pending.insert(request.number, Pending { request, question, result });
        } else {
            self.finish_later(request.finish(status::CANCELLED, 0));
        }
        Ok(status::PENDING)
    }

    /// Ends a pending look-up for its cancel routine.
    pub fn cancel_look_up(self: &Arc<Self>, number: u64) -> Result<(), Stopped> {
        let pending = self.names.lock().pending.remove(&number);
        pending.map_or(Ok(()), |pending| self.complete(pending.request.finish(status::CANCELLED, 0)))
    }

    /// Makes look-ups wait, or answers those that wait.
    pub fn hold_look_ups(&self, hold: bool) {
        let mut names = self.names.lock();
        names.hold = hold;
        if hold {
            return;
        }
        for (number, pending) in std::mem::take(&mut names.pending) {
            if pending.request.disarm() {
                let status = names.answer(&pending.question, pending.result);
                self.finish_later(pending.request.finish(status, 0));
            } else {
                names.pending.insert(number, pending);
            }
        }
    }

    /// Ends every pending look-up.
    pub fn fail_look_ups(&self, status: Status) {
        let mut names = self.names.lock();
        for (number, pending) in std::mem::take(&mut names.pending) {
            if pending.request.disarm() {
                self.finish_later(pending.request.finish(status, 0));
            } else {
                names.pending.insert(number, pending);
            }
        }
    }

    /// The names of an address and its port.
    fn names_of(&self, found: SocketAddr, flags: u32) -> (String, String) {
        let names = self.names.lock();
        let known =
            || names.known.iter().find(|(_, addresses)| addresses.contains(&found.ip())).map(|(name, _)| name.clone());
        let host = if flags & NI_NUMERICHOST != 0 { None } else { known() };
        let service = || SERVICES.iter().find(|(_, port)| *port == found.port()).map(|(name, _)| (*name).to_owned());
        let port = if flags & NI_NUMERICSERV != 0 { None } else { service() };
        (host.unwrap_or_else(|| found.ip().to_string()), port.unwrap_or_else(|| found.port().to_string()))
    }
}
