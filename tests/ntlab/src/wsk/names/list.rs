//! The lists that `WskGetAddressInfo` gives and `WskFreeAddressInfo` takes back.
//!
//! One idea: a list that was freed is kept with pointers that lead nowhere, so that a driver that still follows them is caught.

use std::collections::HashMap;
use std::ffi::c_void;
use std::net::SocketAddr;
use std::ptr::null_mut;

use wsk::sys;

use super::super::address;
use super::question::Question;

/// What the fields of a freed list hold: no address that there can be.
const POISON: usize = 0xdead_f4ee_dead_f4ee;
/// Freed lists that are kept.
const MOST_FREED: usize = 1024;

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

/// The nodes of a list, the head last; boxed, for drivers hold their addresses.
type Nodes = Vec<Box<Node>>;

/// Lists by the address of their head.
#[derive(Default)]
pub struct Lists {
    given: HashMap<usize, Nodes>,
    freed: Vec<Nodes>,
}

// SAFETY: the pointers lead into the lists themselves, which are changed under the lock of their owner only.
unsafe impl Send for Lists {}

impl Lists {
    /// Those that were not freed.
    pub fn given(&self) -> usize {
        self.given.len()
    }

    /// Makes the list for the driver.
    pub fn give(&mut self, question: &Question, found: &[SocketAddr]) -> *mut AddressInfo {
        let mut nodes = Vec::new();
        let mut next: *mut AddressInfo = null_mut();
        for (index, &address) in found.iter().enumerate().rev() {
            let name = question.canonical_name().filter(|_| index == 0);
            let mut node = Box::new(Node::new(question, address, name, next));
            node.link();
            next = &raw mut node.info;
            nodes.push(node);
        }
        self.given.insert(next as usize, nodes);
        next
    }

    /// Takes a list back; false when it is none.
    pub fn free(&mut self, head: usize) -> bool {
        let Some(mut nodes) = self.given.remove(&head) else {
            return false;
        };
        for node in &mut nodes {
            node.poison();
        }
        if self.freed.len() == MOST_FREED {
            self.freed.remove(0);
        }
        self.freed.push(nodes);
        true
    }
}

impl Node {
    fn new(question: &Question, address: SocketAddr, name: Option<&str>, next: *mut AddressInfo) -> Self {
        let family = if address.is_ipv4() { sys::AF_INET } else { sys::AF_INET6 };
        let mut node = Self {
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
            name: name.map_or_else(Vec::new, |name| name.encode_utf16().chain([0]).collect()),
        };
        // SAFETY: the node has room for the longest SOCKADDR.
        unsafe { address::write((&raw mut node.address).cast(), address) };
        node
    }

    /// Lets the result point to what it has, once it has its place.
    fn link(&mut self) {
        self.info.address = (&raw mut self.address).cast();
        if !self.name.is_empty() {
            self.info.canonical_name = self.name.as_mut_ptr();
        }
    }

    fn poison(&mut self) {
        self.info.family = -1;
        self.info.address_length = 0;
        self.info.canonical_name = POISON as *mut u16;
        self.info.address = POISON as *mut sys::SockAddr;
        self.info.next = POISON as *mut AddressInfo;
    }
}
