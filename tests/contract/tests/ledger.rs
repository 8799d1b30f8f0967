//! The ledger's ages, its list of what is pending, and what the driver waits for.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, TRANSPORT,
    abi::{Awaited, Ioctl, Kind, Outstanding, PendingList, PendingQuery, Waiter, WsaError},
    check::{cancelled, pending},
    eventually, raw, started,
    traffic::{connected, listening, stuck_send},
};
use std::thread;
use wskctl::Client;
use zerocopy::IntoBytes;

fn kinds(entries: &[Outstanding]) -> Vec<Kind> {
    let mut kinds: Vec<_> = entries.iter().map(|entry| entry.kind().expect("a request has a kind")).collect();
    kinds.sort_by_key(|&kind| kind as usize);
    kinds
}

fn oldest(client: &Client, kind: Kind) -> u32 {
    client.ledger().unwrap().oldest[kind as usize]
}

/// contract: X-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn the_ledger_tells_the_age_of_the_oldest_pending_request_of_each_kind() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    assert_eq!(oldest(&client, Kind::Receive), 0, "nothing is pending");
    let first = connection.socket.begin_receive(8);
    eventually("the receive grows old", || oldest(&client, Kind::Receive) >= 100);
    let second = connection.socket.begin_receive(8);
    let (listener, _) = listening(&client, APPLICATION);
    let accept = listener.begin_accept();
    let ledger = client.ledger().unwrap();
    assert!(ledger.oldest[Kind::Receive as usize] >= 100, "the older one counts");
    assert!(ledger.oldest[Kind::Accept as usize] >= 1, "what is pending has an age");
    assert_eq!(ledger.oldest, ledger.driver_oldest, "there is no other client");
    assert_eq!(ledger.oldest[Kind::Send as usize], 0);
    first.cancel();
    cancelled(first);
    assert!(oldest(&client, Kind::Receive) > 0, "the younger one is left");
    second.cancel();
    cancelled(second);
    assert_eq!(oldest(&client, Kind::Receive), 0);
    drop(accept);
}

/// contract: X-7
#[test]
fn an_accept_that_waited_in_the_driver_keeps_its_age_when_its_turn_comes() {
    let lab = Lab::start();
    let client = lab.started();
    let (listener, address) = listening(&client, APPLICATION);
    let mut first = listener.begin_accept();
    let second = listener.begin_accept();
    eventually("both grow old", || oldest(&client, Kind::Accept) >= 100);
    let _peer = wskctl::peer::Peer::connect(address).unwrap();
    first.wait(PATIENCE).unwrap();
    eventually("the second one is out", || pending(&client) == 1);
    thread::sleep(GLANCE);
    assert!(oldest(&client, Kind::Accept) >= 100);
    drop(second);
}

/// contract: X-7
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn pending_requests_are_listed_with_kind_socket_process_and_age() {
    let lab = Lab::start();
    let (left, right) = (lab.started(), lab.started());
    let connection = connected(&left, APPLICATION);
    let (listener, _) = listening(&left, APPLICATION);
    let send = stuck_send(&connection.socket);
    let operations = [
        connection.socket.begin_receive(8).untyped(),
        listener.begin_accept().untyped(),
        listener.begin_accept().untyped(),
    ];
    let other = connected(&right, APPLICATION);
    let theirs = other.socket.begin_receive(8);

    let (total, own) = left.pending(false, 100).unwrap();
    assert_eq!(usize::try_from(total).unwrap(), own.len());
    assert_eq!(kinds(&own), [Kind::Accept, Kind::Accept, Kind::Send, Kind::Receive]);
    for entry in &own {
        let of_listener = entry.kind() == Some(Kind::Accept);
        let socket = if of_listener { listener.handle() } else { connection.socket.handle() };
        assert_eq!(entry.socket, socket, "{entry:?}");
        assert_eq!(entry.provider(), Some(APPLICATION));
        assert_eq!((entry.waiter(), entry.awaited()), (Some(Waiter::Caller), Some(Awaited::Request)));
        assert_eq!(entry.process, own[0].process);
    }
    let ledger = right.ledger().unwrap();
    assert!(ledger.oldest[Kind::Accept as usize] == 0 && ledger.driver_oldest[Kind::Accept as usize] > 0, "{ledger:?}");
    let (total, all) = left.pending(true, 100).unwrap();
    assert_eq!((total, all.len()), (5, 5));
    let theirs_listed: Vec<_> = all.iter().filter(|entry| entry.socket == other.socket.handle()).collect();
    assert!(theirs_listed.iter().any(|entry| entry.process != own[0].process), "{all:?}");
    for operation in operations {
        operation.cancel();
        cancelled(operation);
    }
    send.cancel();
    theirs.cancel();
    cancelled(theirs);
}

/// contract
#[test]
#[cfg(not(windows))]
fn startups_cleanups_closes_and_look_ups_that_wait_are_listed_too() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, TRANSPORT);
    client.startup_namespace(contract::DNS).unwrap().keep();
    lab.machine().network().hold_look_ups(true);
    let connection = connected(&client, TRANSPORT);
    connection.socket.set_linger(contract::abi::Linger { l_onoff: 1, l_linger: 600 }).unwrap();
    let close = connection.socket.begin_close();
    let wanted = wskctl::Wanted { node: Some("localhost"), ..wskctl::Wanted::default() };
    let look_ups = [
        client.begin_resolve(contract::DNS, &wanted, 4).untyped(),
        client.begin_names_of(contract::DNS, contract::traffic::local(80), 0).untyped(),
    ];
    let cleanup = client.begin_cleanup(TRANSPORT);
    let startup = client.begin_startup(TRANSPORT, contract::VERSION, contract::abi::CATALOG[0].id);
    let (total, list) = client.pending(false, 100).unwrap();
    let waiting = [Kind::Startup, Kind::Cleanup, Kind::Close, Kind::NameToAddresses, Kind::AddressToName];
    assert_eq!((total, &kinds(&list)[..]), (5, &waiting[..]));
    let ledger = client.ledger().unwrap();
    for entry in &list {
        let kind = entry.kind().unwrap();
        let of_names = matches!(kind, Kind::NameToAddresses | Kind::AddressToName);
        let provider = if of_names { contract::abi::Provider::Namespace } else { TRANSPORT };
        assert_eq!((entry.provider(), entry.waiter()), (Some(provider), Some(Waiter::Caller)), "{entry:?}");
        let of_socket = entry.socket == connection.socket.handle();
        assert!(of_socket == (kind == Kind::Close) && ledger.oldest[kind as usize] > 0, "{entry:?}");
    }
    drop(connection.peer);
    for mut operation in [close.untyped(), cleanup.untyped(), startup.untyped()] {
        assert_eq!(operation.completion(PATIENCE).unwrap().status, 0, "{}", operation.what());
    }
    client.cleanup_namespace(contract::DNS).unwrap();
    look_ups.into_iter().for_each(cancelled);
    assert_eq!(client.pending(false, 100).unwrap().0, 0);
}

/// contract: X-7, CARD-2
#[test]
fn the_list_of_pending_requests_is_cut_where_the_output_ends_and_says_so() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let receives: Vec<_> = (0..5).map(|_| connection.socket.begin_receive(8)).collect();
    let query = PendingQuery { scope: PendingQuery::OWN, reserved: 0 };
    let (head, entry) = (size_of::<PendingList>(), size_of::<Outstanding>());
    for (room, listed) in [(0, 0), (entry - 1, 0), (entry, 1), (3 * entry + 7, 3), (5 * entry, 5), (9 * entry, 5)] {
        let completion = raw::request(&client, Ioctl::LedgerPending as u32, query.as_bytes(), head + room);
        assert_eq!((completion.status, completion.information), (0, head + listed * entry), "{room} bytes of room");
        let (answer, _) = PendingList::read(&completion.buffer[..completion.information]).unwrap();
        assert_eq!((answer.total, answer.listed as usize), (5, listed));
    }
    for (scope, reserved) in [(2, 0), (u32::MAX, 0), (0, 1)] {
        let query = PendingQuery { scope, reserved };
        let invalid = WsaError::Invalid.status();
        raw::refused(&client, Ioctl::LedgerPending as u32, query.as_bytes(), head, invalid);
    }
    drop(receives);
}

/// contract
#[test]
fn the_ledger_names_what_a_teardown_waits_for() {
    let lab = Lab::start();
    let (client, observer) = (lab.client(), lab.client());
    started(&client, TRANSPORT);
    let connection = connected(&client, TRANSPORT);
    assert_eq!(observer.ledger().unwrap().waiting, 0, "nothing is waited for");
    let mut send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(Some(600_000)).unwrap();
    eventually("the close is older than the teardown will be", || {
        observer.ledger().unwrap().waits().iter().any(|wait| wait.age >= 50)
    });
    let mut cleanup = client.begin_cleanup(TRANSPORT);

    // The peer does not read: the send does not end, and the teardown waits for it.
    eventually("the teardown and the close wait for the send", || {
        let ledger = observer.ledger().unwrap();
        ledger.waits().iter().filter(|wait| wait.awaited() == Some(Awaited::Sends)).count() == 2
    });
    let ledger = observer.ledger().unwrap();
    for waiter in [Waiter::Teardown, Waiter::Close] {
        let wait = ledger.waits().iter().find(|wait| wait.waiter() == Some(waiter)).expect("it is named");
        assert_eq!((wait.awaited(), wait.kind()), (Some(Awaited::Sends), Some(Kind::Send)), "{wait:?}");
        assert_eq!((wait.socket, wait.provider()), (connection.socket.handle(), Some(TRANSPORT)));
        assert!(wait.process != 0 && wait.age > 0);
    }
    assert!(ledger.waits().is_sorted_by(|left, right| left.age >= right.age), "oldest first");
    assert!(ledger.driver_oldest[Kind::Cleanup as usize] > 0, "the cleanup is pending");

    // The peer goes: what is left ends.
    drop(connection);
    cleanup.wait(PATIENCE).unwrap();
    assert!(send.completion(PATIENCE).is_ok());
    let ledger = observer.ledger().unwrap();
    assert_eq!((ledger.waiting, ledger.waits().len()), (0, 0));
}

/// contract
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK has no shutdown, and its graceful close is like any other")]
fn the_ledger_names_the_peer_that_a_graceful_close_waits_for() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    connection.socket.send(b"all there is".to_vec()).unwrap();
    connection.socket.close_gracefully(Some(600_000)).unwrap();
    assert_eq!(connection.peer.receive(12).unwrap(), b"all there is");
    let waits = || client.ledger().unwrap().waits().to_vec();
    eventually("what was sent has arrived, and the peer's close is waited for", || {
        waits().iter().any(|wait| wait.awaited() == Some(Awaited::PeerClose))
    });
    let [wait] = waits()[..] else { panic!("one thing is waited for: {:?}", waits()) };
    assert_eq!((wait.waiter(), wait.provider(), wait.kind()), (Some(Waiter::Close), Some(APPLICATION), None));
    assert_eq!(wait.socket, connection.socket.handle());
    drop(connection.peer);
    eventually("the peer's close ends it", || client.ledger().unwrap().waiting == 0);
    assert_eq!(client.ledger().unwrap().lingers_cut, 0);
}
