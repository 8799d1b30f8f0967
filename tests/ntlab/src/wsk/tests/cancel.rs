//! Cancellation, and its races with completion and close.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use super::super::option::codes::{SO_SNDBUF, SOL_SOCKET};
use super::super::status;
use super::{Client, Place, Sock, each_seed, machine, run, settle, settled};
use crate::call;

fn pair(client: &Client) -> (Sock, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = client.connected(listener.local_addr().unwrap());
    (socket, listener.accept().unwrap().0)
}

#[test]
fn a_cancelled_irp_ends_and_the_others_go_on() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let (first, second, third) = (socket.receive(4, 0), socket.receive(4, 0), socket.receive(4, 0));
            assert!(second.io.cancel());
            assert_eq!(second.settled(), (status::CANCELLED, 0));
            assert!(first.io.cancel());
            assert_eq!(first.settled(), (status::CANCELLED, 0));
            program.write_all(b"data").unwrap();
            assert_eq!(third.settle(), (status::SUCCESS, 4, b"data".to_vec()));
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_cancelled_accept_leaves_the_connection_for_the_next() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (listener, address) = client.listening();
            let mut places = [Place::default(), Place::default()];
            let (returned, io) = listener.start_accept(&mut places);
            assert!(io.cancel());
            assert_eq!(settle(returned, io), (status::CANCELLED, 0));
            let _program = TcpStream::connect(address).unwrap();
            let (socket, ..) = listener.accept();
            socket.close();
            listener.close();
            client.end();
        });
    });
}

#[test]
fn an_irp_that_is_cancelled_before_it_waits_ends_at_once() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, _program) = pair(&client);
            let (io, memory) = (super::Io::new(), super::Memory::new(&[0; 4]));
            assert!(!io.cancel());
            // SAFETY: the arguments are those of WskReceive.
            let returned = unsafe { socket.connection().receive.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
            assert_eq!(settle(returned, io), (status::CANCELLED, 0));
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_send_that_is_cancelled_half_way_resets_the_connection() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            socket.option(SOL_SOCKET, SO_SNDBUF, Some(16 * 1024)).unwrap();
            let send = socket.send(&vec![1; 16 * 1024 * 1024]);
            let next = socket.send(b"next");
            assert!(send.io.cancel());
            assert_eq!(send.settled(), (status::CANCELLED, 0));
            assert_eq!(next.settled(), (status::CONNECTION_ABORTED, 0));
            assert!(program.read_to_end(&mut Vec::new()).is_err());
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_disconnect_that_is_cancelled_behind_data_has_ended_nothing() {
    const BYTES: usize = 4 * 1024 * 1024;
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            socket.option(SOL_SOCKET, SO_SNDBUF, Some(16 * 1024)).unwrap();
            let send = socket.send(&vec![1; BYTES]);
            let disconnect = socket.start_disconnect(None, 0);
            assert!(disconnect.io.cancel());
            assert_eq!(disconnect.settled(), (status::CANCELLED, 0));
            let again = socket.start_disconnect(None, 0);
            let mut all = Vec::new();
            program.read_to_end(&mut all).expect("the stream ends without a reset");
            assert_eq!((all.len(), send.settled()), (BYTES, (status::SUCCESS, BYTES)));
            assert_eq!(again.settled(), (status::SUCCESS, 0));
            drop(program);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn cancellation_data_and_close_race_to_one_completion_each() {
    for seed in 0..40 {
        let machine = machine(seed);
        run(&machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let receives: Vec<_> = (0..32).map(|_| socket.receive(1, 0)).collect();
            let mut full = 0;
            thread::scope(|scope| {
                let writer = scope.spawn(move || {
                    let _ = program.write_all(&[5; 16]);
                    program
                });
                let (cancelled, kept) = receives.split_at(16);
                let handles: Vec<_> = cancelled.iter().map(|receive| receive.io.irp as usize).collect();
                let inner = &machine.inner;
                let other = scope.spawn(move || {
                    let cancel: extern "win64" fn(usize) -> u8 = super::import("IoCancelIrp");
                    call::guard(inner, || {
                        for irp in handles {
                            cancel(irp);
                        }
                    })
                    .is_ok()
                });
                if seed % 2 == 0 {
                    other.join().unwrap();
                    let (returned, close) = socket.start_close();
                    assert_eq!(settled(returned, close), status::SUCCESS);
                    assert!(kept.iter().all(|receive| !receive.io.is_pending()));
                } else {
                    let (returned, close) = socket.start_close();
                    other.join().unwrap();
                    assert_eq!(settled(returned, close), status::SUCCESS);
                }
                writer.join().unwrap();
            });
            for receive in receives {
                match receive.settled() {
                    (status::SUCCESS, 1) => full += 1,
                    (status::CANCELLED, 0) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(full <= 16);
            client.end();
        });
    }
}

#[test]
fn ending_a_hundred_thousand_irps_takes_linear_time() {
    let machine = machine(2);
    run(&machine, || {
        let client = Client::new();
        let (socket, _program) = pair(&client);
        let time = |count: usize| {
            let receives: Vec<_> = (0..count).map(|_| socket.receive(1, 0)).collect();
            let before = Instant::now();
            assert!(receives.iter().all(|receive| receive.io.cancel()));
            assert!(receives.into_iter().all(|receive| receive.settled() == (status::CANCELLED, 0)));
            before.elapsed()
        };
        let (some, many) = (time(10_000), time(100_000));
        assert!(many < some * 40, "{some:?} for 10,000, {many:?} for 100,000");
        socket.close();
        client.end();
    });
}

#[test]
fn ten_thousand_sockets_close_with_an_irp_each() {
    let machine = machine(2);
    run(&machine, || {
        let client = Client::new();
        let sockets: Vec<_> = (0..10_000)
            .map(|_| {
                // An address of their own: a program that connects to a port which was just given back at 127.0.0.1 would reach
                // one of so many listeners, and be accepted.
                let (listener, _) = client.listening_at("127.77.0.1:0");
                let mut places = Box::new([Place::default(), Place::default()]);
                let accept = listener.start_accept(&mut places);
                (listener, places, accept)
            })
            .collect();
        assert_eq!(machine.network().counters().sockets, 10_000);
        let closes: Vec<_> = sockets.iter().map(|(listener, ..)| listener.start_close()).collect();
        for (_, _places, (returned, io)) in sockets {
            assert_eq!(settle(returned, io), (status::CANCELLED, 0));
        }
        for (returned, close) in closes {
            assert_eq!(settled(returned, close), status::SUCCESS);
        }
        client.end();
    });
}
