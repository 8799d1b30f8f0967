//! Event callbacks: a driver's dispatch tables and contexts that note what is called.

mod arrivals;
mod indications;
mod rules;
mod streams;

use std::ffi::c_void;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ptr::null_mut;
use std::sync::Arc;

use parking_lot::Mutex;
use wsk::sys;

use super::super::events::{Control, DISABLE};
use super::super::option::codes::{SO_WSK_EVENT_CALLBACK, SOL_SOCKET};
use super::super::status::{self, Status};
use super::{Client, Io, Sock, settle, settled};

type Answer = Box<dyn Fn(&Call) -> Status + Send>;

/// One call of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    /// Data, or `None` for a NULL indication; the address of the list; whether the flag says `DISPATCH_LEVEL`.
    Receive(Option<Vec<u8>>, usize, bool),
    /// With a reset, or not.
    Disconnect(bool),
    Backlog(usize),
    /// The socket, or NULL, and its peer.
    Accept(usize, Option<SocketAddr>),
    Datagrams(Option<Vec<(Vec<u8>, SocketAddr)>>, usize),
    Inspect(Option<sys::InspectId>),
    Abort(sys::InspectId),
}

/// A driver's socket context: what was called, and what to answer.
struct Context {
    calls: Mutex<Vec<Call>>,
    answer: Mutex<Option<Answer>>,
    /// What `WskReceiveEvent` writes to `*BytesAccepted`.
    accepts: Mutex<Option<usize>>,
    /// What an accepted socket gets as its context.
    accepted: Mutex<Option<Arc<Context>>>,
}

impl Context {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            answer: Mutex::default(),
            accepts: Mutex::default(),
            accepted: Mutex::default(),
        })
    }

    fn answer(&self, answer: impl Fn(&Call) -> Status + Send + 'static) {
        *self.answer.lock() = Some(Box::new(answer));
    }

    fn pointer(self: &Arc<Self>) -> *mut c_void {
        Arc::as_ptr(self).cast_mut().cast()
    }

    fn called(&self, call: Call) -> Status {
        let answer = self.answer.lock().as_ref().map_or(status::SUCCESS, |answer| answer(&call));
        self.calls.lock().push(call);
        answer
    }

    fn count(&self) -> usize {
        self.calls.lock().len()
    }

    /// All bytes that `WskReceiveEvent` was given.
    fn bytes(&self) -> Vec<u8> {
        let calls = self.calls.lock();
        calls
            .iter()
            .filter_map(|call| if let Call::Receive(Some(bytes), ..) = call { Some(bytes.as_slice()) } else { None })
            .collect::<Vec<_>>()
            .concat()
    }

    fn has(&self, call: &Call) -> bool {
        self.calls.lock().contains(call)
    }
}

fn context(pointer: *mut c_void) -> &'static Context {
    // SAFETY: every socket of these tests that has callbacks has a context, which outlives it.
    unsafe { &*pointer.cast() }
}

/// The bytes of a `WSK_BUF` of one MDL.
fn contents(buffer: &sys::Buf) -> Vec<u8> {
    // SAFETY: the provider indicates buffers of one mapped MDL.
    let mdl = unsafe { &*buffer.mdl.cast::<crate::nt::MDL>() };
    let start = mdl.MappedSystemVa.get().cast::<u8>().wrapping_add(buffer.offset as usize);
    // SAFETY: the buffer lies inside the MDL, which is mapped.
    unsafe { std::slice::from_raw_parts(start, buffer.length) }.to_vec()
}

unsafe extern "win64" fn receive_event(
    socket: *mut c_void,
    flags: u32,
    list: *mut sys::DataIndication,
    indicated: usize,
    accepted: *mut usize,
) -> Status {
    let dispatch = flags & sys::FLAG_AT_DISPATCH_LEVEL != 0;
    assert!(!dispatch || crate::irql::current() == crate::irql::DISPATCH);
    let mut bytes = Vec::new();
    let mut next = list;
    // SAFETY: the provider's list is valid during the call.
    while let Some(node) = unsafe { next.as_ref() } {
        bytes.extend(contents(&node.buffer));
        next = node.next;
    }
    assert_eq!(bytes.len(), indicated);
    let context = context(socket);
    if let Some(count) = *context.accepts.lock() {
        // SAFETY: the provider passes a variable.
        unsafe { accepted.write(count) };
    }
    context.called(Call::Receive((!list.is_null()).then_some(bytes), list as usize, dispatch))
}

unsafe extern "win64" fn disconnect_event(socket: *mut c_void, flags: u32) -> Status {
    context(socket).called(Call::Disconnect(flags & sys::FLAG_ABORTIVE != 0))
}

unsafe extern "win64" fn send_backlog_event(socket: *mut c_void, ideal: usize) -> Status {
    context(socket).called(Call::Backlog(ideal))
}

unsafe extern "win64" fn accept_event(
    socket: *mut c_void,
    _: u32,
    _: *mut sys::SockAddr,
    remote: *mut sys::SockAddr,
    accepted: *mut sys::Socket,
    accepted_context: *mut *mut c_void,
    accepted_dispatch: *mut *const sys::ClientConnectionDispatch,
) -> Status {
    let context = context(socket);
    // SAFETY: the provider passes NULL or the peer's address.
    let from = unsafe { super::super::address::read(remote, sys::AF_INET) }.ok();
    if let Some(found) = &*context.accepted.lock()
        && !accepted.is_null()
    {
        // SAFETY: the provider passes a variable.
        unsafe { accepted_context.write(found.pointer()) };
        // SAFETY: the provider passes a variable.
        unsafe { accepted_dispatch.write(&raw const CONNECTION) };
    }
    context.called(Call::Accept(accepted as usize, from))
}

unsafe extern "win64" fn inspect_event(
    socket: *mut c_void,
    _: *mut sys::SockAddr,
    _: *mut sys::SockAddr,
    id: *mut sys::InspectId,
) -> sys::InspectAction {
    // SAFETY: the provider passes NULL or an id.
    context(socket).called(Call::Inspect(unsafe { id.as_ref() }.copied()))
}

unsafe extern "win64" fn abort_event(socket: *mut c_void, id: *mut sys::InspectId) -> Status {
    // SAFETY: the provider passes an id.
    context(socket).called(Call::Abort(unsafe { id.read() }))
}

unsafe extern "win64" fn receive_from_event(socket: *mut c_void, _: u32, list: *mut sys::DatagramIndication) -> Status {
    let mut datagrams = Vec::new();
    let mut next = list;
    // SAFETY: the provider's list is valid during the call.
    while let Some(node) = unsafe { next.as_ref() } {
        // SAFETY: the provider's list, addresses included, is valid during the call.
        let from = unsafe { super::super::address::read(node.remote_address, sys::AF_INET) }.unwrap();
        datagrams.push((contents(&node.buffer), from));
        next = node.next;
    }
    context(socket).called(Call::Datagrams((!list.is_null()).then_some(datagrams), list as usize))
}

static CONNECTION: sys::ClientConnectionDispatch = sys::ClientConnectionDispatch {
    receive_event: Some(receive_event),
    disconnect_event: Some(disconnect_event),
    send_backlog_event: Some(send_backlog_event),
};
static LISTEN: sys::ClientListenDispatch = sys::ClientListenDispatch {
    accept_event: Some(accept_event),
    inspect_event: Some(inspect_event),
    abort_event: Some(abort_event),
};
/// `WSK_CLIENT_STREAM_DISPATCH`.
#[repr(C)]
struct StreamTable(&'static sys::ClientListenDispatch, &'static sys::ClientConnectionDispatch);
static STREAM: StreamTable = StreamTable(&LISTEN, &CONNECTION);
/// `WSK_CLIENT_DATAGRAM_DISPATCH`.
static DATAGRAM: sys::ReceiveFromEventFn = Some(receive_from_event);

impl Client {
    /// A socket with callbacks.
    fn socket_with(&self, flags: u32, context: &Arc<Context>) -> Sock {
        let (table, kind, protocol): (*const c_void, _, _) = match flags {
            sys::FLAG_LISTEN_SOCKET => ((&raw const LISTEN).cast(), sys::SOCK_STREAM, sys::IPPROTO_TCP),
            sys::FLAG_STREAM_SOCKET => ((&raw const STREAM).cast(), sys::SOCK_STREAM, sys::IPPROTO_TCP),
            sys::FLAG_DATAGRAM_SOCKET => ((&raw const DATAGRAM).cast(), sys::SOCK_DGRAM, sys::IPPROTO_UDP),
            _ => ((&raw const CONNECTION).cast(), sys::SOCK_STREAM, sys::IPPROTO_TCP),
        };
        let io = Io::new();
        // SAFETY: the arguments are those of WskSocket.
        let returned = unsafe {
            self.dispatch().socket.unwrap()(
                self.npi.client,
                sys::AF_INET,
                kind,
                protocol,
                flags,
                context.pointer(),
                table,
                null_mut(),
                null_mut(),
                null_mut(),
                io.irp(),
            )
        };
        let (status, object) = settle(returned, io);
        assert_eq!(status, status::SUCCESS);
        Sock { object: object as *mut sys::Socket, family: sys::AF_INET }
    }

    /// A connection with callbacks, and its other end.
    fn pair_with(&self, context: &Arc<Context>) -> (Sock, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = self.socket_with(sys::FLAG_CONNECTION_SOCKET, context);
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(socket.connect(listener.local_addr().unwrap()), status::SUCCESS);
        (socket, listener.accept().unwrap().0)
    }
}

impl Sock {
    fn events_with(self, mask: u32, io: Option<&Io>) -> Status {
        let mut control = Control { npi: (&raw const CONNECTION).cast(), mask };
        // SAFETY: the arguments are those of WskControlSocket.
        unsafe {
            self.basic().control_socket.unwrap()(
                self.object,
                sys::CONTROL_SET_OPTION,
                SO_WSK_EVENT_CALLBACK,
                SOL_SOCKET,
                size_of::<Control>(),
                (&raw mut control).cast(),
                0,
                null_mut(),
                null_mut(),
                io.map_or(null_mut(), Io::irp),
            )
        }
    }

    /// Enables or disables callbacks without an IRP.
    fn events(self, mask: u32) -> Status {
        self.events_with(mask, None)
    }

    fn release(self, list: usize) -> Status {
        // SAFETY: the arguments are those of WskRelease.
        unsafe { self.connection().release.unwrap()(self.object, list as *mut sys::DataIndication) }
    }

    fn complete_inspection(self, id: sys::InspectId, action: sys::InspectAction) -> Status {
        let (mut id, io) = (id, Io::new());
        // SAFETY: the arguments are those of WskInspectComplete.
        let returned = unsafe { self.listen().inspect_complete.unwrap()(self.object, &raw mut id, action, io.irp()) };
        settled(returned, io)
    }
}

fn settled_disable(socket: Sock, event: u32) -> Status {
    let io = Io::new();
    let returned = socket.events_with(DISABLE | event, Some(&io));
    settled(returned, io)
}
