//! The watchdog: a wait that lasts is noticed, and a driver that waits for nothing sets no timer.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, Lab, PATIENCE, TRANSPORT, VERSION,
    abi::{Awaited, Waiter},
    check::{cancelled, deregistered},
    eventually, started,
    traffic::{connected, stuck_send},
};
use ntlab::wsk::ProviderState;
use std::thread;
use std::time::Duration;

/// contract: X-2
#[test]
fn a_wait_of_more_than_a_second_is_noticed_once_and_a_short_one_is_not() {
    let lab = Lab::start();
    let (client, observer) = (lab.client(), lab.client());
    started(&client, TRANSPORT);
    let short = connected(&client, TRANSPORT);
    short.socket.close().unwrap();
    assert_eq!(observer.ledger().unwrap().long_waits, 0);

    let connection = connected(&client, TRANSPORT);
    let send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(Some(600_000)).unwrap();
    eventually("the close is noticed", || observer.ledger().unwrap().long_waits == 1);
    let wait = observer.ledger().unwrap().waits()[0];
    assert_eq!((wait.waiter(), wait.awaited()), (Some(Waiter::Close), Some(Awaited::Sends)));
    assert!(wait.age > 1000, "{wait:?}");

    let mut cleanup = client.begin_cleanup(TRANSPORT);
    eventually("so is the teardown", || observer.ledger().unwrap().long_waits == 2);
    // Two more looks of the watchdog.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(observer.ledger().unwrap().long_waits, 2, "each is noticed once");
    drop(connection.peer);
    cleanup.wait(PATIENCE).unwrap();
    drop(send);
}

/// contract
#[test]
fn a_startup_that_waits_for_the_provider_is_noticed_and_named() {
    let lab = Lab::start();
    let (client, observer) = (lab.client(), lab.client());
    lab.machine().network().set_provider(ProviderState::NotReady);
    let startup = client.begin_startup(APPLICATION, VERSION, 0);
    eventually("it is noticed", || observer.ledger().unwrap().long_waits > 0);
    let ledger = observer.ledger().unwrap();
    let wait = ledger.waits().iter().find(|wait| wait.waiter() == Some(Waiter::Startup)).expect("it is named");
    assert_eq!((wait.awaited(), wait.provider()), (Some(Awaited::Provider), Some(APPLICATION)));
    assert!(wait.process != 0 && wait.age >= 1000, "{wait:?}");
    startup.cancel();
    cancelled(startup);
    eventually("nobody waits", || observer.ledger().unwrap().waiting == 0);
    lab.machine().network().set_provider(ProviderState::Ready);
}

/// contract: X-2
#[test]
fn of_teardowns_and_startups_that_last_one_after_the_other_each_is_noticed() {
    let lab = Lab::start();
    let (client, network) = (lab.client(), lab.machine().network());
    let noticed = || client.ledger().unwrap().long_waits;
    for round in 1..=2 {
        network.set_provider(ProviderState::NotReady);
        let startup = client.begin_startup(APPLICATION, VERSION, 0);
        eventually("the startup is noticed", || noticed() == 3 * round - 2);
        startup.cancel();
        cancelled(startup);
        network.set_provider(ProviderState::Ready);

        started(&client, TRANSPORT);
        let connection = connected(&client, TRANSPORT);
        connection.socket.close_gracefully(Some(600_000)).unwrap();
        let mut cleanup = client.begin_cleanup(TRANSPORT);
        eventually("so are the close and the teardown", || noticed() == 3 * round);
        drop(connection.peer);
        cleanup.wait(PATIENCE).unwrap();
    }
    deregistered(&client);
}

/// contract: X-2
#[test]
fn a_driver_that_waits_for_nothing_has_no_timer() {
    let lab = Lab::start();
    let client = lab.client();
    assert_eq!(lab.machine().timers(), 0, "a driver that was just started");
    started(&client, APPLICATION);
    let connection = connected(&client, APPLICATION);
    let receive = connection.socket.begin_receive(8);
    eventually("a pending request is no wait of the driver's", || lab.machine().timers() == 0);
    client.cleanup(APPLICATION).unwrap();
    cancelled(receive);
    deregistered(&client);
    eventually("the last look finds nothing, and sets no timer", || lab.machine().timers() == 0);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(lab.machine().timers(), 0);
}

/// contract: X-2, WSA-15
#[test]
fn the_driver_unloads_at_once_with_the_watchdogs_timer_set() {
    let lab = Lab::start();
    let client = lab.started();
    drop(connected(&client, APPLICATION));
    client.cleanup(APPLICATION).unwrap();
    assert_eq!(lab.machine().timers(), 1, "a teardown was just watched");
    // The lab's end unloads the driver, and judges that nothing of it is left.
}
