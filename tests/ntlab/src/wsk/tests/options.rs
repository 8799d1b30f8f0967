//! Socket options and I/O control operations, for every category of sockets.

use std::ffi::c_void;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ptr::null_mut;

use wsk::sys;

use super::super::control::{CACHE_SD, RELEASE_SD};
use super::super::option::codes::*;
use super::super::status::{self, Status};
use super::super::{address, rules};
use super::{Client, Io, Memory, Place, Sock, each_seed, machine, provoke, run, settle, settled, until};

impl Sock {
    /// `WskControlSocket` with an IRP: its status, and its Information.
    fn start_control(
        self,
        kind: sys::ControlSocketType,
        name: (u32, u32),
        buffers: [(usize, *mut c_void); 2],
    ) -> (Status, Io) {
        let [(input_size, input), (output_size, output)] = buffers;
        let io = Io::new();
        // SAFETY: the arguments are those of WskControlSocket; the callers keep the buffers until the IRP is back.
        let returned = unsafe {
            self.basic().control_socket.unwrap()(
                self.object,
                kind,
                name.1,
                name.0,
                input_size,
                input,
                output_size,
                output,
                null_mut(),
                io.irp(),
            )
        };
        (returned, io)
    }

    /// An I/O control that asks, with an IRP.
    pub fn ask<T: Default>(self, code: u32) -> Result<T, Status> {
        let mut value = T::default();
        let output = (size_of::<T>(), (&raw mut value).cast());
        let (returned, io) = self.start_control(sys::CONTROL_IOCTL, (0, code), [(0, null_mut()), output]);
        match settle(returned, io) {
            (status::SUCCESS, count) => {
                assert_eq!(count, size_of::<T>());
                Ok(value)
            }
            (status, _) => Err(status),
        }
    }

    /// An I/O control that asks, without an IRP.
    pub fn query<T: Default>(self, code: u32) -> Result<T, Status> {
        let mut value = T::default();
        let (status, returned) = self.query_bytes(code, size_of::<T>(), (&raw mut value).cast());
        assert!(status != status::SUCCESS || returned == size_of::<T>());
        if status == status::SUCCESS { Ok(value) } else { Err(status) }
    }

    fn query_bytes(self, code: u32, size: usize, output: *mut c_void) -> (Status, usize) {
        let mut returned = 0;
        // SAFETY: the arguments are those of WskControlSocket.
        let status = unsafe {
            self.basic().control_socket.unwrap()(
                self.object,
                sys::CONTROL_IOCTL,
                code,
                0,
                0,
                null_mut(),
                size,
                output,
                &raw mut returned,
                null_mut(),
            )
        };
        (status, returned)
    }

    /// Fixes an address of a datagram socket, or clears it.
    pub fn fix_address(self, code: u32, remote: Option<SocketAddr>) -> Status {
        let mut place = remote.map(Place::of);
        let size = if remote.is_some() { address::length(self.family) } else { 0 };
        let input = place.as_mut().map_or(null_mut(), |place| place.pointer().cast());
        let (returned, io) = self.start_control(sys::CONTROL_IOCTL, (0, code), [(size, input), (0, null_mut())]);
        settled(returned, io)
    }

    /// Sends a datagram, to an address or to the one that is fixed.
    fn send_to(self, bytes: &[u8], remote: Option<SocketAddr>) -> (Status, usize) {
        let (io, memory, mut place) = (Io::new(), Memory::new(bytes), remote.map(Place::of));
        let remote = place.as_mut().map_or(null_mut(), Place::pointer);
        let send = self.datagram().send_to.unwrap();
        // SAFETY: the arguments are those of WskSendTo.
        let returned = unsafe { send(self.object, memory.buffer(), 0, remote, 0, null_mut(), io.irp()) };
        settle(returned, io)
    }

    /// Receives a datagram.
    fn receive_from(self) -> Result<(Vec<u8>, SocketAddr), Status> {
        let (io, memory, mut place) = (Io::new(), Memory::new(&[0; 16]), Place::default());
        let receive = self.datagram().receive_from.unwrap();
        // SAFETY: the arguments are those of WskReceiveFrom.
        let returned = unsafe {
            receive(self.object, memory.buffer(), 0, place.pointer(), null_mut(), null_mut(), null_mut(), io.irp())
        };
        match settle(returned, io) {
            (status::SUCCESS, count) => Ok((memory.bytes[..count].to_vec(), place.read(self.family))),
            (status, _) => Err(status),
        }
    }

    /// `SO_WSK_SECURITY`, set or read.
    fn security(self, set: Option<usize>) -> Result<usize, Status> {
        let (mut input, mut output) = (set.unwrap_or(0), 0_usize);
        let size = size_of::<usize>();
        let kind = if set.is_some() { sys::CONTROL_SET_OPTION } else { sys::CONTROL_GET_OPTION };
        let buffers = [(size, (&raw mut input).cast()), (size, (&raw mut output).cast())];
        let (returned, io) = self.start_control(kind, (SOL_SOCKET, SO_WSK_SECURITY), buffers);
        match settled(returned, io) {
            status::SUCCESS => Ok(output),
            status => Err(status),
        }
    }
}

/// An option, its value at the start, another value, and the categories that it applies to.
type Row = ((u32, u32), u32, u32, [bool; 5]);

const CATEGORIES: [u32; 5] = [
    sys::FLAG_BASIC_SOCKET,
    sys::FLAG_LISTEN_SOCKET,
    sys::FLAG_CONNECTION_SOCKET,
    sys::FLAG_DATAGRAM_SOCKET,
    sys::FLAG_STREAM_SOCKET,
];

#[test]
fn an_option_applies_to_the_categories_that_its_page_names_and_reads_back_as_it_was_set() {
    // Basic, listening, connection-oriented, datagram, stream.
    let table: [Row; 15] = [
        ((SOL_SOCKET, SO_REUSEADDR), 0, 1, [false, true, true, true, true]),
        ((SOL_SOCKET, SO_EXCLUSIVEADDRUSE), 0, 1, [false, true, true, true, true]),
        ((SOL_SOCKET, SO_KEEPALIVE), 0, 1, [true, true, true, false, true]),
        ((SOL_SOCKET, SO_BROADCAST), 0, 1, [false, false, false, true, false]),
        ((SOL_SOCKET, SO_RCVBUF), 64 * 1024, 5000, [false, true, true, true, true]),
        ((SOL_SOCKET, SO_CONDITIONAL_ACCEPT), 0, 1, [false, true, false, false, false]),
        ((IPPROTO_TCP, TCP_NODELAY), 0, 1, [true, true, true, false, true]),
        ((IPPROTO_TCP, TCP_KEEPIDLE), 7200, 30, [true, true, true, false, true]),
        ((IPPROTO_TCP, TCP_KEEPINTVL), 1, 5, [true, true, true, false, true]),
        ((IPPROTO_TCP, TCP_KEEPCNT), 10, 3, [true, true, true, false, true]),
        ((IPPROTO_IP, IP_TTL), 128, 1, [true; 5]),
        ((IPPROTO_IP, IP_DONTFRAGMENT), 0, 1, [true; 5]),
        ((IPPROTO_IP, IP_MULTICAST_TTL), 1, 0, [true; 5]),
        ((IPPROTO_UDP, UDP_NOCHECKSUM), 0, 1, [false, false, false, true, false]),
        ((IPPROTO_IPV6, IPV6_V6ONLY), 1, 0, [false; 5]),
    ];
    for memory in [false, true] {
        let machine = machine(7);
        let _peers = memory.then(|| machine.network().use_memory(super::super::Weather::default()));
        run(&machine, || {
            let client = Client::new();
            for ((level, code), start, other, applies) in table {
                for (category, applies) in CATEGORIES.into_iter().zip(applies) {
                    let socket = client.socket(category);
                    let expected = |value| if applies { Ok(value) } else { Err(status::NOT_SUPPORTED) };
                    assert_eq!(socket.option(level, code, None), expected(start), "{level} {code:#x} {category}");
                    assert_eq!(socket.option(level, code, Some(other)).is_ok(), applies);
                    assert_eq!(socket.option(level, code, None), expected(other));
                    socket.close();
                }
            }
            client.end();
        });
    }
}

#[test]
fn what_an_option_may_not_be_is_refused() {
    let machine = machine(7);
    run(&machine, || {
        let client = Client::new();
        let socket = client.socket(sys::FLAG_CONNECTION_SOCKET);
        assert_eq!(socket.option(SOL_SOCKET, SO_KEEPALIVE, Some(2)), Err(status::INVALID_PARAMETER));
        assert_eq!(socket.option(IPPROTO_IP, IP_TTL, Some(256)), Err(status::INVALID_PARAMETER));
        assert_eq!(socket.option(SOL_SOCKET, 0x7777, None), Err(status::NOT_SUPPORTED));
        assert_eq!(socket.option(SOL_SOCKET, SO_TYPE, Some(1)), Err(status::NOT_SUPPORTED));
        assert_eq!(socket.option(SOL_SOCKET, SO_TYPE, None), Ok(1));
        assert_eq!(socket.option(SOL_SOCKET, SO_ERROR, None), Ok(0));
        let mut value = 1_u32;
        let pointer: *mut c_void = (&raw mut value).cast();
        for (size, input) in [(1, pointer), (3, pointer), (5, pointer), (4, null_mut()), (0, null_mut())] {
            let buffers = [(size, input), (0, null_mut())];
            let (returned, io) = socket.start_control(sys::CONTROL_SET_OPTION, (SOL_SOCKET, SO_KEEPALIVE), buffers);
            assert_eq!(settled(returned, io), status::INVALID_PARAMETER, "{size}");
        }
        let buffers = [(0, null_mut()), (3, pointer)];
        let (returned, io) = socket.start_control(sys::CONTROL_GET_OPTION, (SOL_SOCKET, SO_KEEPALIVE), buffers);
        assert_eq!(settled(returned, io), status::BUFFER_TOO_SMALL);
        let (returned, io) = socket.start_control(7, (SOL_SOCKET, SO_KEEPALIVE), buffers);
        assert_eq!(settled(returned, io), status::INVALID_PARAMETER);
        socket.option(SOL_SOCKET, SO_REUSEADDR, Some(1)).unwrap();
        assert_eq!(socket.option(SOL_SOCKET, SO_EXCLUSIVEADDRUSE, Some(1)), Err(status::INVALID_PARAMETER));
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(socket.option(SOL_SOCKET, SO_REUSEADDR, Some(0)), Err(status::INVALID_DEVICE_STATE));
        socket.close();
        client.end();
    });
}

#[test]
fn an_option_without_an_irp_is_a_violation() {
    for (kind, name) in [
        (sys::CONTROL_SET_OPTION, (SOL_SOCKET, SO_KEEPALIVE)),
        (sys::CONTROL_GET_OPTION, (SOL_SOCKET, SO_TYPE)),
        (sys::CONTROL_IOCTL, (0, SIO_WSK_QUERY_RECEIVE_BACKLOG)),
        (sys::CONTROL_IOCTL, (0, SIO_WSK_SET_REMOTE_ADDRESS)),
        (sys::CONTROL_IOCTL, (0, SIO_ADDRESS_LIST_CHANGE)),
    ] {
        let machine = machine(1);
        provoke(&machine, &rules::NO_IRP, || {
            let client = Client::new();
            let socket = client.socket(sys::FLAG_CONNECTION_SOCKET);
            let control = socket.basic().control_socket.unwrap();
            let nothing = null_mut();
            // SAFETY: the arguments are those of WskControlSocket, but for the IRP.
            unsafe { control(socket.object, kind, name.1, name.0, 0, nothing, 0, nothing, null_mut(), null_mut()) };
        });
    }
}

#[test]
fn accepted_sockets_have_the_listening_sockets_options() {
    let machine = machine(3);
    run(&machine, || {
        let client = Client::new();
        let listener = client.socket(sys::FLAG_LISTEN_SOCKET);
        for (code, value) in [(SO_KEEPALIVE, 1), (SO_RCVBUF, 7000)] {
            listener.option(SOL_SOCKET, code, Some(value)).unwrap();
        }
        assert_eq!(listener.bind("127.0.0.1:0"), status::SUCCESS);
        let _program = std::net::TcpStream::connect(listener.local().unwrap()).unwrap();
        let (accepted, ..) = listener.accept();
        assert_eq!(accepted.option(SOL_SOCKET, SO_KEEPALIVE, None), Ok(1));
        assert_eq!(accepted.option(SOL_SOCKET, SO_RCVBUF, None), Ok(7000));
        accepted.option(SOL_SOCKET, SO_KEEPALIVE, Some(0)).unwrap();
        assert_eq!(listener.option(SOL_SOCKET, SO_KEEPALIVE, None), Ok(1));
        accepted.close();
        listener.close();
        client.end();
    });
}

#[test]
fn an_address_in_use_is_shared_or_refused_as_the_second_socket_asks() {
    let machine = machine(3);
    run(&machine, || {
        let client = Client::new();
        let program = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = program.local_addr().unwrap().to_string();
        for (option, expected) in [
            (None, status::ADDRESS_ALREADY_EXISTS),
            (Some(SO_REUSEADDR), status::ACCESS_DENIED),
            (Some(SO_EXCLUSIVEADDRUSE), status::ADDRESS_ALREADY_EXISTS),
        ] {
            let socket = client.socket(sys::FLAG_LISTEN_SOCKET);
            if let Some(option) = option {
                socket.option(SOL_SOCKET, option, Some(1)).unwrap();
            }
            assert_eq!(socket.bind(&taken), expected);
            socket.close();
        }
        let shared: Vec<_> = (0..2).map(|_| client.socket(sys::FLAG_LISTEN_SOCKET)).collect();
        for socket in &shared {
            socket.option(SOL_SOCKET, SO_REUSEADDR, Some(1)).unwrap();
        }
        assert_eq!(shared[0].bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(shared[1].bind(&shared[0].local().unwrap().to_string()), status::SUCCESS);
        for socket in shared {
            socket.close();
        }
        client.end();
    });
}

#[test]
fn a_socket_has_the_security_descriptor_that_it_was_given() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        let (mut original, mut cached) = (0x1000_usize, 0_usize);
        assert_eq!(client.control(CACHE_SD, Some(&mut original), Some(&mut cached)).0, status::SUCCESS);
        let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
        assert_eq!(socket.security(None), Err(status::INVALID_DEVICE_STATE));
        assert_eq!(socket.security(Some(cached)), Ok(0));
        let mut copy = socket.security(None).unwrap();
        assert_ne!(copy, cached);
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(socket.security(Some(cached)), Err(status::INVALID_DEVICE_STATE));
        for descriptor in [&mut cached, &mut copy] {
            assert_eq!(client.control(RELEASE_SD, Some(descriptor), None::<&mut u8>).0, status::SUCCESS);
        }
        socket.close();
        client.end();
    });
}

#[test]
fn a_security_descriptor_that_is_not_cached_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::DESCRIPTOR_UNKNOWN, || {
        let client = Client::new();
        let _ = client.socket(sys::FLAG_DATAGRAM_SOCKET).security(Some(0x1000));
    });
}

#[test]
fn the_addresses_of_a_family_are_listed_and_a_change_is_told() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let socket = client.socket(sys::FLAG_BASIC_SOCKET);
            let (status, needed) = socket.query_bytes(SIO_ADDRESS_LIST_QUERY, 0, null_mut());
            assert_eq!((status, needed), (status::BUFFER_OVERFLOW, 40));
            let mut list = [0_usize; 5];
            let found = socket.query_bytes(SIO_ADDRESS_LIST_QUERY, 40, list.as_mut_ptr().cast());
            assert_eq!((found, list[0]), ((status::SUCCESS, 40), 1));
            let first = list[1] as *mut sys::SockAddr;
            // SAFETY: the list leads to an address of the family.
            let first = unsafe { address::read(first, socket.family) };
            assert_eq!(first, Ok("127.0.0.1:0".parse().unwrap()));
            let wait = || socket.start_control(sys::CONTROL_IOCTL, (0, SIO_ADDRESS_LIST_CHANGE), [(0, null_mut()); 2]);
            let (told, cancelled) = (wait(), wait());
            assert!(cancelled.1.cancel());
            assert_eq!(settled(cancelled.0, cancelled.1), status::CANCELLED);
            machine.network().change_transports();
            assert_eq!(settled(told.0, told.1), status::SUCCESS);
            let closed = wait();
            socket.close();
            assert_eq!(settled(closed.0, closed.1), status::CANCELLED);
            client.end();
        });
    });
}

#[test]
fn a_fixed_remote_address_hears_nobody_else_until_it_is_cleared() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (friend, stranger) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
            let (near, far) = (friend.local_addr().unwrap(), stranger.local_addr().unwrap());
            let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
            assert_eq!(socket.fix_address(SIO_WSK_SET_REMOTE_ADDRESS, Some(near)), status::INVALID_DEVICE_STATE);
            assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
            let own = socket.local().unwrap();
            stranger.send_to(b"before", own).unwrap();
            assert_eq!(socket.fix_address(SIO_WSK_SET_REMOTE_ADDRESS, Some(near)), status::SUCCESS);
            stranger.send_to(b"during", own).unwrap();
            friend.send_to(b"friend", own).unwrap();
            assert_eq!(socket.receive_from(), Ok((b"friend".to_vec(), near)));
            assert_eq!(socket.send_to(b"fixed", None), (status::SUCCESS, 5));
            assert_eq!(socket.send_to(b"other", Some(far)), (status::SUCCESS, 5));
            assert_eq!(socket.fix_address(SIO_WSK_SET_REMOTE_ADDRESS, None), status::SUCCESS);
            assert_eq!(socket.local(), Ok(own));
            assert_eq!(socket.send_to(b"nowhere", None), (status::INVALID_PARAMETER, 0));
            stranger.send_to(b"after", own).unwrap();
            assert_eq!(socket.receive_from(), Ok((b"after".to_vec(), far)));
            let mut bytes = [0; 16];
            assert_eq!((friend.recv(&mut bytes).unwrap(), stranger.recv(&mut bytes).unwrap()), (5, 5));
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_fixed_destination_hears_everybody_and_can_be_cleared() {
    let machine = machine(4);
    run(&machine, || {
        let client = Client::new();
        let (friend, stranger) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (near, far) = (friend.local_addr().unwrap(), stranger.local_addr().unwrap());
        let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(socket.fix_address(SIO_WSK_SET_SENDTO_ADDRESS, Some(near)), status::SUCCESS);
        assert_eq!(socket.send_to(b"fixed", None), (status::SUCCESS, 5));
        stranger.send_to(b"stranger", socket.local().unwrap()).unwrap();
        assert_eq!(socket.receive_from(), Ok((b"stranger".to_vec(), far)));
        assert_eq!(socket.fix_address(SIO_WSK_SET_SENDTO_ADDRESS, None), status::SUCCESS);
        assert_eq!(socket.send_to(b"nowhere", None), (status::INVALID_PARAMETER, 0));
        socket.close();
        client.end();
    });
}

#[test]
fn a_fixed_remote_address_where_nobody_is_ends_a_receive_and_no_send() {
    let machine = machine(4);
    run(&machine, || {
        let client = Client::new();
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        assert_eq!(socket.fix_address(SIO_WSK_SET_REMOTE_ADDRESS, Some(nobody)), status::SUCCESS);
        for _ in 0..3 {
            assert_eq!(socket.send_to(b"hello", None), (status::SUCCESS, 5));
        }
        assert_eq!(socket.receive_from(), Err(status::PORT_UNREACHABLE));
        socket.close();
        client.end();
    });
}

#[test]
fn datagrams_that_are_held_are_sent_later_cancelled_or_end_with_their_socket() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let program = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut to = Place::of(program.local_addr().unwrap());
            let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
            assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
            let mut send = |bytes: &[u8]| {
                let (io, memory) = (Io::new(), Memory::new(bytes));
                let send = socket.datagram().send_to.unwrap();
                // SAFETY: the arguments are those of WskSendTo.
                let returned =
                    unsafe { send(socket.object, memory.buffer(), 0, to.pointer(), 0, null_mut(), io.irp()) };
                (returned, io, memory)
            };
            machine.network().hold_datagrams(true);
            let (cancelled, kept) = (send(b"cancelled"), send(b"sent"));
            assert!(cancelled.1.is_pending() && cancelled.1.cancel());
            assert_eq!(settle(cancelled.0, cancelled.1), (status::CANCELLED, 0));
            assert!(kept.1.is_pending());
            machine.network().hold_datagrams(false);
            until("the datagram is sent", || !kept.1.is_pending());
            assert_eq!(settle(kept.0, kept.1), (status::SUCCESS, 4));
            let mut seen = [0; 16];
            let (length, _) = program.recv_from(&mut seen).unwrap();
            assert_eq!(&seen[..length], b"sent");
            machine.network().hold_datagrams(true);
            let closed = send(b"closed");
            socket.close();
            assert_eq!(settle(closed.0, closed.1), (status::CANCELLED, 0));
            client.end();
        });
    });
}

#[test]
fn datagrams_wait_for_a_receive_that_can_be_cancelled() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
            assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
            let receive = || {
                let (io, memory) = (Io::new(), Memory::new(&[0; 4]));
                let (place, none) = (null_mut(), null_mut());
                let start = socket.datagram().receive_from.unwrap();
                // SAFETY: the arguments are those of WskReceiveFrom.
                let returned =
                    unsafe { start(socket.object, memory.buffer(), 0, place, none, null_mut(), none, io.irp()) };
                (returned, io, memory)
            };
            let (cancelled, kept, closed) = (receive(), receive(), receive());
            assert!(cancelled.1.is_pending() && cancelled.1.cancel());
            assert_eq!(settle(cancelled.0, cancelled.1), (status::CANCELLED, 0));
            let program = UdpSocket::bind("127.0.0.1:0").unwrap();
            program.send_to(b"kept", socket.local().unwrap()).unwrap();
            until("the datagram is there", || !kept.1.is_pending());
            assert_eq!(settle(kept.0, kept.1), (status::SUCCESS, 4));
            assert_eq!(*kept.2.bytes, *b"kept");
            socket.close();
            assert_eq!(settle(closed.0, closed.1), (status::CANCELLED, 0));
            client.end();
        });
    });
}
