//! The SAN provider: one count for the driver, whatever handle its one caller, the switch, uses.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, Lab, PATIENCE, SAN, TRANSPORT, VERSION,
    abi::{Cleanup, Events, Guid, Ioctl, Role, WinsockVersion, WsaError},
    check::{cancelled, deregistered, fails, pending, references, reset},
    eventually, raw, started, startup,
    traffic::{Connection, accepted, connected, listening, stuck_connect, stuck_send, unused_address},
};
use std::thread;
use wskctl::{Client, Operation, device::Completion};
use zerocopy::IntoBytes;

/// Sockets of `san` with a request of every kind pending on them, and their peers.
fn pending_work(client: &Client) -> (Vec<Operation<Completion>>, Vec<Connection>) {
    let (listener, address) = listening(client, SAN);
    let connections = vec![connected(client, SAN), accepted(&mut listener.begin_accept(), address)];
    let mut operations: Vec<_> = connections.iter().map(|one| one.socket.begin_receive(8).untyped()).collect();
    operations.extend((0..3).map(|_| listener.begin_accept().untyped()));
    operations.push(stuck_send(&connections[0].socket).untyped());
    (operations, connections)
}

/// contract: SAN-1, SAN-2
#[test]
fn before_the_startup_sockets_and_cleanups_of_san_are_wsanotinitialised() {
    let lab = Lab::start();
    let client = lab.started();
    fails(client.cleanup(SAN), WsaError::NotInitialised);
    fails(client.socket(SAN, Role::Connection), WsaError::NotInitialised);
    started(&client, SAN);
    client.socket(SAN, Role::Connection).unwrap();
    client.cleanup(SAN).unwrap();
    fails(client.cleanup(SAN), WsaError::NotInitialised);
    fails(client.socket(SAN, Role::Connection), WsaError::NotInitialised);
}

/// contract: SAN-1, WSA-3
#[test]
fn a_startup_of_san_negotiates_from_version_2_0_on_and_takes_nothing_else() {
    let lab = Lab::start();
    let client = lab.client();
    for (asked, answered) in [((2, 0), (2, 0)), ((2, 1), (2, 1)), ((2, 2), (2, 2)), ((9, 9), (2, 2))] {
        let started = client.startup(SAN, WinsockVersion::new(asked.0, asked.1), 0).unwrap();
        assert_eq!(started.reply().version, WinsockVersion::new(answered.0, answered.1));
        assert_eq!((started.reply().entry.id, started.reply().namespace.active), (0, 0));
        started.cleanup().unwrap();
    }
    for version in [WinsockVersion::new(1, 1), WinsockVersion::new(0, 0)] {
        fails(client.startup(SAN, version, 0), WsaError::VersionNotSupported);
    }
    fails(client.startup(SAN, VERSION, 1001), WsaError::Invalid);
    deregistered(&client);
}

/// contract: SAN-1, SAN-3, SAN-6
#[test]
fn three_processes_share_one_count_and_only_the_last_cleanup_tears_down() {
    let lab = Lab::start();
    let clients = [lab.client(), lab.client(), lab.client()];
    for (before, client) in (0..).zip(&clients) {
        assert_eq!(startup_count(client), before + 1);
    }
    assert_eq!(startup_count(&clients[0]), 4);
    let work: Vec<_> = clients.iter().map(pending_work).collect();
    for (cleaner, left) in [(2, 3), (2, 2), (1, 1)] {
        clients[cleaner].cleanup(SAN).unwrap();
        for client in &clients {
            assert_eq!(references(client, SAN), left, "every client sees the one count");
            assert_eq!(client.ledger().unwrap().driver_references[SAN as usize], left, "and it is the driver's");
        }
        let pending = work.iter().flat_map(|(operations, _)| operations).filter(|one| !one.is_complete()).count();
        assert_eq!(pending, work.iter().map(|(operations, _)| operations.len()).sum::<usize>());
    }
    clients[1].cleanup(SAN).unwrap();
    for (operations, connections) in work {
        operations.into_iter().for_each(cancelled);
        for mut connection in connections {
            reset(&mut connection.peer);
            fails(connection.socket.send(b"late".to_vec()), WsaError::NotInitialised);
        }
    }
    for client in &clients {
        fails(client.cleanup(SAN), WsaError::NotInitialised);
        deregistered(client);
    }
}

fn startup_count(client: &Client) -> u32 {
    let started = startup(client, SAN);
    let count = started.reply().references;
    started.keep();
    count
}

/// contract: SAN-7, WSP-9
#[test]
fn after_the_last_cleanup_the_switch_starts_again_at_once_with_the_same_port() {
    let lab = Lab::start();
    let clients = [lab.client(), lab.client()];
    let address = unused_address();
    for round in 0..20 {
        let client = &clients[round % 2];
        assert_eq!(startup_count(client), 1);
        let listener = client.socket(SAN, Role::Listen).unwrap();
        listener.bind(address).unwrap();
        listener.listen(1).unwrap();
        let connection = accepted(&mut listener.begin_accept(), address);
        let receive = connection.socket.begin_receive(4);
        clients[(round + 1) % 2].cleanup(SAN).unwrap();
        cancelled(receive);
    }
    deregistered(&clients[0]);
}

/// contract: SAN-1, WSP-8
#[test]
fn what_each_handle_took_is_given_back_when_it_dies() {
    let lab = Lab::start();
    let processes = [lab.process(), lab.process(), lab.process()];
    let clients: Vec<_> = processes.iter().map(contract::Process::open).collect();
    for client in clients.iter().chain([&clients[0], &clients[0]]) {
        started(client, SAN);
    }
    assert_eq!(references(&clients[2], SAN), 5);
    processes[0].kill();
    eventually("the killed process's references are gone", || references(&clients[2], SAN) == 2);
    clients[1].close();
    eventually("the closed handle's reference is gone", || references(&clients[2], SAN) == 1);
    let connection = connected(&clients[2], SAN);
    let receive = connection.socket.begin_receive(8);
    clients[2].cleanup(SAN).unwrap();
    cancelled(receive);
    deregistered(&clients[2]);
}

/// contract: SAN-7, WSP-9
#[cfg(not(windows))]
#[test]
fn a_startup_of_san_that_waits_for_what_a_dead_process_left_goes_on_when_it_is_given_back() {
    for round in 0..20 {
        let lab = Lab::storm(round);
        let switch = lab.client();
        for _ in 0..3 {
            let process = lab.process();
            let doomed = process.open();
            started(&doomed, APPLICATION);
            let mut of_doomed = [connected(&doomed, APPLICATION), connected(&doomed, APPLICATION)];
            let dies = process.device().process();
            lab.machine().in_threads(2, |index| if index == 0 { dies.kill() } else { started(&switch, SAN) });
            for connection in &mut of_doomed {
                reset(&mut connection.peer);
            }
            switch.cleanup(SAN).unwrap();
        }
        eventually("every dead client is gone", || switch.ledger().unwrap().clients == 1);
        deregistered(&switch);
    }
}

/// contract: SAN-1, SAN-6, WSP-8
#[test]
fn the_sockets_of_a_process_that_dies_are_reset_while_san_stays_up_for_others() {
    let lab = Lab::start();
    let (doomed, survivor) = (lab.process(), lab.client());
    started(&survivor, SAN);
    let client = doomed.open();
    let (_operations, connections) = pending_work(&client);
    let mut alive = connected(&survivor, SAN);
    doomed.kill();
    for mut connection in connections {
        reset(&mut connection.peer);
    }
    eventually("the dead process is no client any more", || survivor.ledger().unwrap().clients == 1);
    assert_eq!((references(&survivor, SAN), survivor.ledger().unwrap().driver_sockets), (1, 1));
    alive.peer.send(b"alive").unwrap();
    assert_eq!(alive.socket.receive(8).unwrap(), b"alive");
    survivor.cleanup(SAN).unwrap();
    deregistered(&survivor);
}

/// contract: SAN-1, WSP-8
#[test]
fn the_last_process_to_die_tears_san_down_for_all() {
    let lab = Lab::start();
    let (doomed, other) = (lab.process(), lab.client());
    let client = doomed.open();
    started(&client, SAN);
    // The other client has started nothing: the switch is one caller, whatever handle it uses.
    let mut connection = connected(&other, SAN);
    let receive = connection.socket.begin_receive(8);
    eventually("it is pending", || pending(&other) == 1);
    doomed.kill();
    cancelled(receive);
    reset(&mut connection.peer);
    eventually("nobody is registered any more", || other.ledger().unwrap().registered == 0);
    deregistered(&other);
}

/// contract: SAN-2
#[test]
fn a_cleanup_of_san_never_answers_wsaeinval() {
    let lab = Lab::start();
    let client = lab.client();
    for is_started in [false, true] {
        if is_started {
            started(&client, SAN);
        }
        for bit in 0..160 {
            let mut input = Cleanup { provider: SAN as u32, reserved: 0, guid: Guid::NIL }.as_bytes().to_vec();
            input[4 + bit / 8] |= 1 << (bit % 8);
            raw::refused(&client, Ioctl::Cleanup as u32, &input, 0, WsaError::Fault.status());
        }
        assert_eq!(references(&client, SAN), u32::from(is_started));
    }
}

/// contract: SAN-4
#[cfg(not(windows))]
#[test]
fn what_a_cancelled_accept_held_is_given_back_before_it_completes() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, SAN);
    let (listener, _) = listening(&client, SAN);
    let (_, without) = lab.machine().pool_in_use();
    // An accept that is out at WSK holds the socket that it would fill.
    let mut accept = listener.begin_accept();
    let (_, with) = lab.machine().pool_in_use();
    assert!(with > without + 512, "{with} bytes with the accept, {without} without");
    let (at_completion, seen) = std::sync::mpsc::channel();
    let machine = lab.machine().clone();
    accept.on_completion(move || at_completion.send(machine.pool_in_use().1).unwrap());
    client.cleanup(SAN).unwrap();
    cancelled(accept);
    let held = seen.recv_timeout(PATIENCE).unwrap();
    assert!(held <= without, "{held} bytes when it completed, {without} before it began");
    deregistered(&client);
}

/// contract: SAN-3
#[cfg(not(windows))]
#[test]
fn the_teardown_gives_back_all_that_was_allocated_for_the_operations_of_every_handle() {
    let lab = Lab::start();
    let process = lab.process();
    let clients = [process.open(), process.open(), lab.client()];
    let life = || {
        for client in &clients {
            started(client, SAN);
        }
        let work: Vec<_> = clients.iter().map(pending_work).collect();
        let (_, busy) = lab.machine().pool_in_use();
        for client in &clients {
            client.cleanup(SAN).unwrap();
        }
        let pool = lab.machine().pool_in_use();
        let ended = work.iter().flat_map(|(operations, _)| operations).all(Operation::is_complete);
        assert!(ended, "the operations of every handle have ended when the last cleanup has");
        for (operations, _) in work {
            operations.into_iter().for_each(cancelled);
        }
        (pool, busy)
    };
    // A client's table of handles stays as large as it once was.
    let (settled, _) = life();
    for _ in 0..3 {
        let (pool, busy) = life();
        assert!(busy > pool.1 + 3 * 1024, "{busy} bytes at work, {} after", pool.1);
        assert_eq!(pool, settled, "blocks and bytes of pool");
    }
    deregistered(&clients[0]);
}

/// contract: SAN-4
#[cfg(not(windows))]
#[test]
fn what_cancelled_receives_held_is_given_back_before_each_completes() {
    const RECEIVES: usize = 64;
    let lab = Lab::start();
    let client = lab.client();
    started(&client, SAN);
    let connection = connected(&client, SAN);
    let (_, without) = lab.machine().pool_in_use();
    let mut receives: Vec<_> = (0..RECEIVES).map(|_| connection.socket.begin_receive(8)).collect();
    let (_, with) = lab.machine().pool_in_use();
    assert!(with > without + RECEIVES * 64, "{with} bytes with the receives, {without} without");
    let (tell, seen) = std::sync::mpsc::channel();
    for receive in &mut receives {
        let (tell, machine) = (tell.clone(), lab.machine().clone());
        receive.on_completion(move || tell.send(machine.pool_in_use().1).unwrap());
    }
    client.cleanup(SAN).unwrap();
    receives.into_iter().for_each(cancelled);
    let held: Vec<_> = (0..RECEIVES).map(|_| seen.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(held.is_sorted_by(|earlier, later| earlier >= later), "{held:?}");
    // A socket keeps 16 records for its next requests; it had two of them before.
    let record = (with - without) / (RECEIVES - 2);
    let kept = (16 - 2) * record;
    assert!(held[RECEIVES - 1] <= without + kept, "{} bytes at the last completion", held[RECEIVES - 1]);
    deregistered(&client);
}

/// contract: SAN-5
#[test]
fn accepts_and_connects_that_are_out_at_the_teardown_end_cancelled_and_no_later() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, SAN);
    let (listener, address) = listening(&client, SAN);
    let accepts: Vec<_> = (0..5).map(|_| listener.begin_accept()).collect();
    let (socket, connect, _crowd) = stuck_connect(&client, SAN);
    let told = [listener.begin_events(Events::ACCEPT), socket.begin_events(Events::CONNECT)];
    client.cleanup(SAN).unwrap();
    assert!(accepts.iter().all(Operation::is_complete), "nothing is out when the cleanup has completed");
    assert!(connect.is_complete() && told.iter().all(Operation::is_complete));
    accepts.into_iter().for_each(cancelled);
    cancelled(connect);
    told.into_iter().for_each(cancelled);
    fails(socket.connect(address), WsaError::NotInitialised);
    assert!(wskctl::peer::Peer::connect(address).is_err(), "the listener still listens");
    deregistered(&client);
}

/// contract: SAN-1, WSP-1
#[test]
fn san_counts_apart_from_the_other_providers() {
    let lab = Lab::start();
    let client = lab.client();
    for provider in [APPLICATION, TRANSPORT, SAN] {
        started(&client, provider);
    }
    let (mut of_san, mut of_transport) = (connected(&client, SAN), connected(&client, TRANSPORT));
    client.cleanup(APPLICATION).unwrap();
    of_san.peer.send(b"san").unwrap();
    assert_eq!(of_san.socket.receive(8).unwrap(), b"san");
    client.cleanup(SAN).unwrap();
    reset(&mut of_san.peer);
    of_transport.peer.send(b"tcp").unwrap();
    assert_eq!(of_transport.socket.receive(8).unwrap(), b"tcp");
    client.cleanup(TRANSPORT).unwrap();
    deregistered(&client);
}

/// contract: SAN-1, WSA-15
#[test]
fn many_processes_starting_and_cleaning_up_at_once_leave_nothing() {
    const ROUNDS: usize = 30;
    let lab = Lab::start();
    let clients: Vec<_> = (0..4).map(|_| lab.client()).collect();
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let started = startup(client, SAN);
                    assert!(started.reply().references >= 1);
                    if round % 3 == 0 {
                        // Whoever has a reference has a provider that is up.
                        client.socket(SAN, Role::Connection).unwrap();
                    }
                    started.cleanup().unwrap();
                }
            });
        }
    });
    for client in &clients {
        deregistered(client);
    }
}

/// contract: SAN-7
#[test]
fn a_startup_that_arrives_while_san_is_torn_down_waits_and_starts_afresh() {
    let lab = Lab::start();
    let (left, right) = (lab.client(), lab.client());
    for _ in 0..20 {
        started(&left, SAN);
        let connections: Vec<_> = (0..8).map(|_| connected(&left, SAN)).collect();
        let mut cleanup = left.begin_cleanup(SAN);
        let started = startup(&right, SAN);
        assert_eq!(started.reply().references, 1, "not one of the references that were being torn down");
        cleanup.wait(PATIENCE).unwrap();
        for mut connection in connections {
            reset(&mut connection.peer);
        }
        drop(connected(&right, SAN));
        started.cleanup().unwrap();
    }
    deregistered(&left);
}
