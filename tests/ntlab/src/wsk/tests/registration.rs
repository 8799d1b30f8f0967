//! Registration and capture.

use std::time::{Duration, Instant};

use wsk::sys;

use super::super::{ProviderState, rules, status};
use super::{Client, blank_registration, capture, deregister, machine, provoke, register, release, run};

#[test]
fn a_client_registers_captures_releases_and_deregisters() {
    let machine = machine(1);
    run(&machine, || {
        Client::new().end();
        Client::new().end();
    });
    assert_eq!(machine.network().counters(), super::super::Counters::default());
}

#[test]
fn a_capture_waits_for_the_provider_as_long_as_it_is_told() {
    let machine = machine(1);
    machine.network().set_provider(ProviderState::NotReady);
    run(&machine, || {
        let mut block = blank_registration();
        assert_eq!(register(&mut block), status::SUCCESS);
        assert_eq!(capture(&mut block, sys::NO_WAIT).unwrap_err(), status::DEVICE_NOT_READY);
        let before = Instant::now();
        assert_eq!(capture(&mut block, 60).unwrap_err(), status::DEVICE_NOT_READY);
        assert!(before.elapsed() >= Duration::from_millis(60));
        let network = machine.network();
        let helper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            network.set_provider(ProviderState::Ready);
        });
        assert!(capture(&mut block, sys::INFINITE_WAIT).is_ok());
        helper.join().unwrap();
        release(&mut block);
        deregister(&mut block);
        assert_eq!(capture(&mut block, sys::NO_WAIT).unwrap_err(), status::DEVICE_NOT_READY);
    });
}

#[test]
fn releasing_more_often_than_capturing_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::RELEASE_WITHOUT_CAPTURE, || {
        let mut client = Client::new();
        release(&mut client.registration);
        release(&mut client.registration);
    });
}

#[test]
fn a_provider_function_called_after_the_release_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::NOT_CAPTURED, || {
        let mut client = Client::new();
        release(&mut client.registration);
        client.socket(sys::FLAG_LISTEN_SOCKET);
    });
}

#[test]
fn deregistering_with_a_capture_outstanding_is_a_violation_that_names_it() {
    let machine = machine(1);
    provoke(&machine, &rules::DEREGISTER_WAITS, || {
        let mut client = Client::new();
        deregister(&mut client.registration);
    });
    assert!(machine.violations()[0].message.contains("1 captures, 0 sockets"), "{}", machine.violations()[0]);
}

#[test]
fn a_registration_block_that_was_overwritten_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::REGISTRATION_CHANGED, || {
        let mut client = Client::new();
        client.registration.state = 0;
        release(&mut client.registration);
    });
}

#[test]
fn a_registration_block_that_moved_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::NOT_REGISTERED, || {
        let client = Client::new();
        let mut elsewhere = blank_registration();
        elsewhere.state = client.registration.state;
        elsewhere.context = client.registration.context;
        release(&mut elsewhere);
    });
}

#[test]
fn registering_a_block_twice_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::REGISTERED_TWICE, || {
        let mut client = Client::new();
        register(&mut client.registration);
    });
}

#[test]
fn a_lost_provider_fails_sockets_and_captures_but_lets_them_be_given_back() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        let (listener, _) = client.listening();
        let mut places = [super::Place::default(), super::Place::default()];
        let (returned, io) = listener.start_accept(&mut places);
        assert_eq!(returned, status::PENDING);
        machine.network().set_provider(ProviderState::Lost);
        assert_eq!(super::settled(returned, io), status::FILE_FORCED_CLOSED);
        assert_eq!(client.try_socket(sys::AF_INET, sys::FLAG_LISTEN_SOCKET).err(), Some(status::DEVICE_NOT_READY));
        let (returned, io) = listener.start_accept(&mut places);
        assert_eq!(super::settled(returned, io), status::FILE_FORCED_CLOSED);
        listener.close();
        client.end();
    });
}
