//! Clients that go without a cleanup: their last handle closes, their process ends or is killed.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, Lab, PATIENCE, TRANSPORT,
    abi::{Address, Kind, Role, WsaError},
    check::{STATUS_CANCELLED, cancelled, deregistered, fails, references, reset},
    eventually, started, startup,
    traffic::{Connection, accepted, connected, listening, stuck_send},
};
use wskctl::{Client, Operation, device::Completion, peer::Peer};

/// What a dying client leaves, seen from outside.
struct Estate {
    peers: Vec<Peer>,
    operations: Vec<Operation<Completion>>,
    address: Address,
}

/// References on both providers, a listener, connections, requests pending on all of them.
fn live(client: &Client) -> Estate {
    started(client, APPLICATION);
    started(client, APPLICATION);
    started(client, TRANSPORT);
    let (listener, address) = listening(client, APPLICATION);
    let connections =
        [connected(client, APPLICATION), accepted(&mut listener.begin_accept(), address), connected(client, TRANSPORT)];
    let mut operations: Vec<_> = connections.iter().map(|one| one.socket.begin_receive(8).untyped()).collect();
    operations.push(listener.begin_accept().untyped());
    operations.push(stuck_send(&connections[0].socket).untyped());
    Estate { peers: connections.into_iter().map(|Connection { peer, .. }| peer).collect(), operations, address }
}

fn everything_is_given_back(lab: &Lab, estate: Estate) {
    let observer = lab.client();
    let gone = || {
        let ledger = observer.ledger().unwrap();
        ledger.clients == 1
            && ledger.registered == 0
            && ledger.driver_references == [0; 4]
            && ledger.driver_sockets == 0
    };
    eventually("the dead client's references, sockets and registration are gone", gone);
    for mut peer in estate.peers {
        reset(&mut peer);
    }
    assert!(Peer::connect(estate.address).is_err(), "a dead client's listener still listens");
    for mut operation in estate.operations {
        if let Ok(completion) = operation.completion(PATIENCE) {
            assert_eq!((completion.status, completion.information), (STATUS_CANCELLED, 0), "{}", operation.what());
        }
    }
    let ledger = observer.ledger().unwrap();
    let receives = ledger.driver_requests[Kind::Receive as usize];
    assert_eq!((receives.taken, receives.cancelled), (3, 3), "what a dead client's requests came to is still counted");
    for (taken, completed) in ledger.driver_requests.iter().map(|tally| (tally.taken, tally.completed)).skip(2) {
        assert_eq!(taken, completed, "every request of the dead client is completed");
    }
}

/// contract: WSP-8
#[test]
fn the_last_handles_close_releases_everything_and_resets_the_peers() {
    let lab = Lab::start();
    let client = lab.client();
    let estate = live(&client);
    client.close();
    everything_is_given_back(&lab, estate);
}

/// contract: WSP-8
#[test]
fn a_process_that_exits_without_cleanup_leaves_nothing() {
    let lab = Lab::start();
    let process = lab.process();
    let estate = live(&process.open());
    process.exit();
    everything_is_given_back(&lab, estate);
}

/// contract: WSP-8
#[test]
fn a_process_that_is_killed_in_the_middle_of_pending_requests_leaves_nothing() {
    let lab = Lab::start();
    let process = lab.process();
    let estate = live(&process.open());
    process.kill();
    everything_is_given_back(&lab, estate);
}

/// contract: WSP-8
#[test]
fn a_handle_that_closes_gives_back_what_was_taken_through_it_while_the_client_lives_on() {
    let lab = Lab::start();
    let process = lab.process();
    let (left, right) = (process.open(), process.open());
    started(&left, APPLICATION);
    started(&left, APPLICATION);
    started(&right, APPLICATION);
    let mut connection = connected(&right, APPLICATION);
    left.close();
    eventually("the closed handle's references are gone", || references(&right, APPLICATION) == 1);
    connection.peer.send(b"alive").unwrap();
    assert_eq!(connection.socket.receive(8).unwrap(), b"alive");
    right.cleanup(APPLICATION).unwrap();
    deregistered(&right);
}

/// contract: WSP-8, WSA-2
#[test]
fn what_another_handle_has_released_is_not_given_back_once_more_when_its_taker_closes() {
    let lab = Lab::start();
    let process = lab.process();
    let (left, right) = (process.open(), process.open());
    started(&left, APPLICATION);
    started(&left, APPLICATION);
    right.cleanup(APPLICATION).unwrap();
    started(&right, APPLICATION);
    let mut connection = connected(&right, APPLICATION);
    left.close();
    eventually("the closed handle's one reference is gone", || references(&right, APPLICATION) == 1);
    connection.peer.send(b"alive").unwrap();
    assert_eq!(connection.socket.receive(8).unwrap(), b"alive");
    right.cleanup(APPLICATION).unwrap();
    deregistered(&right);
}

/// contract: WSP-8
#[test]
fn closing_a_handle_that_took_nothing_ends_no_other_handles_requests() {
    let lab = Lab::start();
    let process = lab.process();
    let (idle, busy) = (process.open(), process.open());
    started(&busy, APPLICATION);
    let mut connection = connected(&busy, APPLICATION);
    let mut receive = connection.socket.begin_receive(8);
    idle.close();
    connection.peer.send(b"alive").unwrap();
    assert_eq!(receive.wait(PATIENCE).unwrap(), b"alive");
    busy.cleanup(APPLICATION).unwrap();
}

/// contract: WSP-8
#[test]
fn a_client_that_dies_takes_nothing_from_another() {
    let lab = Lab::start();
    let (doomed, survivor) = (lab.process(), lab.started());
    let mut connection = connected(&survivor, APPLICATION);
    let receive = connection.socket.begin_receive(8);
    let _estate = live(&doomed.open());
    doomed.kill();
    eventually("the dead client is gone", || survivor.ledger().unwrap().clients == 1);
    assert_eq!(survivor.ledger().unwrap().registered, 1);
    assert!(!receive.is_complete());
    connection.peer.send(b"alive").unwrap();
    eventually("the survivor's receive has its data", || receive.is_complete());
    survivor.cleanup(APPLICATION).unwrap();
    deregistered(&survivor);
}

/// contract: WSP-9
#[test]
fn after_a_kill_the_next_startup_works_at_once_and_gets_the_same_port() {
    let lab = Lab::start();
    let mut known = None;
    for _ in 0..10 {
        let process = lab.process();
        let client = process.open();
        assert_eq!(startup(&client, APPLICATION).reply().references, 1);
        started(&client, APPLICATION);
        let (listener, address) = match known {
            None => listening(&client, APPLICATION),
            Some(address) => (listening_again(&client, address), address),
        };
        known = Some(address);
        let connection = accepted(&mut listener.begin_accept(), address);
        let _receive = connection.socket.begin_receive(8);
        process.kill();
    }
}

/// contract: WSP-9, SAN-7, WSP-8
#[cfg(not(windows))]
#[test]
fn what_a_dead_process_had_bound_is_free_for_the_next_startup() {
    let providers = [contract::SAN, APPLICATION, TRANSPORT];
    let each = providers.into_iter().flat_map(|of| providers.map(|next| (of, next))).cycle();
    for (round, (of, next)) in (0..72).zip(each) {
        let lab = Lab::storm(round);
        let (doomed, survivor, other) = (lab.process(), lab.client(), lab.client());
        // The teardown of no provider that is counted for the driver comes to what the dead process had.
        started(&survivor, contract::SAN);
        let client = doomed.open();
        started(&client, of);
        let listeners: Vec<_> = (0..4).map(|_| listening(&client, of)).collect();
        doomed.kill();
        started(&other, next);
        for (_, address) in &listeners {
            let listener = other.socket(next, Role::Listen).unwrap();
            listener.bind(*address).unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        other.cleanup(next).unwrap();
        survivor.cleanup(contract::SAN).unwrap();
        deregistered(&survivor);
    }
}

/// A listener on a port whose last owner was killed just now: a startup waits for that teardown, so the port is free.
fn listening_again(client: &Client, address: Address) -> wskctl::Socket {
    let listener = client.socket(APPLICATION, Role::Listen).unwrap();
    listener.bind(address).expect("no address is in use because of a dead client");
    listener.listen(4).unwrap();
    listener
}

/// contract: WSP-8
#[test]
fn a_process_can_end_while_its_last_cleanup_is_under_way() {
    let lab = Lab::start();
    for _ in 0..20 {
        let process = lab.process();
        let client = process.open();
        started(&client, APPLICATION);
        let connections: Vec<_> = (0..4).map(|_| connected(&client, APPLICATION)).collect();
        let receives: Vec<_> = connections.iter().map(|one| one.socket.begin_receive(8)).collect();
        let cleanup = client.begin_cleanup(APPLICATION);
        process.kill();
        drop((receives, cleanup));
    }
    let observer = lab.client();
    eventually("every dead client is gone", || observer.ledger().unwrap().clients == 1);
    deregistered(&observer);
}

/// contract: WSA-15, WSP-8
#[test]
fn the_driver_unloads_while_the_teardowns_of_dead_clients_are_under_way() {
    for round in 0..4 {
        let lab = Lab::storm(round);
        let processes: Vec<_> = (0..2).map(|_| lab.process()).collect();
        let estates: Vec<_> = processes.iter().map(|process| live(&process.open())).collect();
        let _cleanup = processes[0].open().begin_cleanup(TRANSPORT);
        for process in processes {
            process.kill();
        }
        // The unload comes at once, waits for the teardowns, and leaves nothing: or the lab fails.
        drop(lab);
        for mut peer in estates.into_iter().flat_map(|estate| estate.peers) {
            reset(&mut peer);
        }
    }
}

/// contract: WSP-8, WSA-1
#[test]
fn a_process_that_opens_again_is_a_new_client() {
    let lab = Lab::start();
    let process = lab.process();
    let first = process.open();
    started(&first, APPLICATION);
    let connection = connected(&first, APPLICATION);
    let receive = connection.socket.begin_receive(8);
    first.close();
    cancelled(receive);
    let second = process.open();
    eventually("the first handle's reference is gone", || references(&second, APPLICATION) == 0);
    fails(second.socket(APPLICATION, Role::Connection), WsaError::NotInitialised);
    assert_eq!(startup(&second, APPLICATION).reply().references, 1);
}
