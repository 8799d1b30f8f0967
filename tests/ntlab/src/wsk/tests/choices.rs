//! The choices that the documentation leaves to the provider, and datagrams.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::thread;

use wsk::sys;

use super::super::{Level, Options, Order, Take, When, status};
use super::sockets::pair;
use super::{Client, Io, Memory, Place, each_seed, machine, run, set_options, settle};

#[test]
fn each_choice_of_the_provider_can_be_forced() {
    for when in [When::Inline, When::Later] {
        for level in [Level::Passive, Level::Dispatch] {
            let machine = machine(8);
            set_options(&machine, Options { when, level, order: Order::Finished, ..Options::default() });
            run(&machine, || {
                let client = Client::new();
                let (socket, mut program) = pair(&client);
                let seen = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(99));
                let (io, memory) = (Io::new(), Memory::new(b"x"));
                let (level_seen, caller) = (std::sync::Arc::clone(&seen), thread::current().id());
                let inline = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
                let inline_seen = std::sync::Arc::clone(&inline);
                io.then(move || {
                    level_seen.store(crate::irql::current(), std::sync::atomic::Ordering::SeqCst);
                    inline_seen.store(thread::current().id() == caller, std::sync::atomic::Ordering::SeqCst);
                });
                // SAFETY: the arguments are those of WskSend.
                let returned =
                    unsafe { socket.connection().send.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
                assert_eq!(settle(returned, io), (status::SUCCESS, 1));
                let level_seen = seen.load(std::sync::atomic::Ordering::SeqCst);
                assert_eq!(level_seen, if level == Level::Dispatch { 2 } else { 0 });
                assert_eq!(inline.load(std::sync::atomic::Ordering::SeqCst), when == When::Inline);
                program.read_exact(&mut [0]).unwrap();
                socket.close();
                client.end();
            });
        }
    }
}

#[test]
fn receives_may_take_less_than_there_is_and_lose_nothing() {
    each_seed(|machine| {
        set_options(machine, Options { take: Take::Any, ..Options::default() });
        run(machine, || {
            let client = Client::new();
            let (socket, mut program) = pair(&client);
            let data: Vec<u8> = (0..=255).collect();
            program.write_all(&data).unwrap();
            drop(program);
            let (mut all, mut calls) = (Vec::new(), 0);
            loop {
                let (status, count, bytes) = socket.receive(8, 0).settle();
                assert_eq!(status, status::SUCCESS);
                if count == 0 {
                    break;
                }
                all.extend(bytes);
                calls += 1;
            }
            assert_eq!(all, data);
            assert!(calls > 32);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn datagrams_go_and_come_whole() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let program = UdpSocket::bind("127.0.0.1:0").unwrap();
            let socket = client.socket(sys::FLAG_DATAGRAM_SOCKET);
            assert_eq!(socket.bind("0.0.0.0:0"), status::SUCCESS);
            let local = socket.local().unwrap();
            let mut to = Place::of(program.local_addr().unwrap());
            let (io, memory) = (Io::new(), Memory::new(b"a datagram"));
            let send = socket.datagram().send_to.unwrap();
            // SAFETY: the arguments are those of WskSendTo.
            let returned =
                unsafe { send(socket.object, memory.buffer(), 0, to.pointer(), 0, std::ptr::null_mut(), io.irp()) };
            assert_eq!(settle(returned, io), (status::SUCCESS, 10));
            let mut seen = [0; 64];
            assert_eq!(program.recv_from(&mut seen).unwrap(), (10, local));

            for (length, status) in [(16, status::SUCCESS), (4, status::BUFFER_OVERFLOW)] {
                let (io, memory) = (Io::new(), Memory::new(&vec![0; length]));
                let (mut from, mut control, mut flags) = (Place::default(), 9, 9);
                let receive = socket.datagram().receive_from.unwrap();
                // SAFETY: the arguments are those of WskReceiveFrom.
                let returned = unsafe {
                    receive(
                        socket.object,
                        memory.buffer(),
                        0,
                        from.pointer(),
                        &raw mut control,
                        std::ptr::null_mut(),
                        &raw mut flags,
                        io.irp(),
                    )
                };
                program.send_to(b"answer", local).unwrap();
                assert_eq!(settle(returned, io), (status, length.min(6)));
                assert_eq!(from.read(sys::AF_INET), program.local_addr().unwrap());
                assert_eq!((control, flags != 0), (0, status != status::SUCCESS));
            }
            socket.close();
            client.end();
        });
    });
}
