//! Sockets against ordinary programs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use wsk::sys;

use super::super::option::codes::{SO_ERROR, SO_SNDBUF, SOL_SOCKET};
use super::super::status;
use super::{Client, Io, Memory, Place, Sock, each_seed, machine, run, settle, settled, until};

/// A program that listens.
fn peer() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connection of the driver and its other end.
pub fn pair(client: &Client) -> (Sock, TcpStream) {
    let (listener, address) = peer();
    let socket = client.connected(address);
    (socket, listener.accept().unwrap().0)
}

#[test]
fn bytes_that_a_program_sends_come_back_through_an_accepted_socket() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (listener, address) = client.listening();
            let program = thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"hello, kernel").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                (stream.local_addr().unwrap(), back)
            });
            let (socket, local, remote) = listener.accept();
            assert_eq!(local, address);
            assert_eq!(socket.local(), Ok(address));
            assert_eq!(socket.remote(), Ok(remote));
            loop {
                let (status, count, bytes) = socket.receive(5, 0).settle();
                assert_eq!(status, status::SUCCESS);
                if count == 0 {
                    break;
                }
                assert_eq!(socket.send(&bytes).settled(), (status::SUCCESS, count));
            }
            assert_eq!(socket.start_disconnect(None, 0).settled(), (status::SUCCESS, 0));
            let (program, back) = program.join().unwrap();
            assert_eq!((program, back.as_slice()), (remote, b"hello, kernel".as_slice()));
            socket.close();
            listener.close();
            assert_eq!(machine.network().counters().resets, 0);
            client.end();
        });
    });
}

#[test]
fn ipv6_connections_work_as_ipv4_ones_do() {
    let machine = machine(3);
    run(&machine, || {
        let client = Client::new();
        let listener = client.try_socket(sys::AF_INET6, sys::FLAG_LISTEN_SOCKET).unwrap();
        assert_eq!(listener.bind("[::]:0"), status::SUCCESS);
        let address = listener.local().unwrap();
        let socket = client.try_socket(sys::AF_INET6, sys::FLAG_CONNECTION_SOCKET).unwrap();
        assert_eq!(socket.bind("[::1]:0"), status::SUCCESS);
        assert_eq!(socket.connect(address), status::SUCCESS);
        let (accepted, _, remote) = listener.accept();
        assert_eq!(socket.local(), Ok(remote));
        assert_eq!(accepted.send(b"six").settled(), (status::SUCCESS, 3));
        assert_eq!(socket.receive(8, 0).settle(), (status::SUCCESS, 3, b"six".to_vec()));
        for socket in [socket, accepted, listener] {
            socket.close();
        }
        client.end();
    });
}

#[test]
fn a_connection_needs_a_bound_socket_and_a_listener_at_the_other_end() {
    let machine = machine(4);
    run(&machine, || {
        let client = Client::new();
        let (listener, address) = peer();
        let socket = client.socket(sys::FLAG_CONNECTION_SOCKET);
        assert_eq!(socket.connect(address), status::INVALID_DEVICE_STATE);
        assert_eq!(socket.local(), Err(status::INVALID_DEVICE_STATE));
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(socket.bind("127.0.0.1:0"), status::INVALID_DEVICE_STATE);
        assert_eq!(socket.send(b"x").settled(), (status::INVALID_DEVICE_STATE, 0));
        assert_eq!(socket.receive(1, 0).settled(), (status::INVALID_DEVICE_STATE, 0));
        assert_eq!(socket.start_disconnect(None, 0).settled(), (status::INVALID_DEVICE_STATE, 0));
        drop(listener);
        assert_eq!(socket.connect(address), status::CONNECTION_REFUSED);
        assert_eq!(socket.connect("192.0.2.1:9".parse().unwrap()), status::NETWORK_UNREACHABLE);
        let listener = TcpListener::bind(address).unwrap();
        assert_eq!(socket.connect(address), status::SUCCESS);
        assert_eq!(socket.remote(), Ok(address));
        drop(listener);
        socket.close();
        client.end();
    });
}

#[test]
fn an_address_that_listens_already_is_refused() {
    let machine = machine(5);
    run(&machine, || {
        let client = Client::new();
        let (listener, address) = client.listening();
        let second = client.socket(sys::FLAG_LISTEN_SOCKET);
        assert_eq!(second.bind(&address.to_string()), status::ADDRESS_ALREADY_EXISTS);
        let outside = client.socket(sys::FLAG_LISTEN_SOCKET);
        assert_eq!(outside.bind("192.0.2.1:0"), status::INVALID_ADDRESS_COMPONENT);
        listener.close();
        let again = client.socket(sys::FLAG_LISTEN_SOCKET);
        assert_eq!(again.bind(&address.to_string()), status::SUCCESS);
        for socket in [second, outside, again] {
            socket.close();
        }
        client.end();
    });
}

#[test]
fn an_address_can_be_bound_again_while_its_connections_are_in_time_wait() {
    let machine = machine(5);
    run(&machine, || {
        let client = Client::new();
        let (listener, address) = client.listening();
        let mut program = TcpStream::connect(address).unwrap();
        let (socket, ..) = listener.accept();
        // The side that ends first is the one that stays in TIME_WAIT.
        assert_eq!(socket.start_disconnect(None, 0).settled(), (status::SUCCESS, 0));
        assert_eq!(program.read(&mut [0; 1]).unwrap(), 0);
        drop(program);
        assert_eq!(socket.receive(1, 0).settled(), (status::SUCCESS, 0));
        socket.close();
        listener.close();
        let again = client.socket(sys::FLAG_LISTEN_SOCKET);
        assert_eq!(again.bind(&address.to_string()), status::SUCCESS);
        again.close();
        client.end();
    });
}

#[test]
fn a_send_completes_when_the_hosts_tcp_has_all_of_it() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            socket.option(SOL_SOCKET, SO_SNDBUF, Some(16 * 1024)).unwrap();
            let data: Vec<u8> = (0..1024 * 1024_u32).map(|index| (index % 251) as u8).collect();
            let first = socket.send(&data);
            let second = socket.send(b"the end");
            thread::sleep(Duration::from_millis(20));
            assert!(first.io.is_pending() && second.io.is_pending());
            let expected = data.clone();
            let reader = thread::spawn(move || {
                let mut all = Vec::new();
                program.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), expected.len() + 7);
                assert!(all.starts_with(&expected) && all.ends_with(b"the end"));
            });
            assert_eq!(first.settled(), (status::SUCCESS, data.len()));
            assert_eq!(second.settled(), (status::SUCCESS, 7));
            assert_eq!(socket.start_disconnect(None, 0).settled(), (status::SUCCESS, 0));
            reader.join().unwrap();
            socket.close();
            client.end();
        });
    });
}

#[test]
fn every_byte_before_a_graceful_disconnect_arrives_and_its_own_too() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let sends: Vec<_> = (0..50_u8).map(|index| socket.send(&[index; 2000])).collect();
            let last = socket.start_disconnect(Some(b"last"), 0);
            let refused = socket.send(b"too late");
            let mut all = Vec::new();
            program.read_to_end(&mut all).unwrap();
            assert_eq!(all.len(), 50 * 2000 + 4);
            assert!(all.ends_with(b"last"));
            for send in sends {
                assert_eq!(send.settled(), (status::SUCCESS, 2000));
            }
            assert_eq!(last.settled(), (status::SUCCESS, 0));
            assert_eq!(refused.settled(), (status::PIPE_DISCONNECTED, 0));
            program.write_all(b"still open this way").unwrap();
            drop(program);
            assert_eq!(socket.receive(64, sys::FLAG_WAITALL).settle().2, b"still open this way");
            assert_eq!(socket.receive(64, 0).settled(), (status::SUCCESS, 0));
            socket.close();
            assert_eq!(machine.network().counters().resets, 0);
            client.end();
        });
    });
}

#[test]
fn a_graceful_disconnect_waits_for_the_peer_and_an_abortive_one_ends_it() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            socket.option(SOL_SOCKET, SO_SNDBUF, Some(16 * 1024)).unwrap();
            let send = socket.send(&vec![1; 16 * 1024 * 1024]);
            let disconnect = socket.start_disconnect(None, 0);
            let receive = socket.receive(16, 0);
            thread::sleep(Duration::from_millis(20));
            assert!(send.io.is_pending() && disconnect.io.is_pending() && receive.io.is_pending());
            assert_eq!(socket.start_disconnect(None, sys::FLAG_ABORTIVE).settled(), (status::SUCCESS, 0));
            assert_eq!(send.settled(), (status::CONNECTION_ABORTED, 0));
            assert_eq!(disconnect.settled(), (status::CONNECTION_ABORTED, 0));
            assert_eq!(receive.settled(), (status::CONNECTION_ABORTED, 0));
            let error = program.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(socket.send(b"x").settled(), (status::CONNECTION_ABORTED, 0));
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_waiting_receive_fills_its_buffer_or_takes_what_there_was() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let receive = socket.receive(10, sys::FLAG_WAITALL);
            program.write_all(b"01234").unwrap();
            thread::sleep(Duration::from_millis(5));
            assert!(receive.io.is_pending());
            program.write_all(b"56789ab").unwrap();
            assert_eq!(receive.settle(), (status::SUCCESS, 10, b"0123456789".to_vec()));
            let receive = socket.receive(10, sys::FLAG_WAITALL);
            program.shutdown(Shutdown::Write).unwrap();
            assert_eq!(receive.settle(), (status::SUCCESS, 2, b"ab".to_vec()));
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_draining_receive_drops_what_comes_until_the_peer_is_done() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let drain = socket.receive(0, sys::FLAG_DRAIN);
            program.write_all(&vec![7; 300_000]).unwrap();
            thread::sleep(Duration::from_millis(2));
            assert!(drain.io.is_pending());
            drop(program);
            assert_eq!(drain.settled(), (status::SUCCESS, 0));
            assert_eq!(machine.network().counters().bytes_received, 0);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn receives_get_the_stream_in_the_order_of_their_calls() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let receives: Vec<_> = (0..100).map(|_| socket.receive(3, sys::FLAG_WAITALL)).collect();
            let data: Vec<u8> = (0..=255).cycle().take(300).collect();
            program.write_all(&data).unwrap();
            let all: Vec<u8> = receives.into_iter().flat_map(|receive| receive.settle().2).collect();
            assert_eq!(all, data);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_chain_of_mdls_is_one_buffer_with_its_offset_left_out() {
    let machine = machine(6);
    run(&machine, || {
        let client = Client::new();
        let (socket, mut program) = pair(&client);
        let (first, second) = (Memory::new(b"--abc"), Memory::new(b"defgh"));
        first.mdl.Next.set(std::ptr::from_ref(&*second.mdl).cast_mut());
        let mut buffer = sys::Buf { mdl: first.buffer.mdl, offset: 2, length: 7 };
        let io = Io::new();
        // SAFETY: the arguments are those of WskSend.
        let returned = unsafe { socket.connection().send.unwrap()(socket.object, &raw mut buffer, 0, io.irp()) };
        assert_eq!(settle(returned, io), (status::SUCCESS, 7));
        let mut seen = [0; 7];
        program.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"abcdefg");
        program.write_all(b"1234567").unwrap();
        let io = Io::new();
        let flags = sys::FLAG_WAITALL;
        // SAFETY: the arguments are those of WskReceive.
        let returned = unsafe { socket.connection().receive.unwrap()(socket.object, &raw mut buffer, flags, io.irp()) };
        assert_eq!(settle(returned, io), (status::SUCCESS, 7));
        assert_eq!((&*first.bytes, &*second.bytes), (b"--123".as_slice(), b"4567h".as_slice()));
        socket.close();
        client.end();
    });
}

#[test]
fn a_peers_reset_ends_what_is_pending_and_what_comes_after() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, program) = pair(&client);
            let receive = socket.receive(16, 0);
            socket2::Socket::from(program).set_linger(Some(Duration::ZERO)).unwrap();
            assert_eq!(receive.settled(), (status::CONNECTION_RESET, 0));
            assert_eq!(socket.receive(16, 0).settled(), (status::CONNECTION_RESET, 0));
            assert_eq!(socket.send(b"x").settled(), (status::CONNECTION_RESET, 0));
            assert_eq!(socket.option(SOL_SOCKET, SO_ERROR, None), Ok(status::CONNECTION_RESET.cast_unsigned()));
            socket.close();
            client.end();
        });
    });
}

#[test]
fn closing_a_connection_resets_it_and_cancels_what_is_pending() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            socket.option(SOL_SOCKET, SO_SNDBUF, Some(16 * 1024)).unwrap();
            let receives: Vec<_> = (0..20).map(|_| socket.receive(16, 0)).collect();
            let sends: Vec<_> = (0..4).map(|_| socket.send(&vec![1; 4 * 1024 * 1024])).collect();
            let (returned, close) = socket.start_close();
            for transfer in receives.into_iter().chain(sends) {
                assert_eq!(transfer.settled(), (status::CANCELLED, 0));
            }
            assert_eq!(settled(returned, close), status::SUCCESS);
            let error = program.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(machine.network().counters().resets, 1);
            client.end();
        });
    });
}

#[test]
fn a_receive_that_has_data_keeps_it_when_the_socket_is_closed() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let receive = socket.receive(16, sys::FLAG_WAITALL);
            program.write_all(b"half").unwrap();
            until("the bytes have arrived", || machine.network().counters().bytes_received == 4);
            let (returned, close) = socket.start_close();
            assert_eq!(receive.settle(), (status::SUCCESS, 4, b"half".to_vec()));
            assert_eq!(settled(returned, close), status::SUCCESS);
            client.end();
        });
    });
}

#[test]
fn closing_a_listener_cancels_its_accept_and_stops_listening() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (listener, address) = client.listening();
            let mut places = [Place::default(), Place::default()];
            let (returned, accept) = listener.start_accept(&mut places);
            assert_eq!(returned, status::PENDING);
            let (closing, close) = listener.start_close();
            assert_eq!(settle(returned, accept), (status::CANCELLED, 0));
            assert_eq!(settled(closing, close), status::SUCCESS);
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            client.end();
        });
    });
}

#[test]
fn closing_a_socket_cancels_its_connect() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            // A listener whose backlog is full answers nobody.
            let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            full.listen(0).unwrap();
            let address = full.local_addr().unwrap().as_socket().unwrap();
            let filler = TcpStream::connect(address).unwrap();
            let socket = client.bound();
            let (returned, connect) = socket.start_connect(address);
            assert_eq!(returned, status::PENDING);
            thread::sleep(Duration::from_millis(5));
            assert!(connect.is_pending());
            let (closing, close) = socket.start_close();
            assert_eq!(settle(returned, connect), (status::CANCELLED, 0));
            assert_eq!(settled(closing, close), status::SUCCESS);
            drop(filler);
            client.end();
        });
    });
}

#[test]
fn a_socket_is_made_bound_and_connected_in_one_call_or_not_at_all() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (listener, address) = peer();
            let connect = |remote: SocketAddr| {
                let (mut local, mut remote) = (Place::of("0.0.0.0:0".parse().unwrap()), Place::of(remote));
                let io = Io::new();
                // SAFETY: the arguments are those of WskSocketConnect.
                let returned = unsafe {
                    client.dispatch().socket_connect.unwrap()(
                        client.npi.client,
                        sys::SOCK_STREAM,
                        sys::IPPROTO_TCP,
                        local.pointer(),
                        remote.pointer(),
                        0,
                        std::ptr::null_mut(),
                        std::ptr::null(),
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        io.irp(),
                    )
                };
                settle(returned, io)
            };
            let (status, object) = connect(address);
            assert_eq!(status, status::SUCCESS);
            let socket = Sock { object: object as *mut sys::Socket, family: sys::AF_INET };
            assert_eq!(socket.remote(), Ok(address));
            socket.close();
            drop(listener);
            assert_eq!(connect(address), (status::CONNECTION_REFUSED, 0));
            assert_eq!(connect("192.0.2.1:1".parse().unwrap()), (status::NETWORK_UNREACHABLE, 0));
            assert_eq!(machine.network().counters().sockets, 0);
            client.end();
        });
    });
}
