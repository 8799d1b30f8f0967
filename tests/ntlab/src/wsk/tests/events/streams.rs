//! Stream sockets: listening or connected, as the driver decides when it has them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ptr::null_mut;

use wsk::sys;

use super::super::super::control::SET_STATIC_EVENT_CALLBACKS;
use super::super::super::events::{ACCEPT, Control, DISABLE, DISCONNECT, RECEIVE, SEND_BACKLOG};
use super::super::super::status::{self, Status};
use super::super::{Client, Io, Memory, Place, Sock, Transfer, each_seed, machine, run, settle, settled, until};
use super::{Call, Context, settled_disable};

/// The functions of a stream socket, under their own table.
impl Sock {
    fn stream(self) -> &'static sys::StreamDispatch {
        // SAFETY: the provider's sockets lead to their table, which is static.
        let table = unsafe { (*self.object).dispatch };
        // SAFETY: the socket is a stream socket.
        unsafe { &*table.cast() }
    }

    fn stream_bind(self) -> Status {
        let (mut local, io) = (Place::of("127.0.0.1:0".parse().unwrap()), Io::new());
        // SAFETY: the arguments are those of WskBind.
        let returned = unsafe { self.stream().bind.unwrap()(self.object, local.pointer(), 0, io.irp()) };
        settled(returned, io)
    }

    fn listen_now(self) -> Status {
        let io = Io::new();
        // SAFETY: the arguments are those of WskListen.
        let returned = unsafe { self.stream().listen.unwrap()(self.object, io.irp()) };
        settled(returned, io)
    }

    fn stream_local(self) -> std::net::SocketAddr {
        let (mut place, io) = (Place::default(), Io::new());
        // SAFETY: the arguments are those of WskGetLocalAddress.
        let returned = unsafe { self.stream().get_local_address.unwrap()(self.object, place.pointer(), io.irp()) };
        assert_eq!(settled(returned, io), status::SUCCESS);
        place.read(self.family)
    }

    fn stream_remote(self) -> Result<std::net::SocketAddr, Status> {
        let (mut place, io) = (Place::default(), Io::new());
        // SAFETY: the arguments are those of WskGetRemoteAddress.
        let returned = unsafe { self.stream().get_remote_address.unwrap()(self.object, place.pointer(), io.irp()) };
        match settled(returned, io) {
            status::SUCCESS => Ok(place.read(self.family)),
            status => Err(status),
        }
    }

    fn stream_connect(self, remote: std::net::SocketAddr) -> Status {
        let (mut remote, io) = (Place::of(remote), Io::new());
        // SAFETY: the arguments are those of WskConnect.
        let returned = unsafe { self.stream().connect.unwrap()(self.object, remote.pointer(), 0, io.irp()) };
        settled(returned, io)
    }

    fn stream_accept(self) -> (Status, usize) {
        let (mut places, io) = ([Place::default(), Place::default()], Io::new());
        let [local, remote] = &mut places;
        let (none, accept) = (null_mut(), self.stream().accept.unwrap());
        // SAFETY: the arguments are those of WskAccept.
        let returned =
            unsafe { accept(self.object, 0, none, std::ptr::null(), local.pointer(), remote.pointer(), io.irp()) };
        settle(returned, io)
    }

    fn stream_send(self, bytes: &[u8]) -> (Status, usize) {
        let (io, memory) = (Io::new(), Memory::new(bytes));
        // SAFETY: the arguments are those of WskSend.
        let returned = unsafe { self.stream().send.unwrap()(self.object, memory.buffer(), 0, io.irp()) };
        settle(returned, io)
    }

    fn stream_receive(self, length: usize) -> (Status, usize, Vec<u8>) {
        let (io, memory) = (Io::new(), Memory::new(&vec![0; length]));
        // SAFETY: the arguments are those of WskReceive.
        let returned =
            unsafe { self.stream().receive.unwrap()(self.object, memory.buffer(), sys::FLAG_WAITALL, io.irp()) };
        Transfer { returned, io, memory }.settle()
    }

    fn stream_disconnect(self) -> Status {
        let io = Io::new();
        // SAFETY: the arguments are those of WskDisconnect.
        let returned = unsafe { self.stream().disconnect.unwrap()(self.object, null_mut(), 0, io.irp()) };
        settled(returned, io)
    }
}

#[test]
fn a_stream_socket_becomes_a_connection_with_every_function_of_one() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let program = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = client.socket(sys::FLAG_STREAM_SOCKET);
            assert_eq!(socket.stream_connect(program.local_addr().unwrap()), status::INVALID_DEVICE_STATE);
            assert_eq!(socket.stream_bind(), status::SUCCESS);
            assert_eq!(socket.stream_remote(), Err(status::INVALID_DEVICE_STATE));
            assert_eq!(socket.stream_connect(program.local_addr().unwrap()), status::SUCCESS);
            assert_eq!(socket.stream_remote(), Ok(program.local_addr().unwrap()));
            let (mut peer, from) = program.accept().unwrap();
            assert_eq!(from, socket.stream_local());
            assert_eq!(socket.stream_send(b"there"), (status::SUCCESS, 5));
            let mut bytes = [0; 5];
            peer.read_exact(&mut bytes).unwrap();
            peer.write_all(&bytes).unwrap();
            assert_eq!(socket.stream_receive(5), (status::SUCCESS, 5, b"there".to_vec()));
            assert_eq!(socket.listen_now(), status::INVALID_DEVICE_STATE);
            assert_eq!(socket.stream_accept(), (status::INVALID_DEVICE_STATE, 0));
            drop(peer);
            assert_eq!(socket.stream_disconnect(), status::SUCCESS);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_stream_socket_that_listens_is_a_listener_and_nothing_else() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let socket = client.socket(sys::FLAG_STREAM_SOCKET);
            assert_eq!(socket.listen_now(), status::INVALID_DEVICE_STATE);
            assert_eq!(socket.stream_bind(), status::SUCCESS);
            assert_eq!(socket.stream_accept(), (status::INVALID_DEVICE_STATE, 0));
            assert_eq!(socket.listen_now(), status::SUCCESS);
            let mut program = TcpStream::connect(socket.stream_local()).unwrap();
            let (accepted, object) = socket.stream_accept();
            assert_eq!(accepted, status::SUCCESS);
            let accepted = socket.accepted(object);
            program.write_all(b"hello").unwrap();
            assert_eq!(accepted.receive(5, sys::FLAG_WAITALL).settle(), (status::SUCCESS, 5, b"hello".to_vec()));
            assert_eq!(socket.stream_connect(socket.stream_local()), status::INVALID_DEVICE_STATE);
            assert_eq!(socket.stream_send(b"no"), (status::INVALID_DEVICE_STATE, 0));
            assert_eq!(socket.stream_receive(2).0, status::INVALID_DEVICE_STATE);
            assert_eq!(socket.stream_disconnect(), status::INVALID_DEVICE_STATE);
            accepted.close();
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_stream_socket_has_the_callbacks_of_what_it_has_become() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (listening, connected, accepted) = (Context::new(), Context::new(), Context::new());
            *listening.accepted.lock() = Some(std::sync::Arc::clone(&accepted));
            let listener = client.socket_with(sys::FLAG_STREAM_SOCKET, &listening);
            assert_eq!(listener.events(ACCEPT), status::INVALID_DEVICE_STATE);
            assert_eq!(listener.stream_bind(), status::SUCCESS);
            assert_eq!(listener.listen_now(), status::SUCCESS);
            assert_eq!(listener.events(ACCEPT | RECEIVE), status::SUCCESS);
            let socket = client.socket_with(sys::FLAG_STREAM_SOCKET, &connected);
            assert_eq!(socket.stream_bind(), status::SUCCESS);
            assert_eq!(socket.stream_connect(listener.stream_local()), status::SUCCESS);
            assert_eq!(socket.events(ACCEPT), status::INVALID_PARAMETER);
            assert_eq!(socket.events(RECEIVE | DISCONNECT | SEND_BACKLOG), status::SUCCESS);
            until("the connection is offered", || listening.count() == 1);
            let object = match listening.calls.lock()[0] {
                Call::Accept(object, _) => object,
                ref other => panic!("{other:?}"),
            };
            let peer = listener.accepted(object);
            assert_eq!(socket.stream_send(b"one"), (status::SUCCESS, 3));
            until("the accepted socket has it", || accepted.bytes() == b"one");
            assert_eq!(peer.send(b"two").settled(), (status::SUCCESS, 3));
            until("the connected socket has it", || connected.bytes() == b"two");
            assert_eq!(settled_disable(socket, RECEIVE), status::SUCCESS);
            assert_eq!(socket.events(DISABLE | ACCEPT), status::INVALID_PARAMETER);
            peer.close();
            until("the peer's reset is told", || connected.has(&Call::Disconnect(true)));
            socket.close();
            listener.close();
            client.end();
        });
    });
}

#[test]
fn static_callbacks_are_those_of_what_a_stream_socket_has_become() {
    let machine = machine(2);
    run(&machine, || {
        let client = Client::new();
        let mut control = Control { npi: (&raw const client).cast(), mask: ACCEPT | RECEIVE };
        let set = client.control(SET_STATIC_EVENT_CALLBACKS, Some(&mut control), None::<&mut u8>).0;
        assert_eq!(set, status::SUCCESS);
        let (listening, connected) = (Context::new(), Context::new());
        let listener = client.socket_with(sys::FLAG_STREAM_SOCKET, &listening);
        assert_eq!(listener.stream_bind(), status::SUCCESS);
        assert_eq!(listener.listen_now(), status::SUCCESS);
        listening.answer(|_| status::REQUEST_NOT_ACCEPTED);
        let program = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = client.socket_with(sys::FLAG_STREAM_SOCKET, &connected);
        assert_eq!(socket.stream_bind(), status::SUCCESS);
        assert_eq!(socket.stream_connect(program.local_addr().unwrap()), status::SUCCESS);
        program.accept().unwrap().0.write_all(b"data").unwrap();
        until("the data is told", || connected.bytes() == b"data");
        let _refused = TcpStream::connect(listener.stream_local()).unwrap();
        until("the connection is offered", || listening.count() == 1);
        assert_eq!(socket.events(RECEIVE), status::INVALID_PARAMETER);
        socket.close();
        listener.close();
        client.end();
    });
}
