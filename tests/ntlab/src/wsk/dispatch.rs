//! The provider's dispatch tables, and the way in that all their functions share.
//!
//! One idea: a function is entered through the lab's gate (which checks its IRQL), enters its socket or client (which checks that
//! the call is allowed now), and takes its IRP (which checks that); only then it does what it is for.
//!
//! Source: *`WSK_PROVIDER_DISPATCH`*, *`WSK_PROVIDER_BASIC_DISPATCH`* and the tables of the other socket categories.

use std::ffi::c_void;
use std::mem::transmute;
use std::net::SocketAddr;
use std::ptr::null_mut;
use std::sync::{Arc, OnceLock};

use wsk::sys;

use super::registration::Client;
use super::request::{Owner, Request};
use super::rules;
use super::socket::{Category, Inner, Phase, Socket};
use super::status::{self, Status};
use super::{Provider, address, client, control, datagram, indicate, kernel, listen, names, option, stream};
use crate::call::{self, Stopped};
use crate::exports::{Export, gated};
use crate::irql;
use crate::rules::record;

const EVERY: &[Category] =
    &[Category::Basic, Category::Listen, Category::Connection, Category::Datagram, Category::Stream];
const WITH_ADDRESS: &[Category] = &[Category::Listen, Category::Connection, Category::Datagram, Category::Stream];
const WITH_PEER: &[Category] = &[Category::Connection, Category::Stream];

/// A call to a WSK function from a completion routine of a WSK IRP could nest without end.
pub fn refuse_in_completion(function: &'static str) -> Result<(), Stopped> {
    if kernel::completing() {
        let message = format!("{function} was called from a completion routine");
        return Err(record(&rules::CALL_IN_COMPLETION, message, Vec::new()));
    }
    Ok(())
}

/// Runs `body` as `function` of `socket`, with its IRP.
pub fn socket_call(
    function: &'static str,
    socket: *mut sys::Socket,
    categories: &[Category],
    irp: *mut sys::Irp,
    body: impl FnOnce(&Arc<Provider>, &Arc<Socket>, Request) -> Result<Status, Stopped>,
) -> Status {
    call::or_escape(enter_socket(function, socket, categories, irp, false, body))
}

fn enter_socket(
    function: &'static str,
    socket: *mut sys::Socket,
    categories: &[Category],
    irp: *mut sys::Irp,
    closes: bool,
    body: impl FnOnce(&Arc<Provider>, &Arc<Socket>, Request) -> Result<Status, Stopped>,
) -> Result<Status, Stopped> {
    refuse_in_completion(function)?;
    let provider = kernel::provider();
    let call = provider.enter(function, socket, categories, closes)?;
    let request = provider.take(function, irp, Owner::Socket(Arc::clone(&call.socket)))?;
    body(&provider, &call.socket, request)
}

/// Runs `body` as `function` of the provider's dispatch table, with its IRP.
pub fn client_call(
    function: &'static str,
    client: *mut sys::Client,
    irp: *mut sys::Irp,
    body: impl FnOnce(&Arc<Provider>, &Arc<Client>, Request) -> Result<Status, Stopped>,
) -> Status {
    let outcome = (|| {
        refuse_in_completion(function)?;
        let provider = kernel::provider();
        let call = provider.enter_client(function, client)?;
        let request = provider.take(function, irp, Owner::Client(Arc::clone(&call.client)))?;
        body(&provider, &call.client, request)
    })();
    call::or_escape(outcome)
}

extern "win64" fn close_socket(socket: *mut sys::Socket, irp: *mut sys::Irp) -> Status {
    if kernel::in_callback_of(socket as usize) {
        let message = format!("WskCloseSocket was called in an event callback of the socket {socket:p}");
        let broken = record(&rules::CLOSE_IN_CALLBACK, message, Vec::new());
        return call::or_escape(Err(broken));
    }
    let outcome = enter_socket("WskCloseSocket", socket, EVERY, irp, true, |provider, socket, request| {
        socket.close(provider, request)
    });
    call::or_escape(outcome)
}

extern "win64" fn get_local_address(socket: *mut sys::Socket, place: *mut sys::SockAddr, irp: *mut sys::Irp) -> Status {
    socket_call("WskGetLocalAddress", socket, WITH_ADDRESS, irp, |provider, socket, request| {
        let local = address_of(socket, |inner| inner.local);
        conclude_address(provider, request, place, local)
    })
}

extern "win64" fn get_remote_address(
    socket: *mut sys::Socket,
    place: *mut sys::SockAddr,
    irp: *mut sys::Irp,
) -> Status {
    socket_call("WskGetRemoteAddress", socket, WITH_PEER, irp, |provider, socket, request| {
        let remote = address_of(socket, |inner| inner.remote);
        conclude_address(provider, request, place, remote)
    })
}

/// An address of a socket, if it has one and has not been forced closed.
fn address_of(socket: &Socket, of: impl FnOnce(&Inner) -> Option<SocketAddr>) -> Result<SocketAddr, Status> {
    let inner = socket.inner.lock();
    if inner.phase == Phase::Failed(status::FILE_FORCED_CLOSED) {
        return Err(status::FILE_FORCED_CLOSED);
    }
    of(&inner).ok_or(status::INVALID_DEVICE_STATE)
}

fn conclude_address(
    provider: &Arc<Provider>,
    request: Request,
    place: *mut sys::SockAddr,
    found: Result<SocketAddr, Status>,
) -> Result<Status, Stopped> {
    let found = match found {
        Ok(found) => found,
        Err(status) => return provider.conclude(request, status, 0),
    };
    // SAFETY: the driver gave a place for an address of the socket's family, until the IRP is completed.
    unsafe { address::write(place, found) };
    provider.conclude(request, status::SUCCESS, 0)
}

/// The tables, as drivers see them.
struct Tables {
    provider: sys::ProviderDispatch,
    basic: sys::BasicDispatch,
    listen: sys::ListenDispatch,
    connection: sys::ConnectionDispatch,
    stream: sys::StreamDispatch,
    datagram: sys::DatagramDispatch,
}

// SAFETY: the tables are written once and hold function pointers, which any thread may call.
unsafe impl Send for Tables {}
// SAFETY: the tables are written once, before any thread gets them, and read only after that.
unsafe impl Sync for Tables {}

static TABLES: OnceLock<Tables> = OnceLock::new();

/// The gated address of a function, as the slot's type.
macro_rules! gate {
    ($name:literal, $function:path, $kind:ty) => {
        gate!($name, $function, $kind, irql::DISPATCH)
    };
    ($name:literal, $function:path, $kind:ty, $irql:expr) => {{
        let address = gated(Export::routine("netio.sys", $name, $function as *const (), $irql));
        // SAFETY: the gate jumps to the function with the arguments as they were, and the function has the slot's type.
        unsafe { transmute::<usize, $kind>(address) }
    }};
}

impl Tables {
    fn new() -> Self {
        let control = gate!("WskControlSocket", option::control_socket, sys::ControlSocketFn);
        let close = gate!("WskCloseSocket", close_socket, sys::CloseSocketFn);
        let bind = gate!("WskBind", listen::bind, sys::BindFn);
        let accept = gate!("WskAccept", listen::accept, sys::AcceptFn);
        let local = gate!("WskGetLocalAddress", get_local_address, sys::GetAddressFn);
        let remote = gate!("WskGetRemoteAddress", get_remote_address, sys::GetAddressFn);
        let connect = gate!("WskConnect", stream::connect, sys::ConnectFn);
        let send = gate!("WskSend", stream::send, sys::SendFn);
        let receive = gate!("WskReceive", stream::receive, sys::ReceiveFn);
        let disconnect = gate!("WskDisconnect", stream::disconnect, sys::DisconnectFn);
        let release_data = gate!("WskRelease", indicate::release, sys::ReleaseDataFn);
        let connect_ex = gate!("WskConnectEx", stream::connect_ex, sys::ConnectExFn);
        let basic = || sys::BasicDispatch { control_socket: control, close_socket: close };
        Self {
            provider: sys::ProviderDispatch {
                version: sys::VERSION_1_0,
                reserved: 0,
                socket: gate!("WskSocket", client::socket, sys::SocketFn),
                socket_connect: gate!("WskSocketConnect", client::socket_connect, sys::SocketConnectFn),
                control_client: gate!("WskControlClient", control::control_client, sys::ControlClientFn),
                get_address_info: gate!(
                    "WskGetAddressInfo",
                    names::get_address_info,
                    sys::GetAddressInfoFn,
                    irql::PASSIVE
                ),
                free_address_info: gate!(
                    "WskFreeAddressInfo",
                    names::free_address_info,
                    sys::FreeAddressInfoFn,
                    irql::PASSIVE
                ),
                get_name_info: gate!("WskGetNameInfo", names::get_name_info, sys::GetNameInfoFn, irql::PASSIVE),
            },
            basic: basic(),
            listen: sys::ListenDispatch {
                basic: basic(),
                bind,
                accept,
                inspect_complete: gate!("WskInspectComplete", listen::inspect_complete, sys::InspectCompleteFn),
                get_local_address: local,
            },
            connection: sys::ConnectionDispatch {
                basic: basic(),
                bind,
                connect,
                get_local_address: local,
                get_remote_address: remote,
                send,
                receive,
                disconnect,
                release: release_data,
                connect_ex,
                send_ex: null_mut(),
                receive_ex: null_mut(),
            },
            stream: sys::StreamDispatch {
                basic: basic(),
                bind,
                accept,
                connect,
                listen: gate!("WskListen", listen::listen, sys::ListenFn),
                send,
                receive,
                disconnect,
                release: release_data,
                get_local_address: local,
                get_remote_address: remote,
                connect_ex,
                send_ex: null_mut(),
                receive_ex: null_mut(),
            },
            datagram: sys::DatagramDispatch {
                basic: basic(),
                bind,
                send_to: gate!("WskSendTo", datagram::send_to, sys::SendToFn),
                receive_from: gate!("WskReceiveFrom", datagram::receive_from, sys::ReceiveFromFn),
                release: gate!("WskRelease", indicate::release, sys::ReleaseDatagramFn),
                get_local_address: local,
                send_messages: gate!("WskSendMessages", datagram::send_messages, sys::SendMessagesFn),
            },
        }
    }
}

/// The provider's dispatch table.
pub fn provider_dispatch() -> *const sys::ProviderDispatch {
    &raw const TABLES.get_or_init(Tables::new).provider
}

/// The dispatch table of a socket category.
pub fn of(category: Category) -> *const c_void {
    let tables = TABLES.get_or_init(Tables::new);
    match category {
        Category::Basic => (&raw const tables.basic).cast(),
        Category::Listen => (&raw const tables.listen).cast(),
        Category::Connection => (&raw const tables.connection).cast(),
        Category::Datagram => (&raw const tables.datagram).cast(),
        Category::Stream => (&raw const tables.stream).cast(),
    }
}
