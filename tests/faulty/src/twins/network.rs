//! WSK, used as it should be: a connection to itself, data both ways and a close, in one request.

use crate::network::{Memory, close, finish, start_accept, start_disconnect, start_receive, start_send};
use crate::prelude::*;
use wsk::sys;

pub const TWIN: Fault = Fault { request, ..CORRECT };

extern "C" fn request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let network = &mut state(device).network;
    network.start();
    let (socket, listener) = network.connection();
    let (_, peer) = finish(|irp| start_accept(listener, irp.cast()));
    let peer = peer as *mut sys::Socket;
    let (mut out, mut back) = (Memory::new(4), Memory::new(4));
    let (_, sent) = finish(|irp| start_send(socket, &mut out, irp.cast()));
    let (_, received) = finish(|irp| start_receive(peer, &mut back, 2, irp.cast()));
    finish(|irp| start_disconnect(socket, null_mut(), 0, irp.cast()));
    out.free();
    back.free();
    for socket in [socket, peer, listener] {
        close(socket);
    }
    network.stop();
    complete(irp, SUCCESS, sent + received)
}
