//! A socket of the driver, and calls under way on it.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::ptr::{null, null_mut};

use wsk::sys;

use super::super::dispatch;
use super::super::socket::Category;
use super::super::status::{self, Status};
use super::{Io, Memory, Place, settle, settled};

/// A socket of the driver.
#[derive(Clone, Copy)]
pub(super) struct Sock {
    pub(super) object: *mut sys::Socket,
    pub(super) family: sys::AddressFamily,
}

// SAFETY: a socket's functions may be called from any thread.
unsafe impl Send for Sock {}

/// A call under way with the memory that it uses.
pub(super) struct Transfer {
    pub(super) returned: Status,
    pub(super) io: Io,
    pub(super) memory: Memory,
}

impl Transfer {
    pub(super) fn settle(self) -> (Status, usize, Vec<u8>) {
        let Self { returned, io, memory } = self;
        let (status, count) = settle(returned, io);
        (status, count, memory.bytes[..count.min(memory.bytes.len())].to_vec())
    }

    pub(super) fn settled(self) -> (Status, usize) {
        let (status, count, _) = self.settle();
        (status, count)
    }
}

impl Sock {
    pub(super) fn dispatch(self) -> *const c_void {
        // SAFETY: the provider keeps the object as long as the machine lives.
        unsafe { &*self.object }.dispatch
    }

    pub(super) fn basic(self) -> &'static sys::BasicDispatch {
        // SAFETY: every category's table begins with the basic one; the tables are static.
        unsafe { &*self.dispatch().cast() }
    }

    pub(super) fn listen(self) -> &'static sys::ListenDispatch {
        // SAFETY: the tests call it on listening sockets.
        unsafe { &*self.dispatch().cast() }
    }

    pub(super) fn connection(self) -> &'static sys::ConnectionDispatch {
        // SAFETY: the tests call it on connection-oriented sockets.
        unsafe { &*self.dispatch().cast() }
    }

    pub(super) fn datagram(self) -> &'static sys::DatagramDispatch {
        // SAFETY: the tests call it on datagram sockets.
        unsafe { &*self.dispatch().cast() }
    }

    pub(super) fn bind(self, local: &str) -> Status {
        let mut local = Place::of(local.parse().unwrap());
        let io = Io::new();
        // WskBind is in the same slot of every category that has it.
        // SAFETY: the arguments are those of WskBind.
        let returned = unsafe { self.listen().bind.unwrap()(self.object, local.pointer(), 0, io.irp()) };
        settled(returned, io)
    }

    pub(super) fn start_connect(self, remote: SocketAddr) -> (Status, Io) {
        let mut remote = Place::of(remote);
        let io = Io::new();
        // SAFETY: the arguments are those of WskConnect.
        let returned = unsafe { self.connection().connect.unwrap()(self.object, remote.pointer(), 0, io.irp()) };
        (returned, io)
    }

    pub(super) fn connect(self, remote: SocketAddr) -> Status {
        let (returned, io) = self.start_connect(remote);
        settled(returned, io)
    }

    pub(super) fn start_accept(self, places: &mut [Place; 2]) -> (Status, Io) {
        let [local, remote] = places;
        let io = Io::new();
        // SAFETY: the arguments are those of WskAccept.
        let returned = unsafe {
            self.listen().accept.unwrap()(
                self.object,
                0,
                null_mut(),
                null(),
                local.pointer(),
                remote.pointer(),
                io.irp(),
            )
        };
        (returned, io)
    }

    /// The accepted socket, its local address and its peer's.
    pub(super) fn accept(self) -> (Sock, SocketAddr, SocketAddr) {
        let mut places = [Place::default(), Place::default()];
        let (returned, io) = self.start_accept(&mut places);
        let (status, object) = settle(returned, io);
        assert_eq!(status, status::SUCCESS);
        let [mut local, mut remote] = places;
        (self.accepted(object), local.read(self.family), remote.read(self.family))
    }

    pub(super) fn accepted(self, object: usize) -> Sock {
        Sock { object: object as *mut sys::Socket, family: self.family }
    }

    pub(super) fn send(self, bytes: &[u8]) -> Transfer {
        let (io, memory) = (Io::new(), Memory::new(bytes));
        // SAFETY: the arguments are those of WskSend.
        let returned = unsafe { self.connection().send.unwrap()(self.object, memory.buffer(), 0, io.irp()) };
        Transfer { returned, io, memory }
    }

    pub(super) fn receive(self, length: usize, flags: u32) -> Transfer {
        let (io, memory) = (Io::new(), Memory::new(&vec![0; length]));
        // SAFETY: the arguments are those of WskReceive.
        let returned = unsafe { self.connection().receive.unwrap()(self.object, memory.buffer(), flags, io.irp()) };
        Transfer { returned, io, memory }
    }

    pub(super) fn start_disconnect(self, bytes: Option<&[u8]>, flags: u32) -> Transfer {
        let (io, memory) = (Io::new(), Memory::new(bytes.unwrap_or_default()));
        let buffer = if bytes.is_some() { memory.buffer() } else { null_mut() };
        // SAFETY: the arguments are those of WskDisconnect.
        let returned = unsafe { self.connection().disconnect.unwrap()(self.object, buffer, flags, io.irp()) };
        Transfer { returned, io, memory }
    }

    pub(super) fn local(self) -> Result<SocketAddr, Status> {
        let mut place = Place::default();
        let io = Io::new();
        let (listen, connection) = (self.listen(), self.connection());
        let get = if std::ptr::eq((&raw const *listen).cast(), dispatch::of(Category::Listen)) {
            listen.get_local_address
        } else if std::ptr::eq((&raw const *listen).cast(), dispatch::of(Category::Datagram)) {
            self.datagram().get_local_address
        } else {
            connection.get_local_address
        };
        // SAFETY: the arguments are those of WskGetLocalAddress.
        let returned = unsafe { get.unwrap()(self.object, place.pointer(), io.irp()) };
        match settled(returned, io) {
            status::SUCCESS => Ok(place.read(self.family)),
            status => Err(status),
        }
    }

    pub(super) fn remote(self) -> Result<SocketAddr, Status> {
        let mut place = Place::default();
        let io = Io::new();
        // SAFETY: the arguments are those of WskGetRemoteAddress.
        let returned = unsafe { self.connection().get_remote_address.unwrap()(self.object, place.pointer(), io.irp()) };
        match settled(returned, io) {
            status::SUCCESS => Ok(place.read(self.family)),
            status => Err(status),
        }
    }

    pub(super) fn start_close(self) -> (Status, Io) {
        let io = Io::new();
        // SAFETY: the arguments are those of WskCloseSocket.
        let returned = unsafe { self.basic().close_socket.unwrap()(self.object, io.irp()) };
        (returned, io)
    }

    pub(super) fn close(self) {
        let (returned, io) = self.start_close();
        assert_eq!(settled(returned, io), status::SUCCESS);
    }

    /// Sets (`Some`) or gets an option.
    pub(super) fn option(self, level: u32, code: u32, value: Option<u32>) -> Result<u32, Status> {
        let (mut input, mut output) = (value.unwrap_or(0), 0_u32);
        let (kind, input_size, output_size) =
            if value.is_some() { (sys::CONTROL_SET_OPTION, 4, 0) } else { (sys::CONTROL_GET_OPTION, 0, 4) };
        let io = Io::new();
        // SAFETY: the arguments are those of WskControlSocket; the buffers outlive the IRP.
        let returned = unsafe {
            self.basic().control_socket.unwrap()(
                self.object,
                kind,
                code,
                level,
                input_size,
                (&raw mut input).cast(),
                output_size,
                (&raw mut output).cast(),
                null_mut(),
                io.irp(),
            )
        };
        match settle(returned, io) {
            (status::SUCCESS, _) => Ok(output),
            (status, _) => Err(status),
        }
    }
}

/// Leaves a call under way for ever: the machine has stopped, or the provider still has the memory.
pub(super) fn forget(transfer: Transfer) {
    let _ = ManuallyDrop::new(transfer);
}
