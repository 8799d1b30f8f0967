//! Indications: `WskReceiveEvent`, `WskReceiveFromEvent`, `WskDisconnectEvent` and `WskSendBacklogEvent`.
//!
//! One idea: data that is indicated stays in the host until the driver has said how much of it it takes; a receive that comes
//! meanwhile waits for that. A list that the driver retains is memory of the provider, until `WskRelease`; then it is overwritten.
//!
//! Source: *`WskReceiveEvent`*, *`WskReceiveFromEvent`*, *`WskDisconnectEvent`*, *`WskSendBacklogEvent`*, *`WskRelease`*.

use std::collections::HashMap;
use std::ffi::c_void;
use std::io;
use std::net::SocketAddr;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wsk::sys;

use super::events::{self, Callback};
use super::lanes::failure;
use super::socket::{Category, Inner, Phase, Socket};
use super::status::{self, Status};
use super::{Provider, address, kernel, rules};
use crate::call::{self, Stopped};
use crate::nt;
use crate::rules::record;

/// Bytes that are indicated at once, at most.
const MOST: usize = 64 * 1024;
/// What memory is filled with once it is released.
const RELEASED: u8 = 0xdd;

/// Memory of the provider that describes received data.
#[expect(clippy::vec_box, reason = "drivers hold the addresses of what is in the lists")]
pub struct Indication {
    /// The socket that it was indicated on.
    socket: usize,
    stream: Vec<Box<sys::DataIndication>>,
    datagrams: Vec<Box<sys::DatagramIndication>>,
    mdls: Vec<Box<nt::MDL>>,
    data: Vec<Box<[u8]>>,
    addresses: Vec<Box<[u64; 4]>>,
}

// SAFETY: the lists point only into the indication itself, whose boxes move with it.
unsafe impl Send for Indication {}

impl Indication {
    fn empty(socket: usize) -> Self {
        Self {
            socket,
            stream: Vec::new(),
            datagrams: Vec::new(),
            mdls: Vec::new(),
            data: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// A `WSK_BUF` of `bytes`, somewhere in an MDL.
    fn buffer(&mut self, bytes: &[u8]) -> sys::Buf {
        let offset = usize::try_from(kernel::random() % 32).unwrap_or(0);
        let mut data = vec![RELEASED; offset];
        data.extend_from_slice(bytes);
        let mut data = data.into_boxed_slice();
        let start: *mut c_void = data.as_mut_ptr().cast();
        let page = start.map_addr(|address| address & !(nt::PAGE_SIZE - 1));
        let mdl = Box::new(nt::MDL {
            Next: null_mut::<nt::MDL>().into(),
            Size: 56.into(),
            MdlFlags: nt::MDL_SOURCE_IS_NONPAGED_POOL.into(),
            Process: null_mut::<c_void>().into(),
            MappedSystemVa: start.into(),
            StartVa: page.into(),
            ByteCount: u32::try_from(data.len()).unwrap_or(u32::MAX).into(),
            ByteOffset: u32::try_from(start.addr() - page.addr()).unwrap_or(0).into(),
        });
        let buffer = sys::Buf {
            mdl: std::ptr::from_ref(&*mdl).cast_mut().cast(),
            offset: u32::try_from(offset).unwrap_or(0),
            length: bytes.len(),
        };
        self.mdls.push(mdl);
        self.data.push(data);
        buffer
    }

    /// A list of one to three parts.
    fn of_stream(socket: usize, mut bytes: &[u8]) -> Self {
        let mut found = Self::empty(socket);
        while !bytes.is_empty() {
            let cut = if found.stream.len() < 2 && kernel::random().is_multiple_of(2) {
                1 + usize::try_from(kernel::random()).unwrap_or(0) % bytes.len()
            } else {
                bytes.len()
            };
            let (part, rest) = bytes.split_at(cut);
            bytes = rest;
            let buffer = found.buffer(part);
            let node = Box::new(sys::DataIndication { next: null_mut(), buffer });
            if let Some(last) = found.stream.last_mut() {
                last.next = std::ptr::from_ref(&*node).cast_mut();
            }
            found.stream.push(node);
        }
        found
    }

    fn of_datagrams(socket: usize, datagrams: &[(Vec<u8>, SocketAddr)]) -> Self {
        let mut found = Self::empty(socket);
        for (bytes, from) in datagrams {
            let buffer = found.buffer(bytes);
            let mut place = Box::new([0_u64; 4]);
            let remote_address = place.as_mut_ptr().cast();
            // SAFETY: 32 bytes hold every SOCKADDR.
            unsafe { address::write(remote_address, *from) };
            found.addresses.push(place);
            let node = Box::new(sys::DatagramIndication {
                next: null_mut(),
                buffer,
                control_info: null_mut(),
                control_info_length: 0,
                remote_address,
            });
            if let Some(last) = found.datagrams.last_mut() {
                last.next = std::ptr::from_ref(&*node).cast_mut();
            }
            found.datagrams.push(node);
        }
        found
    }

    /// What the driver gets, and passes to `WskRelease`.
    fn list(&self) -> usize {
        match (self.stream.first(), self.datagrams.first()) {
            (Some(first), _) => std::ptr::from_ref(&**first) as usize,
            (None, Some(first)) => std::ptr::from_ref(&**first) as usize,
            (None, None) => 0,
        }
    }
}

impl Drop for Indication {
    fn drop(&mut self) {
        for data in &mut self.data {
            data.fill(RELEASED);
        }
        for node in &mut self.stream {
            node.buffer.length = usize::MAX;
        }
        for node in &mut self.datagrams {
            node.buffer.length = usize::MAX;
        }
    }
}

/// Lists that the driver has, by their address.
#[derive(Default)]
pub struct Lists {
    retained: HashMap<usize, Indication>,
    /// Those of callbacks that have not returned: the socket, and whether the list is released already.
    indicated: HashMap<usize, (usize, bool)>,
}

impl Lists {
    /// How many the driver has to release.
    pub fn retained(&self) -> usize {
        self.retained.len()
    }

    /// A callback of `socket` gets `list`.
    fn begin(&mut self, list: usize, socket: usize) {
        self.indicated.insert(list, (socket, false));
    }

    /// The callback has returned; whether the list was released meanwhile.
    fn end(&mut self, list: usize) -> bool {
        self.indicated.remove(&list).is_some_and(|(_, is_released)| is_released)
    }

    /// Releases a list: whether it had been retained; none when the driver does not have it from `socket`.
    ///
    /// Whoever is to take the data may be quicker than the callback that is about to answer `STATUS_PENDING`.
    fn release(&mut self, list: usize, socket: usize) -> Option<bool> {
        if self.retained.get(&list).is_some_and(|list| list.socket == socket) {
            return self.retained.remove(&list).map(|_| true);
        }
        let (of, is_released) = self.indicated.get_mut(&list)?;
        (*of == socket && !std::mem::replace(is_released, true)).then_some(false)
    }
}

/// `WskRelease`, of either kind of list.
pub extern "win64" fn release(socket: *mut sys::Socket, list: *mut c_void) -> Status {
    const RELEASES: &[Category] = &[Category::Connection, Category::Stream, Category::Datagram];
    let outcome = (|| {
        let provider = kernel::provider();
        let call = provider.enter("WskRelease", socket, RELEASES, false)?;
        let Some(was_retained) = provider.lists.lock().release(list as usize, socket as usize) else {
            let message = format!("WskRelease got {list:p}, which is not retained from {}", call.socket);
            return Err(record(&rules::RELEASE_UNKNOWN, message, Vec::new()));
        };
        call.socket.inner.lock().events.retained -= usize::from(was_retained);
        Ok(status::SUCCESS)
    })();
    call::or_escape(outcome)
}

impl Socket {
    /// Calls what callbacks there is a reason for. The network thread's.
    pub fn indicate(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<(), Stopped> {
        let lost = self.inner.lock().events.lost == Some(false);
        if lost {
            return self.indicate_loss(provider);
        }
        let role = self.inner.lock().role;
        match role {
            Category::Listen => self.indicate_arrivals(provider),
            Category::Connection => {
                while self.indicate_data(provider)? {}
                self.indicate_disconnect(provider)?;
                self.indicate_backlog(provider)
            }
            Category::Datagram => {
                while self.indicate_datagrams(provider)? {}
                Ok(())
            }
            Category::Basic | Category::Stream => Ok(()),
        }
    }

    /// Ends a callback, serves what waited for it, and lets a close go on.
    pub fn finish(
        self: &Arc<Self>,
        provider: &Arc<Provider>,
        callback: &Callback,
        settle: impl FnOnce(&mut Inner) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let outcome = {
            let mut inner = self.inner.lock();
            let outcome = settle(&mut inner);
            Self::end(provider, &mut inner, callback);
            outcome
        };
        self.pump(provider);
        self.irp_returned(provider);
        outcome
    }

    /// A callback that got a list has returned, and the driver keeps the list or does not. It may not when it is closing the socket.
    fn settle(
        &self,
        provider: &Provider,
        inner: &mut Inner,
        callback: &Callback,
        indication: Indication,
        is_kept: bool,
    ) -> Result<(), Stopped> {
        let mut lists = provider.lists.lock();
        match (lists.end(indication.list()), is_kept) {
            (true, true) | (false, false) => return Ok(()),
            (true, false) => {
                let message = format!("{callback} of {self} did not retain a list for which WskRelease was called");
                return Err(record(&rules::RELEASE_UNKNOWN, message, Vec::new()));
            }
            (false, true) => {}
        }
        inner.events.retained += 1;
        lists.retained.insert(indication.list(), indication);
        drop(lists);
        if self.is_closing() {
            let message = format!("{callback} of {self} retained a list when WskCloseSocket had been called");
            return Err(record(&rules::INDICATION_RETAINED, message, Vec::new()));
        }
        Ok(())
    }

    fn indicate_data(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<bool, Stopped> {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Connected
            || !inner.lanes[0].is_empty()
            || inner.events.refused
            || !inner.events.has(events::RECEIVE)
        {
            return Ok(false);
        }
        let most = provider.take_at_most(MOST);
        let bytes = match inner.host.as_ref().map(|host| host.peek(most)) {
            Some(Ok(bytes)) if !bytes.is_empty() => bytes,
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                super::stream::failed(&mut inner, failure(&error));
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let Some(callback) = self.begin(&mut inner, events::RECEIVE, 0, "WskReceiveEvent") else {
            return Ok(false);
        };
        inner.events.resumed = false;
        drop(inner);
        let indication = Indication::of_stream(self.object() as usize, &bytes);
        provider.lists.lock().begin(indication.list(), indication.socket);
        let mut accepted = bytes.len();
        let arguments = [indication.list(), bytes.len(), (&raw mut accepted) as usize];
        let answer = self.call(provider, &callback, Some(0), &arguments)?;
        let (taken, retain) = match answer {
            status::SUCCESS if accepted > bytes.len() => {
                let indicated = bytes.len();
                let message = format!("{callback} of {self} accepted {accepted} bytes of the {indicated} indicated");
                return Err(record(&rules::CALLBACK_ANSWER, message, Vec::new()));
            }
            status::SUCCESS => (accepted, false),
            status::PENDING => (bytes.len(), true),
            status::DATA_NOT_ACCEPTED => (0, false),
            other => return Err(self.wrong_answer(&callback, other)),
        };
        self.finish(provider, &callback, |inner| {
            if let Some(host) = &inner.host {
                host.drop_bytes(taken);
                provider.totals.bytes_received.fetch_add(taken as u64, Ordering::Relaxed);
            }
            inner.events.refused = taken < bytes.len() && !inner.events.resumed;
            self.settle(provider, inner, &callback, indication, retain)
        })?;
        Ok(true)
    }

    fn indicate_datagrams(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<bool, Stopped> {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Bound || !inner.lanes[0].is_empty() || !inner.events.has(events::RECEIVE_FROM) {
            return Ok(false);
        }
        let most = 1 + usize::try_from(kernel::random() % 4).unwrap_or(0);
        while inner.events.datagrams.len() < most {
            match inner.host.as_ref().map(super::transport::Host::datagram) {
                // What came before the remote address was fixed is not for the driver.
                Some(Ok((_, from))) if inner.remote.is_some_and(|remote| remote != from) => {}
                Some(Ok(datagram)) => inner.events.datagrams.push_back(datagram),
                _ => break,
            }
        }
        if inner.events.datagrams.is_empty() {
            return Ok(false);
        }
        let Some(callback) = self.begin(&mut inner, events::RECEIVE_FROM, 0, "WskReceiveFromEvent") else {
            return Ok(false);
        };
        let datagrams: Vec<_> = inner.events.datagrams.drain(..).collect();
        drop(inner);
        let indication = Indication::of_datagrams(self.object() as usize, &datagrams);
        provider.lists.lock().begin(indication.list(), indication.socket);
        let answer = self.call(provider, &callback, Some(0), &[indication.list()])?;
        if !matches!(answer, status::SUCCESS | status::PENDING | status::DATA_NOT_ACCEPTED) {
            return Err(self.wrong_answer(&callback, answer));
        }
        self.finish(provider, &callback, |inner| {
            self.settle(provider, inner, &callback, indication, answer == status::PENDING)?;
            if answer == status::DATA_NOT_ACCEPTED {
                // Enabled for ever: it is called for new datagrams only. Else the driver enables it again, and gets these.
                if inner.events.fixed & events::RECEIVE_FROM == 0 {
                    inner.events.enabled &= !events::RECEIVE_FROM;
                    inner.events.datagrams.extend(datagrams);
                }
                return Ok(());
            }
            let bytes: usize = datagrams.iter().map(|(bytes, _)| bytes.len()).sum();
            provider.totals.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(true)
    }

    fn indicate_disconnect(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<(), Stopped> {
        let mut inner = self.inner.lock();
        let ended = match (&inner.host, inner.phase) {
            (Some(host), Phase::Connected) => host.peer_ended(inner.shut),
            _ => inner.events.reset.then_some(true),
        };
        let Some(abortive) = ended else {
            return Ok(());
        };
        if inner.events.disconnected {
            return Ok(());
        }
        let Some(callback) = self.begin(&mut inner, events::DISCONNECT, 1, "WskDisconnectEvent") else {
            return Ok(());
        };
        inner.events.disconnected = true;
        drop(inner);
        self.tell(provider, &callback, Some(if abortive { sys::FLAG_ABORTIVE } else { 0 }), &[])
    }

    fn indicate_backlog(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<(), Stopped> {
        let mut inner = self.inner.lock();
        let ideal = inner.events.ideal_backlog;
        if inner.phase != Phase::Connected || ideal == inner.events.told_backlog {
            return Ok(());
        }
        let Some(callback) = self.begin(&mut inner, events::SEND_BACKLOG, 2, "WskSendBacklogEvent") else {
            return Ok(());
        };
        inner.events.told_backlog = ideal;
        drop(inner);
        self.tell(provider, &callback, None, &[ideal])
    }

    /// Calls a callback that can only answer `STATUS_SUCCESS`.
    pub fn tell(
        self: &Arc<Self>,
        provider: &Arc<Provider>,
        callback: &Callback,
        flags: Option<u32>,
        arguments: &[usize],
    ) -> Result<(), Stopped> {
        match self.call(provider, callback, flags, arguments)? {
            status::SUCCESS => self.finish(provider, callback, |_| Ok(())),
            other => Err(self.wrong_answer(callback, other)),
        }
    }

    /// The provider is gone: every callback that is enabled is told so, with a NULL where its data would be.
    fn indicate_loss(self: &Arc<Self>, provider: &Arc<Provider>) -> Result<(), Stopped> {
        let mut ends = Vec::new();
        {
            let mut inner = self.inner.lock();
            inner.events.lost = Some(true);
            let role = inner.role;
            let mut begin = |event, slot, name, flags, arguments| {
                if let Some(callback) = self.begin(&mut inner, event, slot, name) {
                    ends.push((callback, flags, arguments));
                }
            };
            match role {
                Category::Listen => {
                    begin(events::ACCEPT, 0, "WskAcceptEvent", Some(0), 5);
                    begin(events::INSPECT, 1, "WskInspectEvent", None, 3);
                }
                Category::Connection => {
                    begin(events::RECEIVE, 0, "WskReceiveEvent", Some(0), 3);
                    begin(events::DISCONNECT, 1, "WskDisconnectEvent", Some(sys::FLAG_ABORTIVE), 0);
                }
                Category::Datagram => begin(events::RECEIVE_FROM, 0, "WskReceiveFromEvent", Some(0), 1),
                Category::Basic | Category::Stream => {}
            }
        }
        for (callback, flags, arguments) in ends {
            // Nothing was offered, so that no answer means anything.
            self.call(provider, &callback, flags, &[0; 8][..arguments])?;
            self.finish(provider, &callback, |_| Ok(()))?;
        }
        Ok(())
    }
}
