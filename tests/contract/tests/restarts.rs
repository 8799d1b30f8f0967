//! What arrives while a provider is being torn down.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, TRANSPORT, VERSION,
    abi::{CATALOG, Role, WsaError},
    check::{cancelled, deregistered, fails, references},
    eventually, started,
    traffic::{connected, stuck_send},
};
use std::thread;
use wskctl::{
    Client, Operation, Sent,
    abi::StartupReply,
    peer::{Ending, Peer},
};

/// A last cleanup that stays out: a closed socket has data for a peer that does not read. It ends when the peer goes.
fn lasting_teardown(client: &Client) -> (Operation<()>, (Peer, Operation<Sent>)) {
    started(client, TRANSPORT);
    let connection = connected(client, TRANSPORT);
    let send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(Some(600_000)).unwrap();
    let cleanup = client.begin_cleanup(TRANSPORT);
    eventually("the last reference is released", || references(client, TRANSPORT) == 0);
    assert!(!cleanup.is_complete() && !send.is_complete(), "the teardown waits for the data");
    (cleanup, (connection.peer, send))
}

fn begin(client: &Client) -> Operation<StartupReply> {
    client.begin_startup(TRANSPORT, VERSION, CATALOG[0].id)
}

/// contract: WSP-1, WSP-9
#[test]
fn a_startup_during_the_teardown_waits_and_starts_afresh_and_a_cleanup_finds_nothing() {
    let lab = Lab::start();
    let client = lab.client();
    let (mut cleanup, peer) = lasting_teardown(&client);
    fails(client.cleanup(TRANSPORT), WsaError::NotInitialised);
    fails(client.socket(TRANSPORT, Role::Connection), WsaError::NotInitialised);
    let mut waiting: Vec<_> = (0..3).map(|_| begin(&client)).collect();
    thread::sleep(GLANCE);
    assert!(waiting.iter().all(|one| !one.is_complete()) && !cleanup.is_complete());
    fails(client.cleanup(TRANSPORT), WsaError::NotInitialised);
    drop(peer);
    cleanup.wait(PATIENCE).unwrap();
    let mut counts: Vec<_> = waiting.iter_mut().map(|one| one.wait(PATIENCE).unwrap().references).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3]);
    drop(connected(&client, TRANSPORT));
    for _ in 0..3 {
        client.cleanup(TRANSPORT).unwrap();
    }
    deregistered(&client);
}

/// contract: X-4, WSP-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn a_graceful_close_is_over_when_its_send_fails_however_long_it_might_have_taken() {
    let lab = Lab::start();
    let client = lab.client();
    for peer_goes in [true, false] {
        let (mut cleanup, (mut peer, mut send)) = lasting_teardown(&client);
        if peer_goes {
            drop(peer);
        } else {
            send.cancel();
            let ending = peer.ending().unwrap();
            assert_eq!(ending, Ending::Reset, "a stream that lacks something does not end as if it were whole");
        }
        cleanup.wait(PATIENCE).unwrap();
        assert!(send.wait(PATIENCE).is_err(), "not everything was sent");
        deregistered(&client);
    }
}

/// contract
#[test]
fn a_startup_that_waits_for_the_teardown_can_be_cancelled_and_other_clients_do_not_wait() {
    let lab = Lab::start();
    let (client, other) = (lab.client(), lab.client());
    let (mut cleanup, peer) = lasting_teardown(&client);
    let (doomed, mut kept) = (begin(&client), begin(&client));
    doomed.cancel();
    cancelled(doomed);
    // Another client, and another provider of the same.
    started(&other, TRANSPORT);
    drop(connected(&other, TRANSPORT));
    started(&client, APPLICATION);
    drop(connected(&client, APPLICATION));
    assert!(!kept.is_complete() && !cleanup.is_complete());
    drop(peer);
    cleanup.wait(PATIENCE).unwrap();
    assert_eq!(kept.wait(PATIENCE).unwrap().references, 1);
    assert_eq!(references(&client, TRANSPORT), 1);
}

/// contract: X-3, WSP-8
#[test]
fn a_handle_that_closes_ends_its_startup_that_waits_and_no_other() {
    let lab = Lab::start();
    let process = lab.process();
    let (left, right) = (process.open(), process.open());
    let (mut cleanup, peer) = lasting_teardown(&right);
    let (of_left, mut of_right) = (begin(&left), begin(&right));
    left.close();
    eventually("the closed handle's startup is over", || of_left.is_complete());
    assert!(!of_right.is_complete());
    drop(peer);
    cleanup.wait(PATIENCE).unwrap();
    assert_eq!(of_right.wait(PATIENCE).unwrap().references, 1);
    right.cleanup(TRANSPORT).unwrap();
    deregistered(&right);
}

/// contract: WSP-3, X-1
#[test]
fn a_cleanup_that_is_cancelled_has_released_its_reference_all_the_same() {
    let lab = Lab::start();
    let client = lab.client();
    let (cleanup, peer) = lasting_teardown(&client);
    cleanup.cancel();
    cancelled(cleanup);
    fails(client.cleanup(TRANSPORT), WsaError::NotInitialised);
    drop(peer);
    eventually("the teardown goes on without anybody waiting", || client.ledger().unwrap().registered == 0);
    deregistered(&client);
}
