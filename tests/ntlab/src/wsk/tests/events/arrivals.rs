//! Connections that arrive, and a provider that goes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use wsk::sys;

use super::super::super::events::{ACCEPT, DISABLE, DISCONNECT, RECEIVE, RECEIVE_FROM};
use super::super::super::option::codes::{SO_CONDITIONAL_ACCEPT, SOL_SOCKET};
use super::super::super::{ProviderState, status};
use super::super::{Client, Place, Sock, each_seed, machine, run, settle, until};
use super::{Call, Context, settled_disable};

#[test]
fn accepted_sockets_inherit_what_is_enabled_on_their_listener() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (context, accepted) = (Context::new(), Context::new());
            *context.accepted.lock() = Some(Arc::clone(&accepted));
            let listener = client.socket_with(sys::FLAG_LISTEN_SOCKET, &context);
            assert_eq!(listener.events(ACCEPT), status::INVALID_DEVICE_STATE);
            assert_eq!(listener.bind("127.0.0.1:0"), status::SUCCESS);
            assert_eq!(listener.events(ACCEPT | RECEIVE | DISCONNECT), status::SUCCESS);
            assert_eq!(listener.events(DISABLE | RECEIVE), status::INVALID_PARAMETER);
            let mut program = TcpStream::connect(listener.local().unwrap()).unwrap();
            program.write_all(b"hello").unwrap();
            until("the connection is accepted", || context.count() == 1);
            let Call::Accept(object, from) = context.calls.lock()[0] else { panic!("no connection") };
            assert_eq!(from, program.local_addr().ok());
            let socket = listener.accepted(object);
            until("its data is indicated", || accepted.bytes() == b"hello");
            assert_eq!(socket.send(b"back").settled(), (status::SUCCESS, 4));
            let mut back = [0; 4];
            program.read_exact(&mut back).unwrap();
            drop(program);
            until("its disconnect is indicated", || accepted.has(&Call::Disconnect(false)));
            socket.close();
            assert_eq!(settled_disable(listener, ACCEPT), status::SUCCESS);
            listener.close();
            client.end();
        });
    });
}

#[test]
fn a_connection_that_is_not_accepted_is_reset() {
    let machine = machine(3);
    run(&machine, || {
        let client = Client::new();
        let context = Context::new();
        context.answer(|_| status::REQUEST_NOT_ACCEPTED);
        let listener = client.socket_with(sys::FLAG_LISTEN_SOCKET, &context);
        assert_eq!(listener.bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(listener.events(ACCEPT), status::SUCCESS);
        let mut program = TcpStream::connect(listener.local().unwrap()).unwrap();
        assert_eq!(program.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        until("only the listener is left", || machine.network().counters().sockets == 1);
        listener.close();
        client.end();
    });
}

/// A listener in conditional accept mode.
fn conditional(client: &Client, context: &Arc<Context>) -> (Sock, SocketAddr) {
    let listener = client.socket_with(sys::FLAG_LISTEN_SOCKET, context);
    assert_eq!(listener.option(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, Some(1)), Ok(0));
    assert_eq!(listener.bind("127.0.0.1:0"), status::SUCCESS);
    assert_eq!(listener.option(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, Some(0)), Err(status::INVALID_DEVICE_STATE));
    assert_eq!(listener.option(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, None), Ok(1));
    let local = listener.local().unwrap();
    (listener, local)
}

fn inspected(context: &Context, index: usize) -> sys::InspectId {
    until("a connection is inspected", || context.count() > index);
    let Call::Inspect(Some(id)) = context.calls.lock()[index] else { panic!("no inspection") };
    id
}

#[test]
fn a_connection_is_accepted_once_its_inspection_says_so() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            context.answer(|_| sys::INSPECT_PEND);
            let (listener, address) = conditional(&client, &context);
            let mut places = [Place::default(), Place::default()];
            let (returned, accept) = listener.start_accept(&mut places);
            let _rejected = TcpStream::connect(address).unwrap();
            let first = inspected(&context, 0);
            let mut wanted = TcpStream::connect(address).unwrap();
            let second = inspected(&context, 1);
            assert!(accept.is_pending());
            assert_eq!(listener.complete_inspection(first, sys::INSPECT_REJECT), status::SUCCESS);
            assert_eq!(listener.complete_inspection(second, sys::INSPECT_ACCEPT), status::SUCCESS);
            let nothing = sys::InspectId { serial_number: 99, ..second };
            assert_eq!(listener.complete_inspection(nothing, sys::INSPECT_ACCEPT), status::INVALID_PARAMETER);
            let (status, object) = settle(returned, accept);
            assert_eq!(status, status::SUCCESS);
            let socket = listener.accepted(object);
            assert_eq!(socket.remote(), Ok(wanted.local_addr().unwrap()));
            wanted.write_all(b"in").unwrap();
            assert_eq!(socket.receive(2, sys::FLAG_WAITALL).settle(), (status::SUCCESS, 2, b"in".to_vec()));
            socket.close();
            listener.close();
            client.end();
        });
    });
}

#[test]
fn a_peer_that_leaves_during_the_inspection_aborts_it() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            context.answer(|call| if matches!(call, Call::Abort(_)) { status::SUCCESS } else { sys::INSPECT_PEND });
            let (listener, address) = conditional(&client, &context);
            let program = TcpStream::connect(address).unwrap();
            let id = inspected(&context, 0);
            drop(program);
            until("the inspection is aborted", || context.has(&Call::Abort(id)));
            assert_eq!(listener.complete_inspection(id, sys::INSPECT_ACCEPT), status::SUCCESS);
            listener.close();
            assert_eq!(machine.network().counters().sockets_opened, 1);
            client.end();
        });
    });
}

#[test]
fn a_lost_provider_tells_every_callback_to_close_now() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let contexts = [Context::new(), Context::new(), Context::new()];
            let listener = client.socket_with(sys::FLAG_LISTEN_SOCKET, &contexts[0]);
            assert_eq!(listener.bind("127.0.0.1:0"), status::SUCCESS);
            assert_eq!(listener.events(ACCEPT), status::SUCCESS);
            let (socket, _program) = client.pair_with(&contexts[1]);
            assert_eq!(socket.events(RECEIVE | DISCONNECT), status::SUCCESS);
            let datagram = client.socket_with(sys::FLAG_DATAGRAM_SOCKET, &contexts[2]);
            assert_eq!(datagram.bind("127.0.0.1:0"), status::SUCCESS);
            assert_eq!(datagram.events(RECEIVE_FROM), status::SUCCESS);
            machine.network().set_provider(ProviderState::Lost);
            until("everybody has been told", || {
                contexts[0].has(&Call::Accept(0, None))
                    && contexts[1].calls.lock().iter().any(|call| matches!(call, Call::Receive(None, 0, _)))
                    && contexts[1].has(&Call::Disconnect(true))
                    && contexts[2].has(&Call::Datagrams(None, 0))
            });
            for socket in [listener, socket, datagram] {
                socket.close();
            }
            assert_eq!(contexts.iter().map(|context| context.count()).sum::<usize>(), 4);
            client.end();
        });
    });
}
