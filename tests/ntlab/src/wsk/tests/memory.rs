//! The network in memory.

use std::time::Duration;

use wsk::sys;

use super::super::Weather;
use super::super::status::{self, Status};
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
            let mut end = Vec::new();
            while let bytes @ [_, ..] = &*other.receive(8).unwrap() {
                end.extend_from_slice(bytes);
            }
            assert_eq!(end, b"bye");
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
            // What was sent before the reset comes before it.
            for _ in 0..sent {
                assert_eq!(other.receive(1).unwrap(), b"x");
            }
            assert_eq!(other.receive(1).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            socket.close();
            client.end();
        });
    });
}

/// What the driver receives of 40 datagrams and of a stream of 300 bytes, in pieces, and how the stream ends.
fn weathered(seed: u64, slow: bool) -> (Vec<u8>, Vec<usize>, Status) {
    let machine = machine(seed);
    let peers = machine.network().use_memory(Weather::default());
    let pause = |number: usize| {
        if slow && number % 7 == 3 {
            std::thread::sleep(Duration::from_millis(4));
        }
    };
    run(&machine, || {
        let client = Client::new();
        let (other, listener) = (peers.bind(peer()).unwrap(), peers.listen(peer()).unwrap());
        let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        let stream = client.connected(peer());
        let program = listener.accept().unwrap();
        let to = socket.local().unwrap();
        let delay = Duration::from_hours(1);
        peers.set_weather(Weather { delay, window: 32, loses_one_in: 4, reorders: true, resets_one_in: 30 });
        for number in 0..40_u8 {
            pause(number.into());
            other.send_to(&[number], to).unwrap();
        }
        peers.set_weather(Weather { delay, ..Weather::default() });
        for _ in 0..4 {
            other.send_to(&[99], to).unwrap(); // nothing is left to overtake what was sent before
        }
        let mut arrived = Vec::new();
        while arrived.last() != Some(&99) {
            let (bytes, from) = socket.next_datagram();
            assert_eq!((bytes.len(), from), (1, peer()));
            arrived.extend(bytes);
        }
        peers.set_weather(Weather { delay, window: 32, resets_one_in: 30, ..Weather::default() });
        let sender = std::thread::spawn(move || {
            let sent = (0..300).step_by(50).try_for_each(|number| {
                if slow {
                    std::thread::sleep(Duration::from_millis(u64::from(number % 4 == 0) * 3));
                }
                program.send(&[b'x'; 50])
            });
            drop(sent);
            program
        });
        let mut pieces = Vec::new();
        let end = loop {
            pause(pieces.len());
            match stream.receive(20, 0).settled() {
                (status::SUCCESS, count) if pieces.iter().sum::<usize>() + count < 300 => pieces.push(count),
                (end, count) => {
                    pieces.push(count);
                    break end;
                }
            }
        };
        drop(sender.join().unwrap());
        assert!(peers.now() > Duration::from_mins(1), "hours pass in no time");
        stream.close();
        socket.close();
        client.end();
        (arrived, pieces, end)
    })
}

#[test]
fn the_same_seed_loses_overtakes_cuts_and_resets_the_same_however_fast_anybody_is() {
    let (mut lost, mut swapped, mut resets) = (0, 0, 0);
    let mut all = Vec::new();
    for seed in 0..6 {
        let first = weathered(seed, false);
        assert_eq!(first, weathered(seed, true), "seed {seed}");
        lost += 41 - first.0.len();
        swapped += usize::from(!first.0.is_sorted());
        resets += usize::from(first.2 == status::CONNECTION_RESET);
        assert!(!all.contains(&first), "seed {seed} is like another");
        all.push(first);
    }
    assert!(lost > 12 && swapped > 3 && resets > 0, "{lost} lost, {swapped} out of order, {resets} resets");
}

#[test]
fn datagrams_that_nobody_overtakes_come_all_the_same() {
    let machine = machine(3);
    let peers = machine.network().use_memory(Weather { reorders: true, ..Weather::default() });
    run(&machine, || {
        let client = Client::new();
        let other = peers.bind(peer()).unwrap();
        let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
        assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
        for number in 0..5_u8 {
            other.send_to(&[number], socket.local().unwrap()).unwrap();
        }
        let mut seen: Vec<_> = (0..5).flat_map(|_| socket.next_datagram().0).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        socket.close();
        client.end();
    });
}

#[test]
fn an_echo_sends_back_what_it_gets() {
    each_seed(|machine| {
        let weather = Weather { delay: Duration::from_millis(5), window: 7, ..Weather::default() };
        let peers = machine.network().use_memory(weather);
        let echo = peers.echo(peer()).unwrap();
        run(machine, || {
            let client = Client::new();
            let socket = client.connected(peer());
            let send = socket.send(b"there and back again");
            let receive = socket.receive(20, sys::FLAG_WAITALL);
            assert_eq!(send.settled(), (status::SUCCESS, 20));
            assert_eq!(receive.settle(), (status::SUCCESS, 20, b"there and back again".to_vec()));
            assert_eq!(socket.start_disconnect(None, 0).settled(), (status::SUCCESS, 0));
            assert_eq!(socket.receive(1, 0).settled(), (status::SUCCESS, 0));
            socket.close();
            client.end();
        });
        drop(echo);
        assert!(peers.listen(peer()).is_ok(), "the address is free again");
    });
}
