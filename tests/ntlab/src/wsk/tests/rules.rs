//! Each rule of the provider, broken once.

use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wsk::sys;

use super::super::{Level, Options, Order, When, rules, status};
use super::{Client, Io, Memory, Place, Sock, forget, machine, provoke, run, set_options, settled, until};
use crate::nt;

fn connection(client: &Client) -> (Sock, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = client.connected(listener.local_addr().unwrap());
    (socket, listener.accept().unwrap().0)
}

fn provoke_on_connection(rule: &'static crate::Rule, body: impl FnOnce(&Client, Sock)) {
    let machine = machine(11);
    provoke(&machine, rule, || {
        let client = Client::new();
        let (socket, _program) = connection(&client);
        body(&client, socket);
    });
}

#[test]
fn a_socket_is_closed_once() {
    provoke_on_connection(&rules::CLOSE_TWICE, |_, socket| {
        socket.close();
        socket.close();
    });
}

#[test]
fn a_closed_socket_is_not_used() {
    provoke_on_connection(&rules::USE_AFTER_CLOSE, |_, socket| {
        socket.close();
        forget(socket.send(b"x"));
    });
}

#[test]
fn a_close_does_not_overlap_a_call() {
    let machine = machine(11);
    set_options(
        &machine,
        Options { when: When::Inline, level: Level::Passive, order: Order::Finished, ..Options::default() },
    );
    let inner = Arc::clone(&machine.inner);
    provoke(&machine, &rules::CLOSE_OVERLAPS_CALL, || {
        let client = Client::new();
        let (socket, _program) = connection(&client);
        let (io, memory) = (Io::new(), Memory::new(b"x"));
        io.then(move || {
            // WskSend has not returned: its IRP is completed inside.
            let closer = std::thread::spawn(move || {
                let socket = socket;
                crate::call::guard(&inner, || socket.close()).is_ok()
            });
            assert!(!closer.join().unwrap());
        });
        // SAFETY: the arguments are those of WskSend.
        unsafe { socket.connection().send.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
    });
}

#[test]
fn a_function_is_called_on_a_socket_of_its_category() {
    let machine = machine(11);
    provoke(&machine, &rules::UNKNOWN_SOCKET, || {
        let client = Client::new();
        let (socket, _program) = connection(&client);
        let (listener, _) = client.listening();
        let io = Io::new();
        let mut place = Place::default();
        let get = socket.connection().get_remote_address.unwrap();
        // SAFETY: the arguments are those of WskGetRemoteAddress, but for the socket's category.
        unsafe { get(listener.object, place.pointer(), io.irp()) };
    });
}

#[test]
fn a_completion_routine_makes_no_wsk_call() {
    let machine = machine(11);
    let reached = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reached);
    provoke(&machine, &rules::CALL_IN_COMPLETION, || {
        let client = Client::new();
        let (socket, _program) = connection(&client);
        let (io, memory) = (Io::new(), Memory::new(b"x"));
        io.then(move || {
            seen.store(true, Ordering::SeqCst);
            let socket = socket;
            forget(socket.send(b"y"));
        });
        // SAFETY: the arguments are those of WskSend.
        unsafe { socket.connection().send.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
        until("the machine has stopped", || !machine.violations().is_empty());
    });
    assert!(reached.load(Ordering::SeqCst));
}

#[test]
fn every_asynchronous_function_needs_an_irp() {
    provoke_on_connection(&rules::NO_IRP, |_, socket| {
        // SAFETY: the arguments are those of WskCloseSocket, but for the IRP.
        unsafe { socket.basic().close_socket.unwrap()(socket.object, null_mut()) };
    });
}

#[test]
fn an_irp_needs_a_free_stack_location() {
    provoke_on_connection(&crate::rules::NO_STACK_LOCATION, |_, socket| {
        let io = Io::new();
        // SAFETY: the IRP is the driver's own.
        unsafe { &*io.irp }.advance();
        // SAFETY: the arguments are those of WskCloseSocket.
        unsafe { socket.basic().close_socket.unwrap()(socket.object, io.irp()) };
    });
}

#[test]
fn a_drivers_own_irp_needs_a_completion_routine_for_every_outcome() {
    provoke_on_connection(&rules::NO_COMPLETION_ROUTINE, |_, socket| {
        let io = Io::new();
        io.set_completion(nt::SL_INVOKE_ON_SUCCESS);
        // SAFETY: the arguments are those of WskCloseSocket.
        unsafe { socket.basic().close_socket.unwrap()(socket.object, io.irp()) };
    });
}

#[test]
fn an_irp_that_wsk_has_is_not_passed_again() {
    provoke_on_connection(&rules::IRP_IN_USE, |_, socket| {
        let receive = socket.receive(4, 0);
        // SAFETY: the arguments are those of WskCloseSocket.
        unsafe { socket.basic().close_socket.unwrap()(socket.object, receive.io.irp()) };
    });
}

#[test]
fn a_buffer_lies_within_its_mdls() {
    provoke_on_connection(&rules::BUFFER_BEYOND_MDL, |_, socket| {
        let (io, mut memory) = (Io::new(), Memory::new(b"1234"));
        memory.buffer.length = 5;
        // SAFETY: the arguments are those of WskSend.
        unsafe { socket.connection().send.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
    });
}

#[test]
fn a_buffers_offset_lies_within_its_first_mdl() {
    provoke_on_connection(&rules::BUFFER_BEYOND_MDL, |_, socket| {
        let (io, second, mut memory) = (Io::new(), Memory::new(b"5678"), Memory::new(b"1234"));
        memory.mdl.Next.set(std::ptr::from_ref(&*second.mdl).cast_mut());
        (memory.buffer.offset, memory.buffer.length) = (5, 1);
        // SAFETY: the arguments are those of WskSend.
        unsafe { socket.connection().send.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
    });
}

#[test]
fn a_buffers_pages_are_locked() {
    provoke_on_connection(&rules::BUFFER_NOT_LOCKED, |_, socket| {
        let (io, memory) = (Io::new(), Memory::new(b"1234"));
        memory.mdl.MdlFlags.set(0);
        // SAFETY: the arguments are those of WskReceive.
        unsafe { socket.connection().receive.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
    });
}

#[test]
fn a_draining_receive_has_no_buffer() {
    provoke_on_connection(&rules::DRAIN_WITH_BUFFER, |_, socket| {
        forget(socket.receive(4, sys::FLAG_DRAIN));
    });
}

#[test]
fn an_abortive_disconnect_has_no_buffer() {
    provoke_on_connection(&rules::ABORT_WITH_BUFFER, |_, socket| {
        forget(socket.start_disconnect(Some(b"x"), sys::FLAG_ABORTIVE));
    });
}

#[test]
fn a_listener_has_one_accept_at_a_time() {
    let machine = machine(11);
    provoke(&machine, &rules::PARALLEL_ACCEPTS, || {
        let client = Client::new();
        let (listener, _) = client.listening();
        let places = Box::leak(Box::new([Place::default(), Place::default()]));
        listener.start_accept(places);
        listener.start_accept(places);
    });
}

#[test]
fn name_functions_are_called_at_passive_level() {
    let machine = machine(11);
    provoke(&machine, &crate::rules::IRQL_TOO_HIGH, || {
        let client = Client::new();
        crate::irql::raise(crate::irql::DISPATCH);
        // SAFETY: the gate refuses the call before it reads an argument.
        unsafe { client.dispatch().free_address_info.unwrap()(client.npi.client, null_mut()) };
    });
}

#[test]
fn socket_functions_may_be_called_at_dispatch_level() {
    let machine = machine(11);
    set_options(&machine, Options { when: When::Inline, ..Options::default() });
    run(&machine, || {
        let client = Client::new();
        let before = crate::irql::raise(crate::irql::DISPATCH);
        let socket = client.socket(sys::FLAG_CONNECTION_SOCKET);
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        let (returned, close) = socket.start_close();
        crate::irql::lower(before);
        assert_eq!(settled(returned, close), status::SUCCESS);
        client.end();
    });
}

#[test]
fn a_driver_that_unloads_leaves_nothing_behind() {
    let machine = machine(11);
    provoke(&machine, &rules::LIVE_AT_UNLOAD, || {
        let client = Client::new();
        let _listener = client.listening();
        assert!(machine.inner.wsk.check_unload().is_err());
    });
    let history = machine.violations()[0].history.join("\n");
    assert!(history.contains("Listen socket") && history.contains("WSK registration"), "{history}");
}

#[test]
fn a_machine_that_stops_gives_its_sockets_back_to_the_host() {
    let machine = machine(11);
    let mut address = None;
    provoke(&machine, &rules::NO_IRP, || {
        let client = Client::new();
        let (listener, local) = client.listening();
        address = Some(local);
        let places = Box::leak(Box::new([Place::default(), Place::default()]));
        listener.start_accept(places);
        // SAFETY: the arguments are those of WskCloseSocket, but for the IRP.
        unsafe { listener.basic().close_socket.unwrap()(listener.object, null_mut()) };
    });
    let address = address.expect("it listened");
    until("nobody listens any more", || std::net::TcpStream::connect(address).is_err());
}
