//! Data, datagrams, disconnects and backlogs, and enabling and disabling their callbacks.

use std::io::Write;
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wsk::sys;

use super::super::super::events::{ACCEPT, DISABLE, DISCONNECT, RECEIVE, RECEIVE_FROM, SEND_BACKLOG};
use super::super::super::{Level, Options, status};
use super::super::{Client, Io, each_seed, machine, run, set_options, settled, until};
use super::{Call, Context, contents, settled_disable};

#[test]
fn data_is_indicated_in_order_then_the_disconnect() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            let (socket, mut program) = client.pair_with(&context);
            assert_eq!(socket.events(RECEIVE | DISCONNECT), status::SUCCESS);
            let data: Vec<u8> = (0..=255).cycle().take(100_000).collect();
            program.write_all(&data).unwrap();
            program.shutdown(Shutdown::Write).unwrap();
            until("the disconnect is indicated", || context.has(&Call::Disconnect(false)));
            assert_eq!(context.bytes(), data);
            assert_eq!(machine.network().counters().bytes_received, 100_000);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_peers_reset_is_indicated_as_an_abortive_disconnect() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            let (socket, program) = client.pair_with(&context);
            assert_eq!(socket.events(DISCONNECT), status::SUCCESS);
            socket2::SockRef::from(&program).set_linger(Some(Duration::ZERO)).unwrap();
            drop(program);
            until("the reset is indicated", || context.has(&Call::Disconnect(true)));
            socket.close();
            assert_eq!(context.count(), 1);
            client.end();
        });
    });
}

#[test]
fn data_that_is_not_accepted_waits_for_a_receive() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            context.answer(|_| status::DATA_NOT_ACCEPTED);
            let (socket, mut program) = client.pair_with(&context);
            assert_eq!(socket.events(RECEIVE), status::SUCCESS);
            program.write_all(b"first").unwrap();
            until("data is indicated", || context.count() == 1);
            program.write_all(b"second").unwrap();
            thread::sleep(Duration::from_millis(20));
            assert_eq!(context.count(), 1);
            assert_eq!(socket.receive(3, 0).settle(), (status::SUCCESS, 3, b"fir".to_vec()));
            until("the rest is indicated", || context.count() == 2);
            context.answer(|_| status::SUCCESS);
            // A receive of nothing only says that the driver wants to be called again.
            assert_eq!(socket.receive(0, 0).settled(), (status::SUCCESS, 0));
            until("all is accepted", || context.bytes().ends_with(b"stsecond"));
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_part_that_is_not_accepted_is_indicated_again_after_a_receive() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            *context.accepts.lock() = Some(2);
            let (socket, mut program) = client.pair_with(&context);
            assert_eq!(socket.events(RECEIVE), status::SUCCESS);
            program.write_all(b"abcdef").unwrap();
            until("data is indicated", || context.count() == 1);
            assert_eq!(context.bytes(), b"abcdef");
            until("it is settled", || machine.network().counters().bytes_received == 2);
            *context.accepts.lock() = None;
            assert_eq!(socket.receive(1, 0).settle(), (status::SUCCESS, 1, b"c".to_vec()));
            until("the rest is indicated", || context.bytes() == b"abcdefdef");
            socket.close();
            client.end();
        });
    });
}

#[test]
fn a_list_may_be_released_before_the_callback_that_retains_it_has_returned() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            let (told, lists) = mpsc::channel();
            let (go_on, gone_on) = mpsc::channel();
            context.answer(move |call| {
                let Call::Receive(_, list, _) = call else { panic!("{call:?}") };
                told.send(*list).unwrap();
                gone_on.recv().unwrap();
                status::PENDING
            });
            let (socket, mut program) = client.pair_with(&context);
            assert_eq!(socket.events(RECEIVE), status::SUCCESS);
            program.write_all(b"q").unwrap();
            assert_eq!(socket.release(lists.recv().unwrap()), status::SUCCESS);
            go_on.send(()).unwrap();
            until("the callback has returned", || context.calls.lock().len() == 1);
            socket.close();
            assert_eq!(machine.network().counters().retained, 0);
            client.end();
        });
    });
}

#[test]
fn a_list_that_is_retained_stays_until_it_is_released() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            context.answer(|_| status::PENDING);
            let (socket, mut program) = client.pair_with(&context);
            assert_eq!(socket.events(RECEIVE), status::SUCCESS);
            program.write_all(b"kept").unwrap();
            until("the list is retained", || machine.network().counters().retained == 1);
            let Call::Receive(_, list, _) = context.calls.lock()[0] else { panic!("no data") };
            // SAFETY: the list is the driver's until it is released.
            assert_eq!(contents(unsafe { &(*(list as *const sys::DataIndication)).buffer })[0], b'k');
            assert_eq!(socket.release(list), status::SUCCESS);
            assert_eq!(machine.network().counters().retained, 0);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn datagrams_are_indicated_and_those_not_accepted_wait_until_the_event_is_enabled_again() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let context = Context::new();
            let socket = client.socket_with(sys::FLAG_DATAGRAM_SOCKET, &context);
            assert_eq!(socket.bind("127.0.0.1:0"), status::SUCCESS);
            assert_eq!(socket.events(RECEIVE_FROM), status::SUCCESS);
            let program = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = socket.local().unwrap();
            program.send_to(b"one", to).unwrap();
            until("it is indicated", || context.count() == 1);
            let from = program.local_addr().unwrap();
            let seen = context.calls.lock().drain(..).next().unwrap();
            assert!(matches!(seen, Call::Datagrams(Some(list), _) if list == [(b"one".to_vec(), from)]));
            context.answer(|_| status::DATA_NOT_ACCEPTED);
            program.send_to(b"two", to).unwrap();
            until("it is indicated", || context.count() == 1);
            program.send_to(b"three", to).unwrap();
            context.answer(|_| status::SUCCESS);
            until("the event is enabled again", || {
                socket.events(RECEIVE_FROM) == status::SUCCESS && context.count() >= 2
            });
            let all = || {
                let calls = context.calls.lock();
                let lists = calls[1..]
                    .iter()
                    .filter_map(|call| if let Call::Datagrams(list, _) = call { list.clone() } else { None });
                lists.flatten().map(|(bytes, _)| bytes).collect::<Vec<_>>()
            };
            until("nothing is lost", || all() == [b"two".to_vec(), b"three".to_vec()]);
            socket.close();
            client.end();
        });
    });
}

#[test]
fn disabling_waits_for_a_running_callback_with_an_irp_and_says_so_without() {
    let machine = machine(5);
    set_options(&machine, Options { level: Level::Passive, ..Options::default() });
    run(&machine, || {
        let client = Client::new();
        let context = Context::new();
        let (inside, leave) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (seen, told) = (Arc::clone(&inside), Arc::clone(&leave));
        context.answer(move |_| {
            seen.store(true, Ordering::SeqCst);
            until("the callback may return", || told.load(Ordering::SeqCst));
            status::SUCCESS
        });
        let (socket, mut program) = client.pair_with(&context);
        assert_eq!(socket.events(RECEIVE), status::SUCCESS);
        program.write_all(b"x").unwrap();
        until("the callback runs", || inside.load(Ordering::SeqCst));
        assert_eq!(socket.events(DISABLE | RECEIVE), status::EVENT_PENDING);
        let io = Io::new();
        assert_eq!(socket.events_with(DISABLE | RECEIVE, Some(&io)), status::PENDING);
        let (returned, close) = socket.start_close();
        assert_eq!(returned, status::PENDING);
        assert!(io.is_pending() && close.is_pending());
        leave.store(true, Ordering::SeqCst);
        assert_eq!(settled(status::PENDING, io), status::SUCCESS);
        assert_eq!(settled(returned, close), status::SUCCESS);
        assert_eq!(context.count(), 1);
        client.end();
    });
}

#[test]
fn events_are_enabled_without_an_irp_and_disabled_one_by_one() {
    let machine = machine(6);
    run(&machine, || {
        let client = Client::new();
        let context = Context::new();
        let (socket, _program) = client.pair_with(&context);
        let io = Io::new();
        let returned = socket.events_with(RECEIVE, Some(&io));
        assert_eq!(settled(returned, io), status::INVALID_PARAMETER);
        assert_eq!(socket.events(RECEIVE | ACCEPT), status::INVALID_PARAMETER);
        assert_eq!(socket.events(RECEIVE | DISCONNECT), status::SUCCESS);
        assert_eq!(socket.events(DISABLE | RECEIVE | DISCONNECT), status::INVALID_PARAMETER);
        assert_eq!(socket.events(DISABLE | RECEIVE), status::SUCCESS);
        assert_eq!(settled_disable(socket, DISCONNECT), status::SUCCESS);
        let bare = client.connected(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        assert_eq!(bare.events(RECEIVE), status::INVALID_PARAMETER);
        bare.close();
        socket.close();
        client.end();
    });
}

#[test]
fn a_send_that_waits_raises_the_ideal_backlog() {
    let machine = machine(7);
    run(&machine, || {
        let client = Client::new();
        let context = Context::new();
        let (socket, mut program) = client.pair_with(&context);
        assert_eq!(socket.events(SEND_BACKLOG), status::SUCCESS);
        let send = socket.send(&vec![7; 8 << 20]);
        until("the backlog is indicated", || context.count() != 0);
        assert!(matches!(context.calls.lock()[0], Call::Backlog(size) if size > 64 * 1024));
        let reader = thread::spawn(move || std::io::copy(&mut program, &mut std::io::sink()).unwrap_or(0));
        assert_eq!(send.settled(), (status::SUCCESS, 8 << 20));
        socket.close();
        reader.join().unwrap();
        client.end();
    });
}
