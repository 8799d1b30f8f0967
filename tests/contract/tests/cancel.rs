//! Cancellation as a process asks for it: `CancelIoEx`, `CancelIo`, the end of a thread.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, DNS, Lab, PATIENCE, TRANSPORT,
    abi::{Cleanup, DEVICE_PATH, Guid, Ioctl, Kind, Linger, SocketHandle},
    check::{STATUS_CANCELLED, deregistered, references},
    eventually,
    raw::well_formed,
    started,
    traffic::{Connection, accepted, connected, listening, stuck_send},
};
use ntlab::{Handle, Request, wsk::ProviderState};
use std::{sync::mpsc, thread};
use wskctl::Socket;
use zerocopy::IntoBytes;

/// A request that stays pending, as the process issues it.
fn issue(handle: &Handle, ioctl: Ioctl, socket: &Socket) -> Request {
    let (input, output) = well_formed(ioctl, socket.handle());
    let request = handle.ioctl(ioctl as u32, &input, vec![0; output]);
    assert!(!request.is_complete(), "{ioctl:?} has nothing to wait for");
    request
}

/// Ended, cancelled, with nothing.
#[track_caller]
fn cancelled(request: &Request) {
    let completion = request.wait(PATIENCE).expect("it ends");
    assert_eq!((completion.status.0, completion.information), (STATUS_CANCELLED, 0));
}

/// contract: X-1
#[test]
fn cancel_io_and_the_end_of_a_thread_cancel_what_that_thread_issued_and_nothing_else() {
    let lab = Lab::start();
    let process = lab.process();
    let client = process.open();
    started(&client, APPLICATION);
    let Connection { socket, mut peer } = connected(&client, APPLICATION);
    let (listener, address) = listening(&client, APPLICATION);
    let user = process.device().process();
    let handle = user.open(DEVICE_PATH).unwrap();

    let mine = issue(&handle, Ioctl::Receive, &socket);
    thread::scope(|scope| {
        scope.spawn(|| {
            let own = [issue(&handle, Ioctl::Receive, &socket), issue(&handle, Ioctl::Accept, &listener)];
            assert_eq!(handle.cancel_own(), 2, "CancelIo");
            own.iter().for_each(cancelled);

            let left = [issue(&handle, Ioctl::Receive, &socket), issue(&handle, Ioctl::Accept, &listener)];
            user.exit_thread();
            for request in &left {
                assert!(request.is_complete(), "a thread is gone when its requests are");
                cancelled(request);
            }
        });
    });
    assert!(!mine.is_complete(), "another thread's request goes on");
    peer.send(b"mine").unwrap();
    assert_eq!(mine.wait(PATIENCE).unwrap().output, b"mine");
    // The sockets are as they were.
    let mut accept = listener.begin_accept();
    drop(contract::traffic::accepted(&mut accept, address));

    let ledger = client.ledger().unwrap();
    assert_eq!((ledger.tally(Kind::Receive).cancelled, ledger.tally(Kind::Accept).cancelled), (2, 2));
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// A request that is cancelled before the driver gets it.
fn issue_cancelled(handle: &Handle, ioctl: Ioctl, socket: SocketHandle) -> Request {
    let (input, output) = well_formed(ioctl, socket);
    handle.ioctl_cancelled(ioctl as u32, &input, vec![0; output])
}

/// contract: X-1, CARD-3
#[test]
fn a_request_on_a_socket_that_is_cancelled_before_the_driver_gets_it_does_not_wait() {
    let lab = Lab::start();
    let process = lab.process();
    let client = process.open();
    started(&client, APPLICATION);
    client.startup_namespace(DNS).unwrap().keep();
    lab.machine().network().hold_look_ups(true);
    let Connection { socket, mut peer } = connected(&client, APPLICATION);
    let (listener, address) = listening(&client, APPLICATION);
    let handle = process.device().process().open(DEVICE_PATH).unwrap();
    // The first accept is out at WSK, the next waits in the driver.
    cancelled(&issue_cancelled(&handle, Ioctl::Accept, listener.handle()));
    let mut accept = listener.begin_accept();
    for (ioctl, on) in [
        (Ioctl::Accept, &listener),
        (Ioctl::Events, &socket),
        (Ioctl::Receive, &socket),
        (Ioctl::NameToAddresses, &socket),
    ] {
        cancelled(&issue_cancelled(&handle, ioctl, on.handle()));
    }
    // The sockets are as they were, and somebody else may wait for events.
    let mut event = socket.begin_events(contract::abi::Events::READ);
    peer.send(b"here").unwrap();
    event.wait(PATIENCE).unwrap();
    assert_eq!(socket.receive(8).unwrap(), b"here");
    drop(accepted(&mut accept, address));
    // A close that waits for its peer: only the waiting ends.
    socket.set_linger(Linger { l_onoff: 1, l_linger: 600 }).unwrap();
    cancelled(&issue_cancelled(&handle, Ioctl::Close, socket.handle()));
    assert_eq!(client.ledger().unwrap().sockets.lingering, 1);
    let ledger = client.ledger().unwrap();
    for kind in [Kind::Events, Kind::Receive, Kind::NameToAddresses, Kind::Close] {
        assert_eq!((ledger.tally(kind).cancelled, ledger.tally(kind).pending()), (1, 0), "{kind:?}");
    }
    client.cleanup(APPLICATION).unwrap();
    client.cleanup_namespace(DNS).unwrap();
    deregistered(&client);
}

/// contract, WSP-3
#[test]
fn a_startup_and_a_cleanup_that_are_cancelled_before_the_driver_gets_them_do_not_wait() {
    let lab = Lab::start();
    let process = lab.process();
    let client = process.open();
    let handle = process.device().process().open(DEVICE_PATH).unwrap();
    lab.machine().network().set_provider(ProviderState::NotReady);
    cancelled(&issue_cancelled(&handle, Ioctl::Startup, SocketHandle(0)));
    eventually("nobody waits", || client.ledger().unwrap().registered == 0);
    deregistered(&client);
    lab.machine().network().set_provider(ProviderState::Ready);

    started(&client, TRANSPORT);
    let Connection { socket, peer } = connected(&client, TRANSPORT);
    let send = stuck_send(&socket);
    socket.close_gracefully(Some(600_000)).unwrap();
    let cleanup = Cleanup { provider: TRANSPORT as u32, reserved: 0, guid: Guid::NIL };
    cancelled(&handle.ioctl_cancelled(Ioctl::Cleanup as u32, cleanup.as_bytes(), Vec::new()));
    assert_eq!(references(&client, TRANSPORT), 0, "its reference is released all the same");
    drop((peer, send));
    eventually("the teardown goes on without anybody waiting", || client.ledger().unwrap().registered == 0);
    deregistered(&client);
}

/// contract: X-1, CARD-3
#[test]
fn a_thread_that_ends_while_its_requests_complete_gets_each_of_them_once() {
    for round in 0..20 {
        let lab = Lab::storm(round);
        let process = lab.process();
        let client = process.open();
        started(&client, APPLICATION);
        let Connection { socket, mut peer } = connected(&client, APPLICATION);
        let user = process.device().process();
        let handle = user.open(DEVICE_PATH).unwrap();
        let (send, receive) = mpsc::channel();
        let requests = thread::scope(|scope| {
            let ending = scope.spawn(|| {
                let requests: Vec<_> = (0..8).map(|_| issue(&handle, Ioctl::Receive, &socket)).collect();
                send.send(()).unwrap();
                user.exit_thread();
                requests
            });
            receive.recv().unwrap();
            for byte in 0..8 {
                peer.send(&[byte]).unwrap();
            }
            ending.join().unwrap()
        });
        let (mut with_data, mut without) = (Vec::new(), 0);
        for request in &requests {
            assert!(request.is_complete());
            let completion = request.wait(PATIENCE).unwrap();
            match (completion.status.0, completion.information) {
                (0, length) if length > 0 => with_data.extend(completion.output),
                (STATUS_CANCELLED, 0) => without += 1,
                (status, length) => panic!("{status:#X} with {length} bytes"),
            }
        }
        // What no request got is still there.
        while with_data.len() < 8 {
            with_data.extend(socket.receive(8).unwrap());
        }
        assert_eq!(with_data, (0..8).collect::<Vec<u8>>(), "no byte is lost, doubled or moved");
        assert_eq!(client.ledger().unwrap().tally(Kind::Receive).cancelled, without);
        client.cleanup(APPLICATION).unwrap();
        deregistered(&client);
    }
}
