//! `IRP_MJ_CREATE`, `IRP_MJ_CLEANUP`, `IRP_MJ_CLOSE`, `IRP_MJ_DEVICE_CONTROL`.
//!
//! The I/O manager calls these at `PASSIVE_LEVEL` in the caller's thread: the device is nobody's lower device. None of them waits.

use crate::client::{Client, Handle};
use crate::driver::{self, Driver};
use crate::irp::Irp;
use crate::process::Process;
use crate::request::Request;
use crate::socket::Spec;
use crate::{ledger, names, requests, trace};
use core::ptr::NonNull;
use wdk_sys::{
    DEVICE_OBJECT, IRP, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, NTSTATUS, PDRIVER_DISPATCH,
};
use wsk::{Passive, Ref, Running};
use wskclient_abi::{Kind, PROTOCOL_VERSION, STATUS_SUCCESS, VersionReply, WsaError};

/// Enters the routines in a driver object's table.
pub fn fill(table: &mut [PDRIVER_DISPATCH]) {
    let routines: [(u32, unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS); 4] = [
        (IRP_MJ_CREATE, create),
        (IRP_MJ_CLEANUP, cleanup),
        (IRP_MJ_CLOSE, close),
        (IRP_MJ_DEVICE_CONTROL, device_control),
    ];
    for (major, routine) in routines {
        if let Some(place) = table.get_mut(major as usize) {
            *place = Some(routine);
        }
    }
}

fn driver_of(device: *mut DEVICE_OBJECT) -> &'static Driver {
    // SAFETY: the I/O manager gives no null device.
    let device = unsafe { NonNull::new_unchecked(device) };
    // SAFETY: it is our only device, which is made with its state.
    unsafe { driver::of_device(device) }
}

/// A process opens the device: a handle, of the process' client.
unsafe extern "C" fn create(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let _running = Running::enter(irp);
    // SAFETY: called by the I/O manager.
    let irp = unsafe { Irp::from_dispatch(irp) };
    let handle = driver_of(device).client_of(&Process::of(&irp)).and_then(Handle::try_new);
    match handle {
        Ok(handle) => {
            // SAFETY: the file object of a create is there, and its context is the driver's.
            unsafe { (*irp.file_object()).FsContext = handle.into_raw().as_ptr().cast() };
            irp.complete(STATUS_SUCCESS, 0)
        }
        Err(_) => irp.complete(WsaError::NoBuffers.status(), 0),
    }
}

/// The last user-mode handle of a file object is closed.
unsafe extern "C" fn cleanup(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let _running = Running::enter(irp);
    // SAFETY: called by the I/O manager.
    let irp = unsafe { Irp::from_dispatch(irp) };
    if let Some(handle) = handle_of(&irp) {
        handle.die();
    }
    irp.complete(STATUS_SUCCESS, 0)
}

/// A file object goes. (Stock Wine sends no cleanup, and this even with requests pending.)
unsafe extern "C" fn close(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let _running = Running::enter(irp);
    // SAFETY: called by the I/O manager.
    let irp = unsafe { Irp::from_dispatch(irp) };
    let file = irp.file_object();
    if let Some(handle) = handle_of(&irp) {
        handle.die();
        // SAFETY: the file object is there until the close completes.
        unsafe { (*file).FsContext = core::ptr::null_mut() };
        // SAFETY: the reference that `create` gave up; no request comes through the file object any more.
        drop(unsafe { Ref::from_raw(NonNull::from(&*handle)) });
    }
    irp.complete(STATUS_SUCCESS, 0)
}

/// The handle that a request came through. (Stock Wine lets an open whose create failed live.)
fn handle_of(irp: &Irp) -> Option<Ref<Handle>> {
    // SAFETY: null (a driver may send requests without one), or the request's file object.
    let file = unsafe { irp.file_object().as_ref() }?;
    let context = file.FsContext;
    // SAFETY: the context that `create` left; the reference that `create` gave up is there until the close.
    let handle = unsafe { context.cast::<Handle>().as_ref() }?;
    // SAFETY: the reference that `create` gave up is there until the close, which runs when no other request of the file does.
    Some(unsafe { Ref::again(handle) })
}

/// A request. The order of checks: code, lengths, fields, provider started, handle, state (contract: CARD-2).
unsafe extern "C" fn device_control(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let _running = Running::enter(irp);
    // SAFETY: called by the I/O manager.
    let irp = unsafe { Irp::from_dispatch(irp) };
    let Some(handle) = handle_of(&irp) else {
        return irp.complete(WsaError::NotSocket.status(), 0);
    };
    let (code, ..) = irp.device_control();
    let refuse = |status| {
        trace::refused(code, status, || handle.client().process().identifier());
        status
    };
    let request = match Request::decode(&irp) {
        Ok(request) => request,
        Err(status) => return refuse(irp.complete(status, 0)),
    };
    // SAFETY: the I/O manager calls at PASSIVE_LEVEL: the device is nobody's lower device.
    let passive = unsafe { Passive::assume() };
    let status = serve(&handle, irp, request, passive);
    if handle.is_dead() {
        // The handle's cleanup may have come by too early to see this request.
        handle.cancel_requests();
    }
    if status < 0 { refuse(status) } else { status }
}

fn serve(handle: &Ref<Handle>, irp: Irp, request: Request, passive: Passive) -> NTSTATUS {
    let client = handle.client();
    match request {
        Request::Version => answer(handle, irp, Kind::Version, &version()),
        Request::Ledger => {
            answer_in_place(client, irp, Kind::Ledger, |irp| irp.compose(|reply| ledger::write(reply, client)))
        }
        Request::LedgerPending { everybody } => answer_in_place(client, irp, Kind::LedgerPending, |irp| {
            irp.output_mut().map_or(0, |output| ledger::list(output, client, everybody))
        }),
        Request::Startup(startup) => client.instance(startup.target).startup(handle, irp, &startup),
        Request::Cleanup(target) => client.instance(target).cleanup(handle, irp),
        Request::Socket { target, family, role } => requests::open(client, irp, Spec { target, family, role }),
        Request::CancelBlocking => match client.cancel_blocking() {
            Ok(()) => {
                client.take(Kind::CancelBlocking);
                client.complete(irp, Kind::CancelBlocking, STATUS_SUCCESS, 0)
            }
            Err(error) => irp.complete(error.status(), 0),
        },
        Request::LookUp(request) => names::look_up(client, irp, request, passive),
        Request::OnSocket(socket, request) => requests::on_socket(client, irp, socket, request),
    }
}

/// Completes a request that is answered at once: `write` writes the answer into the IRP, and returns its length.
fn answer_in_place(client: &Client, mut irp: Irp, kind: Kind, write: impl FnOnce(&mut Irp) -> usize) -> NTSTATUS {
    let length = write(&mut irp);
    client.take(kind);
    client.complete(irp, kind, STATUS_SUCCESS, length)
}

/// As [`answer_in_place`], with an answer that is small enough to be copied.
fn answer<T: zerocopy::IntoBytes + zerocopy::Immutable>(handle: &Handle, irp: Irp, kind: Kind, reply: &T) -> NTSTATUS {
    answer_in_place(handle.client(), irp, kind, |irp| irp.reply(reply))
}

/// What the driver answers to a `Version` request.
pub fn version() -> VersionReply {
    let part = |text: &str| text.bytes().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit & 0xF)) & 0xFF;
    let driver = part(env!("CARGO_PKG_VERSION_MAJOR")) << 24
        | part(env!("CARGO_PKG_VERSION_MINOR")) << 16
        | part(env!("CARGO_PKG_VERSION_PATCH")) << 8;
    VersionReply { protocol: PROTOCOL_VERSION, driver }
}
