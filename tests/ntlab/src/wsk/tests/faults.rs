//! A provider that refuses, goes and comes back.

use std::net::TcpListener;

use wsk::sys;

use super::super::{ProviderState, rules, status};
use super::{
    Client, Place, blank_registration, capture, deregister, each_seed, machine, provoke, register, release, run,
    settled,
};

#[test]
fn a_refused_capture_fails_at_once_however_long_it_would_wait() {
    let machine = machine(1);
    machine.network().set_provider(ProviderState::Refused);
    run(&machine, || {
        let mut block = blank_registration();
        assert_eq!(register(&mut block), status::SUCCESS);
        assert_eq!(capture(&mut block, sys::INFINITE_WAIT).unwrap_err(), status::NOINTERFACE);
        machine.network().set_provider(ProviderState::Ready);
        assert!(capture(&mut block, sys::NO_WAIT).is_ok());
        release(&mut block);
        deregister(&mut block);
    });
}

#[test]
fn a_provider_that_comes_back_serves_new_sockets_and_leaves_the_old_ones_dead() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            let peer = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = peer.local_addr().unwrap();
            let old = client.connected(address);
            let receive = old.receive(4, 0);
            machine.network().set_provider(ProviderState::Lost);
            assert_eq!(receive.settled(), (status::FILE_FORCED_CLOSED, 0));
            machine.network().set_provider(ProviderState::Ready);
            assert_eq!(old.send(b"x").settled(), (status::FILE_FORCED_CLOSED, 0));
            let new = client.connected(address);
            assert_eq!(new.send(b"x").settled(), (status::SUCCESS, 1));
            for socket in [old, new] {
                socket.close();
            }
            client.end();
        });
    });
}

#[test]
fn a_provider_lost_at_any_irp_ends_them_all_and_every_socket_can_be_closed() {
    let mut lost = 1;
    loop {
        let machine = machine(lost);
        machine.network().lose_provider_at(lost);
        run(&machine, || {
            let client = Client::new();
            let peer = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut places = [Place::default(), Place::default()];
            if let Ok(listener) = client.try_socket(sys::AF_INET, sys::FLAG_LISTEN_SOCKET) {
                let bound = listener.bind("127.0.0.1:0");
                let (returned, accept) = listener.start_accept(&mut places);
                if let Ok(socket) = client.try_socket(sys::AF_INET, sys::FLAG_CONNECTION_SOCKET) {
                    let ok = socket.bind("127.0.0.1:0") == status::SUCCESS
                        && socket.connect(peer.local_addr().unwrap()) == status::SUCCESS;
                    let (receive, send) = (socket.receive(4, 0), socket.send(b"x"));
                    let ends = [send.settled().0, socket.start_disconnect(None, sys::FLAG_ABORTIVE).settled().0];
                    assert!(ok || ends.iter().all(|&status| status == status::FILE_FORCED_CLOSED), "{ends:x?}");
                    socket.close();
                    let end = receive.settled().0;
                    let ended = [status::CANCELLED, status::CONNECTION_ABORTED, status::FILE_FORCED_CLOSED];
                    assert!(ended.contains(&end), "{end:#x}");
                }
                listener.close();
                let end = settled(returned, accept);
                assert!(end == status::FILE_FORCED_CLOSED || (bound == status::SUCCESS && end == status::CANCELLED));
            }
            client.end();
        });
        let counters = machine.network().counters();
        assert_eq!((counters.sockets, counters.irps, counters.registrations), (0, 0, 0));
        if counters.irps_taken < lost {
            break; // the scenario ends before
        }
        lost += 1;
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_dispatch_table_that_changes_while_it_is_registered_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::REGISTRATION_CHANGED, || {
        let mut table = Box::new(sys::ClientDispatch { version: sys::VERSION_1_0, reserved: 0, client_event: None });
        let mut block = blank_registration();
        let mut npi = sys::ClientNpi { client_context: std::ptr::null_mut(), dispatch: &raw const *table };
        let register: extern "win64" fn(*mut sys::ClientNpi, *mut sys::Registration) -> i32 =
            super::import("WskRegister");
        assert_eq!(register(&raw mut npi, &raw mut *block), status::SUCCESS);
        table.version = 0;
        deregister(&mut block);
    });
}

#[test]
fn memory_that_goes_before_its_irp_is_a_violation() {
    let machine = machine(11);
    provoke(&machine, &rules::BUFFER_GONE, || {
        let client = Client::new();
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = client.connected(peer.local_addr().unwrap());
        let (mut program, _) = peer.accept().unwrap();
        let (io, memory) = (super::Io::new(), super::Memory::new(&[0; 4]));
        // Memory that is not there: the page at address 4096.
        memory.mdl.MappedSystemVa.set(std::ptr::without_provenance_mut(4096));
        std::io::Write::write_all(&mut program, b"data").unwrap();
        // SAFETY: the arguments are those of WskReceive, but for the memory.
        unsafe { socket.connection().receive.unwrap()(socket.object, memory.buffer(), 0, io.irp()) };
        super::until("the machine has stopped", || !machine.violations().is_empty());
    });
}
