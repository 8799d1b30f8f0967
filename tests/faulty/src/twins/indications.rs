//! Event callbacks of a connection, used as they should be: received data is retained, released and taken, the callback is disabled,
//! and the sockets are closed after that.

use crate::network::{WSK_EVENT_DISABLE, WSK_EVENT_RECEIVE, close, control_events, finish, release, send_some};
use crate::prelude::*;
use core::ffi::c_void;
use core::mem::size_of;
use wdk_sys::KEVENT;
use wsk::sys;

pub const TWIN: Fault = Fault { request, ..CORRECT };

static CALLBACKS: sys::ClientConnectionDispatch =
    sys::ClientConnectionDispatch { receive_event: Some(received), disconnect_event: None, send_backlog_event: None };

/// The context of the callback.
#[repr(C)]
struct Context {
    told: KEVENT,
    /// The list that the callback keeps, when it is the first one.
    kept: *mut sys::DataIndication,
    taken: usize,
}

unsafe extern "win64" fn received(
    context: *mut c_void,
    _: u32,
    list: *mut sys::DataIndication,
    bytes: usize,
    _: *mut usize,
) -> NTSTATUS {
    // SAFETY: the context lives until the socket is closed, and the request waits while the callback runs.
    let context = unsafe { &mut *context.cast::<Context>() };
    let is_first = context.kept.is_null() && context.taken == 0;
    if is_first {
        context.kept = list;
    } else {
        context.taken += bytes;
    }
    KeSetEvent(&raw mut context.told, 0, 0);
    if is_first { PENDING } else { SUCCESS }
}

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let context: *mut Context = pool(size_of::<Context>()).cast();
    // SAFETY: the block is large enough, and all zeros, which is valid for all of it.
    let told = unsafe { &raw mut (*context).told };
    KeInitializeEvent(told, 1, 0);
    let (socket, peer, listener) = network.indicated(context.cast(), &CALLBACKS);
    send_some(peer);
    wait(told);
    // SAFETY: the callback has set it, and does not set it again.
    release(socket, unsafe { (*context).kept });
    send_some(peer);
    wait(told);
    finish(|irp| control_events(socket, WSK_EVENT_DISABLE | WSK_EVENT_RECEIVE, irp));
    for socket in [socket, peer, listener] {
        close(socket);
    }
    network.stop();
    ExFreePool(context.cast());
    complete(irp, SUCCESS, 0)
}
