//! The network in memory.

use std::time::Duration;

use wsk::sys;

use super::super::{Weather, status};
use super::{Client, Io, Memory, Place, Sock, each_seed, machine, run, settle};

fn peer() -> std::net::SocketAddr {
    "127.0.0.1:7".parse().unwrap()
}

impl Sock {
    /// The next datagram, of at most 4 bytes, and its sender.
    fn next_datagram(self) -> (Vec<u8>, std::net::SocketAddr) {
        let (io, memory, mut from) = (Io::new(), Memory::new(&[0; 4]), Place::default());
        let (none, nothing) = (std::ptr::null_mut(), std::ptr::null_mut());
        let receive = self.datagram().receive_from.unwrap();
        // SAFETY: the arguments are those of WskReceiveFrom.
        let returned = unsafe {
            receive(self.object, memory.buffer(), 0, from.pointer(), none, std::ptr::null_mut(), nothing, io.irp())
        };
        let (status, count) = settle(returned, io);
        assert_eq!(status, status::SUCCESS);
        (memory.bytes[..count].to_vec(), from.read(self.family))
    }
}

#[test]
fn a_stream_keeps_its_order_through_delays_and_a_window_of_three_bytes() {
    each_seed(|machine| {
        let weather = Weather { delay: Duration::from_millis(2), window: 3, ..Weather::default() };
        let peers = machine.network().use_memory(weather);
        run(machine, || {
            let client = Client::new();
            let listener = peers.listen(peer()).unwrap();
            let socket = client.connected(peer());
            let other = listener.accept().unwrap();
            let send = socket.send(b"hello, memory");
            let mut all = Vec::new();
            while all.len() < 13 {
                let bytes = other.receive(2).unwrap();
                assert!((1..=2).contains(&bytes.len()));
                all.extend(bytes);
            }
            assert_eq!(all, b"hello, memory");
            assert_eq!(send.settled(), (status::SUCCESS, 13));
            let receive = socket.receive(4, sys::FLAG_WAITALL);
            other.send(b"back").unwrap();
            assert_eq!(receive.settle(), (status::SUCCESS, 4, b"back".to_vec()));
            let disconnect = socket.start_disconnect(Some(b"bye"), 0);
            assert_eq!(other.receive(8).unwrap(), b"bye");
            assert_eq!(other.receive(8).unwrap(), b"");
            assert_eq!(disconnect.settled(), (status::SUCCESS, 0));
            other.shut_down();
            assert_eq!(socket.receive(1, 0).settled(), (status::SUCCESS, 0));
            socket.close();
            assert_eq!(machine.network().counters().resets, 0);
            client.end();
        });
    });
}

#[test]
fn a_driver_accepts_peers_in_memory_and_is_told_of_their_resets() {
    each_seed(|machine| {
        let peers = machine.network().use_memory(Weather::default());
        run(machine, || {
            let client = Client::new();
            let alone = client.bound();
            assert_eq!(alone.connect(peer()), status::CONNECTION_REFUSED);
            alone.close();
            let (listener, address) = client.listening();
            assert!(peers.listen(address).is_err());
            let other = peers.connect(address).unwrap();
            let (socket, local, remote) = listener.accept();
            assert_eq!((local, remote), (address, other.local().unwrap()));
            let receive = socket.receive(1, 0);
            other.reset();
            assert_eq!(receive.settled(), (status::CONNECTION_RESET, 0));
            assert_eq!(socket.send(b"x").settled(), (status::CONNECTION_RESET, 0));
            socket.close();
            let closed = peers.connect(address).unwrap();
            listener.close();
            assert!(closed.receive(1).is_err());
            client.end();
        });
    });
}

#[test]
fn a_connection_may_be_reset_at_any_send() {
    each_seed(|machine| {
        let peers = machine.network().use_memory(Weather { resets_one_in: 4, ..Weather::default() });
        run(machine, || {
            let client = Client::new();
            let listener = peers.listen(peer()).unwrap();
            let socket = client.connected(peer());
            let other = listener.accept().unwrap();
            let mut sent = 0;
            let end = loop {
                match socket.send(b"x").settled().0 {
                    status::SUCCESS => sent += 1,
                    end => break end,
                }
                assert!(sent < 1000);
            };
            assert_eq!(end, status::CONNECTION_RESET);
            assert_eq!(other.receive(1).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn datagrams_are_lost_and_change_their_order() {
    let (mut lost, mut swapped) = (0, 0);
    for seed in 0..8 {
        let machine = machine(seed);
        let weather =
            Weather { delay: Duration::from_millis(3), loses_one_in: 4, reorders: true, ..Weather::default() };
        let peers = machine.network().use_memory(weather);
        run(&machine, || {
            let client = Client::new();
            let other = peers.bind(peer()).unwrap();
            let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
            assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
            let to = socket.local().unwrap();
            for number in 0..16_u8 {
                other.send_to(&[number], to).unwrap();
            }
            peers.set_weather(Weather::default());
            std::thread::sleep(Duration::from_millis(4));
            other.send_to(&[99], to).unwrap();
            let mut seen = Vec::new();
            while seen.last() != Some(&99) {
                let (bytes, from) = socket.next_datagram();
                assert_eq!((bytes.len(), from), (1, peer()));
                seen.extend(bytes);
            }
            lost += 17 - seen.len();
            swapped += usize::from(!seen.is_sorted());
            socket.close();
            client.end();
        });
    }
    assert!(lost > 8 && swapped > 4, "{lost} lost, {swapped} out of order");
}
