//! A WSK client in few words: registration, sockets at 127.0.0.1, and calls that wait for their IRP.
//!
//! [`client`] and [`indicated`] make a driver of the few lines that are wrong.

use crate::prelude::*;
use core::ffi::c_void;
use core::mem::{MaybeUninit, zeroed};
use core::ptr::{null, null_mut};
use wdk_sys::KEVENT;
use wsk::sys;

static DISPATCH: sys::ClientDispatch =
    sys::ClientDispatch { version: sys::VERSION_1_0, reserved: 0, client_event: None };

/// A client's registration. Zero is a valid one that is not registered.
#[repr(C)]
pub struct Network {
    pub block: sys::Registration,
    pub npi: sys::ClientNpi,
    pub provider: sys::ProviderNpi,
}

/// Memory that WSK may be given.
pub struct Memory {
    pub bytes: *mut u8,
    pub mdl: *mut MDL,
    pub buffer: sys::Buf,
}

/// Room for a SOCKADDR.
#[repr(C, align(8))]
pub struct Address(pub [u8; 32]);

impl Network {
    pub fn register(&mut self) -> NTSTATUS {
        self.npi = sys::ClientNpi { client_context: null_mut(), dispatch: &raw const DISPATCH };
        // SAFETY: PASSIVE_LEVEL; block and NPI are in the device's extension.
        unsafe { sys::WskRegister(&raw mut self.npi, &raw mut self.block) }
    }

    pub fn deregister(&mut self) {
        // SAFETY: a wrong driver has something outstanding.
        unsafe { sys::WskDeregister(&raw mut self.block) };
    }

    pub fn release(&mut self) {
        // SAFETY: a wrong driver has not captured anything.
        unsafe { sys::WskReleaseProviderNPI(&raw mut self.block) };
    }

    /// Waits as many milliseconds at most.
    pub fn capture(&mut self, wait: u32) {
        // SAFETY: PASSIVE_LEVEL; the block is registered.
        unsafe { sys::WskCaptureProviderNPI(&raw mut self.block, wait, &raw mut self.provider) };
    }

    /// Registers and captures: the judge's provider is ready.
    pub fn start(&mut self) {
        self.register();
        self.capture(sys::NO_WAIT);
    }

    /// Releases and deregisters.
    pub fn stop(&mut self) {
        self.release();
        self.deregister();
    }

    pub fn dispatch(&self) -> &'static sys::ProviderDispatch {
        // SAFETY: captured.
        unsafe { &*self.provider.dispatch }
    }

    pub fn socket(&self, flags: u32) -> *mut sys::Socket {
        self.socket_with(flags, null_mut(), null())
    }

    /// A socket with event callbacks.
    fn socket_with(&self, flags: u32, context: *mut c_void, callbacks: *const c_void) -> *mut sys::Socket {
        let Some(function) = self.dispatch().socket else { return null_mut() };
        let client = self.provider.client;
        let (_, object) = finish(|irp| {
            let (kind, protocol) = (sys::SOCK_STREAM, sys::IPPROTO_TCP);
            // SAFETY: the arguments of WskSocket.
            unsafe {
                function(
                    client,
                    sys::AF_INET,
                    kind,
                    protocol,
                    flags,
                    context,
                    callbacks,
                    null_mut(),
                    null_mut(),
                    null_mut(),
                    irp,
                )
            }
        });
        object as *mut sys::Socket
    }

    /// A listening socket, and where it listens.
    pub fn listener(&self) -> (*mut sys::Socket, Address) {
        let socket = self.socket(sys::FLAG_LISTEN_SOCKET);
        bind(socket);
        let mut address = Address([0; 32]);
        if let Some(function) = listen(socket).get_local_address {
            // SAFETY: the arguments of WskGetLocalAddress.
            finish(|irp| unsafe { function(socket, address.0.as_mut_ptr().cast(), irp) });
        }
        (socket, address)
    }

    /// A connection, and the listener that it went to.
    pub fn connection(&self) -> (*mut sys::Socket, *mut sys::Socket) {
        self.connect(self.socket(sys::FLAG_CONNECTION_SOCKET))
    }

    fn connect(&self, socket: *mut sys::Socket) -> (*mut sys::Socket, *mut sys::Socket) {
        let (listener, mut address) = self.listener();
        bind(socket);
        if let Some(function) = connection(socket).connect {
            // SAFETY: the arguments of WskConnect.
            finish(|irp| unsafe { function(socket, address.0.as_mut_ptr().cast(), 0, irp) });
        }
        (socket, listener)
    }

    /// A connection whose `WskReceiveEvent` is enabled; its peer; the listener between them. What the peer sends is indicated.
    pub fn indicated(
        &self,
        context: *mut c_void,
        callbacks: &'static sys::ClientConnectionDispatch,
    ) -> (*mut sys::Socket, *mut sys::Socket, *mut sys::Socket) {
        let callbacks: *const sys::ClientConnectionDispatch = callbacks;
        let (socket, listener) = self.connect(self.socket_with(sys::FLAG_CONNECTION_SOCKET, context, callbacks.cast()));
        let (_, peer) = finish(|irp| start_accept(listener, irp.cast()));
        control_events(socket, WSK_EVENT_RECEIVE, null_mut());
        (socket, peer as *mut sys::Socket, listener)
    }
}

/// `WSK_EVENT_CALLBACK_CONTROL`.
#[repr(C)]
struct EventControl {
    interface: *const sys::Guid,
    mask: u32,
}

/// `NPI_WSK_INTERFACE_ID`.
static INTERFACE: sys::Guid = sys::Guid {
    data1: 0x2227_e803,
    data2: 0x8d8b,
    data3: 0x11d4,
    data4: [0xab, 0xad, 0x00, 0x90, 0x27, 0x71, 0x9e, 0x09],
};

pub const WSK_EVENT_RECEIVE: u32 = 0x40;
pub const WSK_EVENT_DISABLE: u32 = 0x8000_0000;

/// Enables or disables event callbacks. Disabling with an IRP completes it when no callback runs any more.
pub fn control_events(socket: *mut sys::Socket, mask: u32, irp: *mut sys::Irp) -> NTSTATUS {
    const SOL_SOCKET: u32 = 0xffff;
    const SO_WSK_EVENT_CALLBACK: u32 = 0x4002;
    let mut control = EventControl { interface: &raw const INTERFACE, mask };
    let (kind, size) = (sys::CONTROL_SET_OPTION, size_of::<EventControl>());
    let (input, none) = ((&raw mut control).cast(), null_mut());
    let Some(function) = connection(socket).basic.control_socket else { return UNSUCCESSFUL };
    // SAFETY: the arguments of WskControlSocket, which needs no IRP to enable.
    unsafe { function(socket, kind, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, size, input, 0, none, null_mut(), irp) }
}

/// Has a peer send a few bytes.
pub fn send_some(peer: *mut sys::Socket) {
    let mut memory = Memory::new(4);
    finish(|irp| start_send(peer, &mut memory, irp.cast()));
    memory.free();
}

/// `WskRelease`.
pub fn release(socket: *mut sys::Socket, list: *mut sys::DataIndication) {
    if let Some(function) = connection(socket).release {
        // SAFETY: the arguments of WskRelease; a wrong driver gives another list.
        unsafe { function(socket, list) };
    }
}

/// Binds to any port of 127.0.0.1.
fn bind(socket: *mut sys::Socket) {
    let mut address = Address([0; 32]);
    address.0[0] = 2;
    address.0[4..8].copy_from_slice(&[127, 0, 0, 1]);
    // WskBind is in the same place in both tables.
    if let Some(function) = listen(socket).bind {
        // SAFETY: the arguments of WskBind.
        finish(|irp| unsafe { function(socket, address.0.as_mut_ptr().cast(), 0, irp) });
    }
}

fn table(socket: *mut sys::Socket) -> *const c_void {
    // SAFETY: WSK gave this socket out.
    unsafe { (*socket).dispatch }
}

pub fn listen(socket: *mut sys::Socket) -> &'static sys::ListenDispatch {
    // SAFETY: for listening sockets.
    unsafe { &*table(socket).cast() }
}

pub fn connection(socket: *mut sys::Socket) -> &'static sys::ConnectionDispatch {
    // SAFETY: for connection-oriented sockets.
    unsafe { &*table(socket).cast() }
}

/// Starts a close.
pub fn start_close(socket: *mut sys::Socket, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the arguments of WskCloseSocket; a wrong driver gives others.
    connection(socket).basic.close_socket.map_or(UNSUCCESSFUL, |close| unsafe { close(socket, irp.cast()) })
}

/// Closes a socket and waits.
pub fn close(socket: *mut sys::Socket) {
    finish(|irp| start_close(socket, irp.cast()));
}

/// Starts a send.
pub fn start_send(socket: *mut sys::Socket, memory: &mut Memory, irp: *mut IRP) -> NTSTATUS {
    let buffer = &raw mut memory.buffer;
    // SAFETY: the arguments of WskSend; a wrong driver gives others.
    connection(socket).send.map_or(UNSUCCESSFUL, |send| unsafe { send(socket, buffer, 0, irp.cast()) })
}

/// Starts a receive.
pub fn start_receive(socket: *mut sys::Socket, memory: &mut Memory, flags: u32, irp: *mut IRP) -> NTSTATUS {
    let buffer = &raw mut memory.buffer;
    // SAFETY: the arguments of WskReceive; a wrong driver gives others.
    connection(socket).receive.map_or(UNSUCCESSFUL, |receive| unsafe { receive(socket, buffer, flags, irp.cast()) })
}

/// Starts a disconnect.
pub fn start_disconnect(socket: *mut sys::Socket, buffer: *mut sys::Buf, flags: u32, irp: *mut IRP) -> NTSTATUS {
    let function = connection(socket).disconnect;
    // SAFETY: the arguments of WskDisconnect; a wrong driver gives others.
    function.map_or(UNSUCCESSFUL, |disconnect| unsafe { disconnect(socket, buffer, flags, irp.cast()) })
}

/// Starts an accept.
pub fn start_accept(socket: *mut sys::Socket, irp: *mut IRP) -> NTSTATUS {
    let none = null_mut();
    // SAFETY: the arguments of WskAccept; a wrong driver gives others.
    listen(socket)
        .accept
        .map_or(UNSUCCESSFUL, |accept| unsafe { accept(socket, 0, none, null(), null_mut(), null_mut(), irp.cast()) })
}

/// An IRP of the driver's own, which comes back to `routine`.
pub fn own_irp(routine: Completion, context: *mut c_void) -> *mut IRP {
    let irp = IoAllocateIrp(1, 0);
    on_completion(irp, routine, context, INVOKE_ALWAYS);
    irp
}

extern "C" fn signal(_: *mut DEVICE_OBJECT, _: *mut IRP, event: *mut c_void) -> NTSTATUS {
    KeSetEvent(event.cast(), 0, 0);
    MORE_PROCESSING_REQUIRED
}

/// Makes a call with an IRP of its own, and waits for the IRP.
pub fn finish(call: impl FnOnce(*mut sys::Irp) -> NTSTATUS) -> (NTSTATUS, usize) {
    let mut event = MaybeUninit::<KEVENT>::uninit();
    KeInitializeEvent(event.as_mut_ptr(), 0, 0);
    let irp = own_irp(signal, event.as_mut_ptr().cast());
    call(irp.cast());
    wait(event.as_mut_ptr());
    // SAFETY: the IRP is the driver's again.
    let block = unsafe { (*irp).IoStatus };
    // SAFETY: WSK wrote the status.
    let status = unsafe { block.__bindgen_anon_1.Status };
    IoFreeIrp(irp);
    (status, usize::try_from(block.Information).unwrap_or(0))
}

impl Memory {
    /// Nonpaged memory with its MDL.
    pub fn new(length: u32) -> Self {
        let bytes = pool(length as usize);
        let mdl = IoAllocateMdl(bytes, length, 0, 0, null_mut());
        MmBuildMdlForNonPagedPool(mdl);
        Self { bytes, mdl, buffer: sys::Buf { mdl: mdl.cast(), offset: 0, length: length as usize } }
    }

    /// Gives it back.
    pub fn free(self) {
        IoFreeMdl(self.mdl);
        ExFreePool(self.bytes);
    }
}

/// A registration block that was never registered.
pub fn blank() -> sys::Registration {
    // SAFETY: zero is valid for integers and pointers.
    unsafe { zeroed() }
}

/// An IRP of the driver's own that nobody waits for.
pub fn lost_irp() -> *mut IRP {
    own_irp(reclaim, null_mut())
}

/// A driver whose request does the given, with a captured provider; with a socket; or with a connection and memory to send.
#[collapse_debuginfo(yes)]
macro_rules! client {
    (|$network:ident| $body:block) => {
        client!(device, |$network| $body);
    };
    ($device:ident, |$network:ident| $body:block) => {
        pub const FAULT: Fault = Fault { request, ..CORRECT };

        extern "C" fn request($device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
            let $network = &mut state($device).network;
            $network.start();
            $body
            complete(irp, SUCCESS, 0)
        }
    };
    (socket |$socket:ident| $body:block) => {
        client!(|network| {
            let $socket = network.socket(sys::FLAG_CONNECTION_SOCKET);
            $body
        });
    };
    (connection |$socket:ident $(, $memory:ident)?| $body:block) => {
        client!(connection device, |$socket $(, $memory)?| $body);
    };
    (connection $device:ident, |$socket:ident $(, $memory:ident)?| $body:block) => {
        client!($device, |network| {
            let ($socket, _) = network.connection();
            $(let mut $memory = Memory::new(4);)?
            $body
        });
    };
}

/// A driver whose callback is indicated data on a connection, and what its request does once [`told`].
#[collapse_debuginfo(yes)]
macro_rules! indicated {
    ($callback:ident, |$state:ident, $socket:ident| $body:block) => {
        pub const FAULT: Fault = Fault { request, ..CORRECT };

        static CALLBACKS: sys::ClientConnectionDispatch = sys::ClientConnectionDispatch {
            receive_event: Some($callback),
            disconnect_event: None,
            send_backlog_event: None,
        };

        extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
            let $state = state(device);
            KeInitializeEvent(&raw mut $state.event, 0, 0);
            $state.network.start();
            let context: *mut State = $state;
            let ($socket, peer, _) = $state.network.indicated(context.cast(), &CALLBACKS);
            $state.slot = $socket as usize;
            send_some(peer);
            wait(&raw mut $state.event);
            $body
            complete(irp, SUCCESS, 0)
        }
    };
}

/// Has the request of [`indicated`] go on; the socket that the callback is of.
pub fn told(context: *mut c_void) -> *mut sys::Socket {
    // SAFETY: the context is the device's state.
    let state = unsafe { &mut *context.cast::<State>() };
    KeSetEvent(&raw mut state.event, 0, 0);
    state.slot as *mut sys::Socket
}

pub(crate) use {client, indicated};
