//! Control of clients and sockets, and the functions that do two things at once.

use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ptr::null_mut;

use wsk::sys;

use super::super::control::{
    CACHE_SD, RELEASE_SD, SET_STATIC_EVENT_CALLBACKS, TDI_BEHAVIOR, TRANSPORT_LIST_CHANGE, TRANSPORT_LIST_QUERY,
    Transport,
};
use super::super::events::{Control, RECEIVE};
use super::super::option::codes::{
    SIO_WSK_QUERY_IDEAL_SEND_BACKLOG, SIO_WSK_QUERY_INSPECT_ID, SIO_WSK_QUERY_RECEIVE_BACKLOG,
    SIO_WSK_SET_REMOTE_ADDRESS, SIO_WSK_SET_SENDTO_ADDRESS,
};
use super::super::rules;
use super::super::status::{self, Status};
use super::{Client, Io, Memory, Place, Sock, each_seed, machine, provoke, run, settle, settled};

impl Client {
    /// `WskControlClient` without an IRP, and the number of bytes returned.
    pub fn control<I, O>(&self, code: u32, input: Option<&mut I>, output: Option<&mut O>) -> (Status, usize) {
        let (input_size, output_size) = (
            input.as_ref().map_or(0, |input| size_of_val(&**input)),
            output.as_ref().map_or(0, |output| size_of_val(&**output)),
        );
        let input: *mut c_void = input.map_or(null_mut(), |input| (&raw mut *input).cast());
        let output: *mut c_void = output.map_or(null_mut(), |output| (&raw mut *output).cast());
        let mut returned = 0;
        let control = self.dispatch().control_client.unwrap();
        // SAFETY: the arguments are those of WskControlClient.
        let status = unsafe {
            control(self.npi.client, code, input_size, input, output_size, output, &raw mut returned, null_mut())
        };
        (status, returned)
    }

    fn start_change(&self, code: u32) -> (Status, Io) {
        let io = Io::new();
        let control = self.dispatch().control_client.unwrap();
        // SAFETY: the arguments are those of WskControlClient.
        let returned = unsafe { control(self.npi.client, code, 0, null_mut(), 0, null_mut(), null_mut(), io.irp()) };
        (returned, io)
    }
}

impl Sock {
    fn connect_ex(self, remote: SocketAddr, bytes: &[u8], flags: u32) -> (Status, usize) {
        let (mut place, memory, io) = (Place::of(remote), Memory::new(bytes), Io::new());
        // SAFETY: the arguments are those of WskConnectEx.
        let returned = unsafe {
            self.connection().connect_ex.unwrap()(self.object, place.pointer(), memory.buffer(), flags, io.irp())
        };
        settle(returned, io)
    }

    /// Sends datagrams to an address, or to the one that is fixed.
    fn send_messages(self, datagrams: &[&[u8]], remote: Option<SocketAddr>) -> (Status, usize) {
        let memories: Vec<_> = datagrams.iter().map(|bytes| Memory::new(bytes)).collect();
        let mut list: Vec<_> =
            memories.iter().map(|memory| sys::BufList { next: null_mut(), buffer: *memory.buffer }).collect();
        for index in 1..list.len() {
            let next = &raw mut list[index];
            list[index - 1].next = next;
        }
        let (mut place, io) = (remote.map(Place::of), Io::new());
        let remote = place.as_mut().map_or(null_mut(), Place::pointer);
        // SAFETY: the arguments are those of WskSendMessages.
        let returned = unsafe {
            self.datagram().send_messages.unwrap()(self.object, list.as_mut_ptr(), 0, remote, 0, null_mut(), io.irp())
        };
        settle(returned, io)
    }
}

#[test]
fn the_transports_are_listed_once_their_size_is_known() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        let size = size_of::<Transport>() * 4;
        assert_eq!(client.control::<u8, u8>(TRANSPORT_LIST_QUERY, None, None), (status::BUFFER_OVERFLOW, size));
        let nothing = sys::Guid { data1: 0, data2: 0, data3: 0, data4: [0; 8] };
        let blank = Transport { version: 0, kind: 0, protocol: 0, family: 0, provider: nothing };
        let mut list = [blank; 4];
        assert_eq!(client.control::<u8, _>(TRANSPORT_LIST_QUERY, None, Some(&mut list)), (status::SUCCESS, size));
        let udp = |found: &&Transport| (found.kind, found.protocol) == (sys::SOCK_DGRAM, sys::IPPROTO_UDP);
        assert_eq!(list.iter().filter(udp).count(), 2);
        assert_eq!(client.control(TDI_BEHAVIOR, Some(&mut 1_u32), None::<&mut u8>).0, status::SUCCESS);
        assert_eq!(client.control::<u8, u8>(99, None, None).0, status::NOT_SUPPORTED);
        client.end();
    });
}

#[test]
fn news_of_the_transports_waits_for_a_change_a_cancellation_or_the_deregistration() {
    each_seed(|machine| {
        run(machine, || {
            let mut client = Client::new();
            let changes: Vec<_> = (0..3).map(|_| client.start_change(TRANSPORT_LIST_CHANGE)).collect();
            assert!(changes.iter().all(|(returned, io)| *returned == status::PENDING && io.is_pending()));
            assert!(changes[1].1.cancel());
            machine.network().change_transports();
            let ends: Vec<_> = changes.into_iter().map(|(returned, io)| settled(returned, io)).collect();
            assert_eq!(ends, [status::SUCCESS, status::CANCELLED, status::SUCCESS]);
            let (returned, io) = client.start_change(TRANSPORT_LIST_QUERY);
            assert_eq!(settled(returned, io), status::INVALID_PARAMETER);
            let (returned, io) = client.start_change(TRANSPORT_LIST_CHANGE);
            super::release(&mut client.registration);
            super::deregister(&mut client.registration);
            assert_eq!(settled(returned, io), status::CANCELLED);
        });
    });
}

#[test]
fn a_security_descriptor_is_cached_until_it_is_released() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        let (mut original, mut cached) = (0x1000_usize, 0_usize);
        assert_eq!(client.control(CACHE_SD, Some(&mut original), Some(&mut cached)).0, status::SUCCESS);
        assert!(cached != 0 && cached != original);
        assert_eq!(machine.network().counters().descriptors, 1);
        assert_eq!(client.control(RELEASE_SD, Some(&mut cached), None::<&mut u8>).0, status::SUCCESS);
        assert_eq!(machine.network().counters().descriptors, 0);
        client.end();
    });
}

#[test]
fn only_a_cached_security_descriptor_is_released() {
    let machine = machine(1);
    provoke(&machine, &rules::DESCRIPTOR_UNKNOWN, || {
        let client = Client::new();
        client.control(RELEASE_SD, Some(&mut 0x1000_usize), None::<&mut u8>);
    });
}

#[test]
fn static_callbacks_are_set_before_the_first_socket_and_stay() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        let mut control = Control { npi: (&raw const client).cast(), mask: RECEIVE };
        let mut set = || client.control(SET_STATIC_EVENT_CALLBACKS, Some(&mut control), None::<&mut u8>).0;
        assert_eq!(set(), status::SUCCESS);
        let socket = client.socket(sys::FLAG_CONNECTION_SOCKET);
        assert_eq!(set(), status::INVALID_DEVICE_STATE);
        socket.close();
        client.end();
    });
}

#[test]
fn the_backlogs_of_a_connection_can_be_asked_for() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = client.bound();
        assert_eq!(socket.ask::<usize>(SIO_WSK_QUERY_RECEIVE_BACKLOG), Err(status::INVALID_DEVICE_STATE));
        assert_eq!(socket.connect(listener.local_addr().unwrap()), status::SUCCESS);
        listener.accept().unwrap().0.write_all(b"12345").unwrap();
        super::until("it has arrived", || socket.ask(SIO_WSK_QUERY_RECEIVE_BACKLOG) == Ok(5_usize));
        assert_eq!(socket.ask(SIO_WSK_QUERY_IDEAL_SEND_BACKLOG), Ok(64 * 1024_usize));
        assert_eq!(socket.query::<u64>(SIO_WSK_QUERY_INSPECT_ID), Err(status::INVALID_DEVICE_REQUEST));
        assert_eq!(socket.ask::<u64>(SIO_WSK_QUERY_INSPECT_ID), Err(status::INVALID_PARAMETER));
        assert_eq!(socket.ask::<u64>(1), Err(status::NOT_SUPPORTED));
        socket.close();
        client.end();
    });
}

#[test]
fn a_connect_can_send_at_once() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let peer = listener.local_addr().unwrap();
            let socket = client.bound();
            assert_eq!(socket.connect_ex(peer, b"early", 1), (status::INVALID_PARAMETER, 0));
            assert_eq!(socket.connect_ex(peer, &vec![0; 65_536], 0), (status::BUFFER_OVERFLOW, 0));
            assert_eq!(socket.connect_ex(peer, b"early", 0), (status::SUCCESS, 0));
            let mut bytes = [0; 5];
            listener.accept().unwrap().0.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"early");
            socket.close();
            client.end();
        });
    });
}

#[test]
fn several_datagrams_go_in_one_call_and_to_a_fixed_address() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let program = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = program.local_addr().unwrap();
            let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
            assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
            assert_eq!(socket.send_messages(&[b"a"], None), (status::INVALID_PARAMETER, 0));
            assert_eq!(socket.send_messages(&[b"one", b"three"], Some(to)), (status::SUCCESS, 8));
            assert_eq!(socket.fix_address(SIO_WSK_SET_SENDTO_ADDRESS, Some(to)), status::SUCCESS);
            assert_eq!(socket.send_messages(&[b"four"], None), (status::SUCCESS, 4));
            assert_eq!(socket.fix_address(SIO_WSK_SET_REMOTE_ADDRESS, Some(to)), status::SUCCESS);
            let mut bytes = [0; 16];
            for expected in [b"one".as_slice(), b"three", b"four"] {
                let count = program.recv(&mut bytes).unwrap();
                assert_eq!(&bytes[..count], expected);
            }
            socket.close();
            client.end();
        });
    });
}
